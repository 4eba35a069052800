"""What is learned from an answer while it passes: bounded, after the bytes were forwarded, never changing them.

Two things are changed on the way, by a `StreamFilter`: the extra usage chunk that the gateway itself asked for is taken out
(`UsageFilter`), and for a capped key the model's reasoning (`app.gateway.concealing`).
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import orjson

from app.gateway import dialects
from app.gateway.dialects import openai
from app.gateway.dialects.shape import Answer, StreamReader
from app.gateway.routes import Route

_JSON_KEPT_BYTES = 1024 * 1024
"""A longer JSON answer is not read whole; its usage is looked for in the tail."""

_TAIL_BYTES = 4096

_BATCH_BYTES = 16 * 1024
"""Stream bytes that wait before they are parsed, so that parsing costs the client's next chunk at most about 0.2 ms."""

_LINE_MAX_BYTES = 1024 * 1024

_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')

_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")

CHARS_PER_TOKEN = 4
"""Estimate where the upstream reports no usage; English text in current tokenisers (OpenAI's rule of thumb)."""


class Capture:
    """Reads one answer into `answer`. The mode follows from the answer's head."""

    __slots__ = ("_kept", "_kept_bytes", "_mode", "_reader", "_rest", "_route", "_tail", "answer", "input_estimate")

    def __init__(self, route: Route, answer: Answer, input_estimate: int) -> None:
        self._route = route
        self.answer = answer
        self.input_estimate = input_estimate
        self._mode = "none"
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._tail = b""
        self._rest = b""
        self._reader: StreamReader | None = None

    def start(self, status: int, content_type: bytes, encoded: bool) -> None:
        """The head of the answer. `encoded`: its body is compressed, so it cannot be read."""
        self.answer.status = status
        if encoded or not self._route.json_body:
            return
        if content_type.startswith(b"text/event-stream"):
            self._reader = dialects.stream_reader(self._route, self.answer)
            self._mode = "stream" if self._reader is not None else "none"
        elif self._route.name == "embeddings" and status == 200:
            self._mode = "tail"  # megabytes of numbers
        else:
            self._mode = "json"

    def feed(self, data: bytes) -> None:
        """Body bytes that were forwarded."""
        mode = self._mode
        if mode == "none":
            return
        self._kept.append(data)
        self._kept_bytes += len(data)
        if mode == "stream":
            if self._kept_bytes > _BATCH_BYTES:
                self._read_stream()
        elif mode == "tail" or self._kept_bytes > _JSON_KEPT_BYTES:
            self._mode = "tail"
            self._tail = (self._tail + b"".join(self._kept))[-_TAIL_BYTES:]
            self._kept.clear()

    def finished(self) -> bool:
        """Whether the stream has said that it is at its end; True for what is no stream."""
        if self._reader is None:
            return True
        self._read_stream()
        return self._reader.finished

    def close(self) -> None:
        """No more bytes will come, for whatever reason: read what is kept, and estimate what was not reported."""
        answer = self.answer
        has_usage = False
        if self._reader is not None:
            if self._rest or self._kept:
                self._kept.append(b"\n")  # a last line that was not ended
            self._read_stream()
            self._reader.close()
            has_usage = self._reader.has_usage
        elif self._mode == "json":
            has_usage = self._read_json()
        elif self._mode == "tail":
            has_usage = self._read_tail()
        if has_usage or answer.status != 200 or not self._route.json_body:
            return
        if self._route.name == "count_tokens":
            return
        answer.estimated = True
        if not answer.input_tokens:
            answer.input_tokens = self.input_estimate
        if self._route.generates:
            deltas = self._reader.deltas if self._reader is not None else 0
            answer.output_tokens = max(answer.output_tokens, deltas, answer.chars // CHARS_PER_TOKEN)

    def _read_json(self) -> bool:
        raw = b"".join(self._kept)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            self.answer.chars = len(raw) if self.answer.status == 200 else 0
            return False
        if type(body) is not dict:
            return False
        if self.answer.status != 200:
            self.answer.error = dialects.error_type(self._route, body)
            return False
        return dialects.read_answer(self._route, body, self.answer)

    def _read_tail(self) -> bool:
        found = _USAGE.findall(self._tail)
        if not found:
            self.answer.chars = self._kept_bytes if self._route.generates else 0
            return False
        try:
            usage = orjson.loads(found[-1])
        except orjson.JSONDecodeError:
            return False
        return dialects.read_answer(self._route, {"usage": usage}, self.answer)

    def _read_stream(self) -> None:
        reader = self._reader
        if reader is None or not self._kept:
            return
        lines = (self._rest + b"".join(self._kept)).split(b"\n")
        self._kept.clear()
        self._kept_bytes = 0
        rest = lines.pop()
        # A line without end is no event; it is forgotten rather than kept growing.
        self._rest = rest if len(rest) <= _LINE_MAX_BYTES else b""
        for line in lines:
            if line[:5] == b"data:":
                payload = payload_of(line)
                if payload is None:
                    continue
                if payload is DONE:
                    reader.done()
                else:
                    reader.feed(payload)


DONE: dict[str, Any] = {}


def payload_of(line: bytes) -> dict[str, Any] | None:
    """A ``data:`` line → its JSON object, DONE for the end marker, None for anything else."""
    text = line[5:].strip()
    if text == b"[DONE]":
        return DONE
    try:
        payload = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return payload if type(payload) is dict else None


class StreamFilter(Protocol):
    """Changes a stream on its way to the client. It may hold bytes back until it knows what they are."""

    def pass_on(self, data: bytes) -> bytes:
        """Bytes that came → bytes that go."""
        ...

    def flush(self) -> bytes:
        """What is held back, at the end of the stream."""
        ...


class UsageFilter:
    """Takes the usage chunk out of a stream, for a client that did not ask for it.

    Holds back an event until its last byte is there; every other byte passes unchanged and in order.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def pass_on(self, data: bytes) -> bytes:
        """Bytes from the upstream → bytes for the client."""
        data = self._rest + data
        end = max((at + len(mark) for mark in _EVENT_ENDS if (at := data.rfind(mark)) >= 0), default=0)
        if not end:
            if len(data) > _LINE_MAX_BYTES:  # no event is that long; do not hold what nobody will end
                self._rest = b""
                return data
            self._rest = data
            return b""
        self._rest = data[end:]
        ready = data[:end]
        return ready if b'"usage"' not in ready else self._strip(ready)

    def flush(self) -> bytes:
        """What is held back, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return rest

    @staticmethod
    def _strip(ready: bytes) -> bytes:
        kept: list[bytes] = []
        for event in re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", ready):
            if b'"usage"' in event:
                line = next((part for part in event.split(b"\n") if part[:5] == b"data:"), b"")
                payload = payload_of(line) if line else None
                if payload is not None and openai.is_usage_chunk(payload):
                    continue
            kept.append(event)
        return b"".join(kept)
