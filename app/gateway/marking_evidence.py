"""The evidence that an engine reports of its own mark: read for the ledger, and taken out before the client sees it.

An engine's adapter may put `watermark_evidence`, the expected score of this answer in nats above chance, into the `usage`
of any dialect. Whoever is marked must not learn how strongly: scores are what an attack on a mark works with.
"""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from app.gateway.concealing import HELD_MAX_BYTES, TooLong
from app.gateway.dialects.shape import JsonObject, dict_of

FIELD = "watermark_evidence"
"""Within `usage`; nats."""

MOST_NATS = 1e6
"""More than any answer has; what is beyond it is no report."""

_MARK = b'"watermark_evidence"'
_ENDS = (b"\n\n", b"\r\n\r\n")
_SPLIT = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


class Reported:
    """Takes reports out of one answer, whole or streamed, and remembers the last.

    Attributes:
        nats: what was reported; None for nothing.
    """

    __slots__ = ("_rest", "nats")

    def __init__(self) -> None:
        self.nats: float | None = None
        self._rest = b""

    def whole(self, raw: bytes) -> bytes:
        """A whole answer → the same without the report."""
        if _MARK not in raw:
            return raw
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return raw
        return orjson.dumps(body) if type(body) is dict and self._take(body) else raw

    def pass_on(self, data: bytes) -> bytes:
        """Bytes of a stream from the model → bytes for the client; an event is held until its last byte is there.

        Raises:
            TooLong: an event does not end.
        """
        data = self._rest + data
        end = max((at + len(mark) for mark in _ENDS if (at := data.rfind(mark)) >= 0), default=0)
        self._rest = data[end:]
        if len(self._rest) > HELD_MAX_BYTES:
            raise TooLong
        ready = data[:end]
        return ready if _MARK not in ready else b"".join(map(self._event, _SPLIT.split(ready)))

    def flush(self) -> bytes:
        """What is held back, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return rest if _MARK not in rest else self._event(rest, whole=False)

    def _event(self, event: bytes, whole: bool = True) -> bytes:
        if _MARK not in event:
            return event
        lines = event.split(b"\n")
        at = [place for place, line in enumerate(lines) if line.startswith(b"data:")]
        try:
            payload: Any = orjson.loads(b"\n".join(lines[place][5:] for place in at))
        except orjson.JSONDecodeError:
            return event if whole else b""
        if type(payload) is not dict or not self._take(payload):
            return event
        ending = b"\r" if lines[at[0]].endswith(b"\r") else b""
        lines[at[0]] = b"data: " + orjson.dumps(payload) + ending
        return b"\n".join(line for place, line in enumerate(lines) if place not in at[1:])

    def _take(self, body: JsonObject) -> bool:
        """Out of the places where the dialects have a usage; returns whether there was one."""
        found = False
        for holder in (body, dict_of(body.get("response")), dict_of(body.get("message"))):
            usage = dict_of(holder.get("usage"))
            if FIELD in usage:
                value = usage.pop(FIELD)
                found = True
                if type(value) in (int, float) and math.isfinite(value) and 0 <= value <= MOST_NATS:
                    self.nats = float(value)
        return found
