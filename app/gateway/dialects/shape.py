"""What the dialects have in common: a request and an answer in neutral form, and safe reading of untrusted JSON.

A body has been parsed but not validated; the upstream will do that. Every reader here therefore takes any value of any
type and returns the field's type or its "not said" value, and never raises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec
import orjson
from xxhash import xxh3_64_intdigest

ANSWER_KEPT_CHARS = 2048
"""Characters of an answer that are kept in memory: what `Event.answer_digest` covers."""

_MAX_COUNT = 2**53
_NUMBER_MAX_CHARS = 32
_ON = frozenset(("true", "1", "on", "yes", "y", "t"))  # what pydantic takes for true
_LETTERS = {"system": "s", "developer": "d", "user": "u", "assistant": "a", "tool": "t", "function": "t", "model": "a"}

JsonObject = dict[str, Any]


class Message(msgspec.Struct):
    """One message: who, its text, the bytes of what is not text (tool calls, images), for the chain digest, and digests
    of the blocks of reasoning in it."""

    letter: str
    text: str
    extra: bytes = b""
    blocks: tuple[int, ...] = ()


class Shape(msgspec.Struct):
    """A request in neutral form; field names as in ``Event``."""

    model: str = ""
    stream: bool = False
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    top_logprobs: int = -1
    logit_bias_size: int = 0
    logit_bias_digest: int = 0
    response_format: str = ""
    response_schema_digest: int = 0
    tools_digest: int = 0
    tool_count: int = 0
    reasoning_effort: str = ""
    thinking_budget: int = 0
    end_user_digest: int = 0
    input_items: int = 1
    messages: list[Message] = []


class Answer(msgspec.Struct):
    """A response in neutral form, filled as it arrives. Times are microseconds.

    Attributes:
        outcome: complete, disconnected, upstream_cut, upstream_error, refused, stopped.
        text_head: at least the first ANSWER_KEPT_CHARS characters of the first choice, if there are that many.
        chars: characters of all choices.
        estimated: no usage was reported, so the token counts are ours.
        blocks: digests of the blocks of reasoning that were given out.
        uncharged_input: part of `input_tokens` that the dialect's provider does not count against limits.
    """

    status: int = 200
    outcome: str = "complete"
    error: str = ""
    finish_reason: str = ""
    refusal: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    uncharged_input: int = 0
    estimated: bool = False
    text_head: str = ""
    chars: int = 0
    tool_calls: int = 0
    latency_us: int = 0
    first_byte_us: int = 0
    decision: str = "allow"
    action: str = ""
    blocks: list[int] = []


class StreamReader(Protocol):
    """Reads the payloads of one event stream into an answer."""

    answer: Answer
    has_usage: bool
    finished: bool
    deltas: int

    def feed(self, payload: JsonObject) -> None:
        """Take one decoded ``data:`` payload."""
        ...

    def done(self) -> None:
        """Take the ``[DONE]`` marker."""
        ...

    def close(self) -> None:
        """Nothing more will come: finish the answer."""
        ...


class Text:
    """Text that arrives in pieces: counts all of it, keeps the beginning."""

    __slots__ = ("_kept", "_parts", "chars")

    def __init__(self) -> None:
        self.chars = 0
        self._kept = 0
        self._parts: list[str] = []

    def add(self, piece: str) -> None:
        """Append a piece."""
        if self._kept < ANSWER_KEPT_CHARS:
            self._parts.append(piece)
            self._kept += len(piece)
        self.chars += len(piece)

    def head(self) -> str:
        """The first ANSWER_KEPT_CHARS characters."""
        return "".join(self._parts)[:ANSWER_KEPT_CHARS]


def letter(role: Any) -> str:
    """Role → its letter in ``Event.roles``."""
    return _LETTERS.get(role, "?") if type(role) is str else "?"


def text_of(value: Any, limit: int = 64) -> str:
    """A short string, cut; "" for anything else."""
    return value[:limit] if type(value) is str else ""


def count_of(value: Any) -> int:
    """A whole number ≥ 0, bounded; 0 for anything else."""
    return 0 if value is None else optional_count(value) or 0


def optional_count(value: Any) -> int | None:
    """A whole number ≥ 0, bounded; None for anything else.

    ``5.0`` and ``"5"`` are five: model servers that validate leniently take them so, and nobody hides from us by that.
    """
    if value is None:
        return None
    if type(value) is not int:
        text = type(value) is str and len(value) <= _NUMBER_MAX_CHARS and value.isascii() and value.isdigit()
        if not text and not (type(value) is float and value.is_integer()):
            return None
        value = int(value)
    return min(value, _MAX_COUNT) if value >= 0 else None


def number_of(value: Any) -> float | None:
    """A finite number as float, read as leniently; None for anything else (a bool is not a number here)."""
    if value is None:
        return None
    if type(value) in (int, float):
        return float(value)
    if type(value) is str and len(value) <= _NUMBER_MAX_CHARS:
        try:
            number = float(value)
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    return None


def flag_of(value: Any) -> bool:
    """Whether a switch is on, read as leniently."""
    if value is None or value is False:
        return False
    if value is True or value == 1:
        return True
    return type(value) is str and value.lower() in _ON


def end_user_of(value: Any) -> int:
    """Who a client says its end user is, as 24 bits of a hash: enough to count, too little to name anybody; 0: no one."""
    if type(value) is not str or not value:
        return 0
    return xxh3_64_intdigest(value.encode("utf-8", "replace")) & 0xFFFFFF | 1 << 24


def digest_of(value: Any) -> int:
    """Digest of a JSON value, independent of key order; 0 for nothing."""
    if not value:
        return 0
    try:
        return xxh3_64_intdigest(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    except orjson.JSONEncodeError:
        return 0


def join_blocks(content: Any) -> tuple[str, bytes]:
    """Message content, a string or a list of blocks → its text, and the bytes of everything that is not text."""
    if type(content) is str:
        return content, b""
    if type(content) is not list:
        return "", b"" if content is None else orjson.dumps(content)
    texts: list[str] = []
    rest: list[Any] = []
    for block in content:
        if type(block) is str:
            texts.append(block)
        elif type(block) is dict:
            text = block.get("text")
            if type(text) is str:
                texts.append(text)
            else:
                # Cache markers move from message to message while a conversation goes on; they are not content.
                rest.append({key: item for key, item in block.items() if key != "cache_control"})
    return "\n".join(texts), orjson.dumps(rest) if rest else b""


def tool_names_digest(tools: Any) -> tuple[int, int]:
    """(count, digest) of the tools on offer; the digest covers names and schemas."""
    if type(tools) is not list or not tools:
        return 0, 0
    plain = [
        {key: item for key, item in tool.items() if key != "cache_control"} if type(tool) is dict else tool
        for tool in tools
    ]
    return len(tools), digest_of(plain)


def dicts(value: Any) -> Iterable[JsonObject]:
    """The objects in a list; nothing for anything else."""
    return (item for item in value if type(item) is dict) if type(value) is list else ()


def dict_of(value: Any) -> JsonObject:
    """The value if it is an object, else an empty one."""
    return value if type(value) is dict else {}
