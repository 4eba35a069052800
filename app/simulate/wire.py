"""What both dialects of the simulated model API need: reading untyped JSON, and the answer before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.simulate.answers import JsonObject


@dataclass(slots=True)
class Answered:
    """Either a whole body or the frames of an event stream."""

    body: bytes = b""
    frames: Iterator[bytes] | None = None


class BadCall(Exception):
    """The request is answered with an error of its dialect."""

    def __init__(
        self, status: int, message: str, *, kind: str = "", code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param


def as_object(value: Any) -> JsonObject:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(body: JsonObject, name: str) -> list[Any]:
    """A member that must be an array if it is there."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadCall(400, f"Invalid type for '{name}': expected an array.", param=name)
    return value


def as_int(value: Any, otherwise: int) -> int:
    """The value if it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def block_text(content: Any) -> str:
    """Text of a message's content: a string, or the text of its blocks, those of tool results too."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = []
    for block in content:
        if isinstance(block, dict):
            text = block.get("text")
            parts.append(text if isinstance(text, str) else block_text(block.get("content")))
        elif isinstance(block, str):
            parts.append(block)
    return "\n".join(part for part in parts if part)
