"""What a client asks and what it hears, in the OpenAI or the Anthropic dialect."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from app.simulate.answers import JsonObject

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MESSAGES = "/v1/messages"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and the seconds its client waits before it sends it."""

    path: str
    body: JsonObject
    pause_sec: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back.

    Attributes:
        status: HTTP status; anything but 200 comes without the rest.
        text: the answer's words.
        message: the answer as the next request of a conversation repeats it.
        tools: (id, name) of each tool the model wants called.
    """

    status: int
    text: str = ""
    message: JsonObject = field(default_factory=dict)
    tools: tuple[tuple[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """The model answered."""
        return self.status == 200


Script: TypeAlias = Generator[Call, Heard, None]
"""The behaviour of one client; endless."""


def heard(path: str, status: int, body: bytes) -> Heard:
    """A whole answer → what the client makes of it."""
    if status != 200:
        return Heard(status)
    answer = orjson.loads(body)
    if path == MESSAGES:
        return _from_blocks(status, answer["content"])
    choice = answer["choices"][0]
    if path == COMPLETIONS:
        return Heard(status, choice["text"])
    message = choice["message"]
    kept = {name: message[name] for name in ("role", "content", "tool_calls") if message.get(name) is not None}
    tools = tuple((call["id"], call["function"]["name"]) for call in message.get("tool_calls") or ())
    return Heard(status, message.get("content") or "", kept, tools)


def heard_stream(path: str, status: int, body: bytes) -> Heard:
    """A finished event stream → what the client makes of it. Scripts that call tools do not stream."""
    parts: list[str] = []
    for event in _events(body):
        if path == MESSAGES:
            parts.append(event.get("delta", {}).get("text", ""))
        else:
            choice = (event.get("choices") or [{}])[0]
            parts.append(choice.get("text") or choice.get("delta", {}).get("content") or "")
    text = "".join(parts)
    return Heard(status, text, {"role": "assistant", "content": text})


def _from_blocks(status: int, blocks: list[JsonObject]) -> Heard:
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    tools = tuple((block["id"], block["name"]) for block in blocks if block["type"] == "tool_use")
    return Heard(status, text, {"role": "assistant", "content": blocks}, tools)


def _events(body: bytes) -> Iterable[Any]:
    for line in body.split(b"\n"):
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            yield orjson.loads(line[6:])
