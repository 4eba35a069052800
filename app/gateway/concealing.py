"""The model's reasoning taken out of an answer, where the dialect marks it as reasoning.

What goes is text that a reader could train on. What stays is the frame: items and blocks with their ids, indexes and
order, and what is opaque to the client (`encrypted_content`, `signature`, redacted blocks), as the dialects demand it back
in the next turn of a tool's loop. So a hidden thinking block looks as Anthropic's own `display: "omitted"` makes it, and
a hidden reasoning item as OpenAI's where no summary was asked for.

`summaries` keeps what the model server itself marks as a summary. The messages API marks none: its thinking blocks stay as
they are then. Text between <think> tags within an ordinary answer is not marked, and passes.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from app.gateway.dialects.shape import JsonObject, dict_of, dicts
from app.gateway.routes import Route

HELD_MAX_BYTES = 16 * 1024 * 1024
"""Longest single event, and longest whole answer, that is read to be changed."""

_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
_SPLIT = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")
_MARKS = (b"reasoning", b"thinking")
"""Every member and type that is changed here has one of these in its name."""

_PLAIN = ("reasoning_content", "reasoning")
"""Reasoning in a message or delta of chat completions: DeepSeek's name and older vLLM's; newer vLLM's and OpenRouter's."""


_STORED = ("/responses", "/conversations", "/chat/completions", "/messages")
"""Within the paths under which OpenAI's API keeps earlier answers."""


class TooLong(Exception):
    """More would have to be held than may be."""


def conceals(route: Route, path: str) -> bool:
    """Whether answers of this operation may hold reasoning: what generates, and what reads a stored answer again."""
    return route.generates or any(part in path for part in _STORED)


def conceal(body: JsonObject, *, summaries: bool) -> bool:
    """Takes the reasoning out of an answer of any dialect, or out of a list of answers; returns whether anything changed.

    Args:
        body: a whole answer, changed in place.
        summaries: keep what is marked as a summary.
    """
    changed = False
    for choice in dicts(body.get("choices")):
        changed |= _message(dict_of(choice.get("message")), summaries)
    for item in (*dicts(body.get("output")), *dicts(body.get("data"))):
        changed |= _item(item, summaries) or conceal(item, summaries=summaries)
    for block in dicts(body.get("content")):
        changed |= _block(block, summaries)
    return changed


def conceal_whole(data: bytes, *, summaries: bool) -> bytes:
    """The same for the bytes of a JSON answer; what is none stays as it is."""
    if not any(mark in data for mark in _MARKS):
        return data
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    return orjson.dumps(body) if type(body) is dict and conceal(body, summaries=summaries) else data


def _message(message: JsonObject, summaries: bool) -> bool:
    """Chat completions. The members stay, as null: that is how servers say that there was no reasoning."""
    changed = False
    for name in _PLAIN:
        if message.get(name):
            message[name] = None
            changed = True
    return _details(message, summaries) or changed


def _details(holder: JsonObject, summaries: bool) -> bool:
    """OpenRouter's list, each of whose parts says what it is; parts stay, because of the signatures in them."""
    changed = False
    for part in dicts(holder.get("reasoning_details")):
        for name in ("text",) if summaries else ("text", "summary"):
            if part.get(name):
                part[name] = ""
                changed = True
    return changed


def _item(item: JsonObject, summaries: bool) -> bool:
    """An output item of the responses API."""
    if item.get("type") != "reasoning":
        return False
    changed = item.pop("content", None) is not None
    if not summaries and item.get("summary"):
        item["summary"] = []
        changed = True
    return changed


def _block(block: JsonObject, summaries: bool) -> bool:
    """A content block of the messages API."""
    if summaries or block.get("type") != "thinking" or not block.get("thinking"):
        return False
    block["thinking"] = ""
    return True


_KEEP, _CHANGED, _DROP = 0, 1, 2


def _chunk(payload: JsonObject, summaries: bool) -> int:
    """A chunk of chat completions; one that held nothing else is dropped."""
    changed = False
    bare = not payload.get("usage")
    for choice in dicts(payload.get("choices")):
        delta = dict_of(choice.get("delta"))
        found = [name for name in _PLAIN if name in delta]
        for name in found:
            del delta[name]
        changed |= bool(found) | _details(delta, summaries)
        # What is left of it: the first delta of a choice says who speaks, the last one why it ended.
        bare = bare and choice.get("finish_reason") is None and not any(delta.values())
    if not changed:
        return _KEEP
    return _DROP if bare else _CHANGED


def _event(payload: JsonObject, summaries: bool) -> int:
    """One event of any dialect: as it is, changed in place, or not to be sent at all."""
    kind = payload.get("type")
    if type(kind) is not str:
        return _chunk(payload, summaries)
    if kind.startswith("response.reasoning"):
        return _KEEP if summaries and kind.startswith("response.reasoning_summary") else _DROP
    if kind in ("response.content_part.added", "response.content_part.done"):
        return _DROP if dict_of(payload.get("part")).get("type") == "reasoning_text" else _KEEP
    if kind in ("response.output_item.added", "response.output_item.done"):
        return _CHANGED if _item(dict_of(payload.get("item")), summaries) else _KEEP
    if kind.startswith("response."):
        return _CHANGED if conceal(dict_of(payload.get("response")), summaries=summaries) else _KEEP
    if kind == "content_block_start":
        return _CHANGED if _block(dict_of(payload.get("content_block")), summaries) else _KEEP
    if kind == "content_block_delta" and not summaries:
        return _DROP if dict_of(payload.get("delta")).get("type") == "thinking_delta" else _KEEP
    return _KEEP


class ConcealingFilter:
    """Takes the reasoning out of an event stream. Holds an event back until its last byte is there.

    Events of the responses API are numbered anew behind one that was dropped, so that no gap shows.
    """

    __slots__ = ("_dropped", "_renumber", "_rest", "_summaries")

    def __init__(self, *, summaries: bool, renumber: bool = True) -> None:
        """Begin a stream.

        Args:
            summaries: keep what is marked as a summary.
            renumber: false where the client may come back with a number, as for a response in the background.
        """
        self._summaries = summaries
        self._renumber = renumber
        self._rest = b""
        self._dropped = 0

    def pass_on(self, data: bytes) -> bytes:
        """Bytes from the model → bytes for the client.

        Raises:
            TooLong: an event does not end.
        """
        data = self._rest + data
        end = max((at + len(mark) for mark in _EVENT_ENDS if (at := data.rfind(mark)) >= 0), default=0)
        self._rest = data[end:]
        if len(self._rest) > HELD_MAX_BYTES:
            raise TooLong
        return b"".join(map(self._changed, _SPLIT.split(data[:end]))) if end else b""

    def flush(self) -> bytes:
        """What is held back, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return self._changed(rest, whole=False)

    def _changed(self, event: bytes, whole: bool = True) -> bytes:
        marked = any(mark in event for mark in _MARKS)
        if not marked and not (self._dropped and b'"sequence_number"' in event):
            return event
        lines = event.split(b"\n")
        at = [place for place, line in enumerate(lines) if line.startswith(b"data:")]
        try:
            payload: Any = orjson.loads(b"\n".join(lines[place][5:] for place in at))
        except orjson.JSONDecodeError:
            return event if whole else b""  # half an event says nothing to a client, and may show what is to be hidden
        if type(payload) is not dict:
            return event
        fate = _event(payload, self._summaries) if marked else _KEEP
        number = payload.get("sequence_number")
        if fate == _DROP:
            if self._renumber and type(number) is int:
                self._dropped += 1
            return b""
        if self._dropped and type(number) is int:
            payload["sequence_number"] = number - self._dropped
            fate = _CHANGED
        if fate == _KEEP:
            return event
        ending = b"\r" if lines[at[0]].endswith(b"\r") else b""
        lines[at[0]] = b"data: " + orjson.dumps(payload) + ending
        return b"\n".join(line for place, line in enumerate(lines) if place not in at[1:])
