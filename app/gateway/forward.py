"""The steps by which an admitted request goes to the upstream and its answer back, byte for byte, as it arrives.

`app.gateway.proxy` takes them in order, in a task or without one. The bytes are changed in few cases only: where the
gateway asked for usage that the client did not ask for, where an action caps what the key may use, and where answers are
marked (`app.gateway.marking_exchange`).
"""

from __future__ import annotations

import time
import urllib.parse
from typing import Any, ClassVar

import orjson
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Headers, Refuse
from app.errors import UpstreamUnavailable
from app.gateway.answer_head import answer_headers
from app.gateway.capping import capped
from app.gateway.capture import StreamFilter, UsageFilter
from app.gateway.concealing import HELD_MAX_BYTES, ConcealingFilter, TooLong, conceal_whole, conceals
from app.gateway.core import Core, Scope
from app.gateway.dialects import openai
from app.gateway.dialects.shape import JsonObject, flag_of
from app.gateway.exchange import ClientGone, Exchange
from app.gateway.protocol import GuardedProtocol
from app.gateway.upstream import Connection, Upstream, UpstreamBusy

_WHOLE_BYTES = 64 * 1024
"""Answers with a declared length up to this are sent when complete, so that one cut short becomes a clean 502."""

_NO_BODY_METHODS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))

_FAILURES = {
    "cut": (wire_errors.BROKEN, "The model server closed the connection before the answer was complete."),
    "protocol": (wire_errors.BROKEN, "The model server sent something that is no valid HTTP."),
    "timeout": (wire_errors.UPSTREAM_TIMEOUT, "The model server was silent for too long."),
}


class ForwardExchange(Exchange):
    """An exchange whose answer comes from the upstream."""

    __slots__ = (
        "_conceals",
        "_connection",
        "_cycle",
        "_filters",
        "_headers",
        "_link",
        "_upstream",
    )

    changes: ClassVar[bool] = False
    """Every request may have to be changed."""

    def __init__(self, core: Core, upstream: Upstream, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, scope, receive, send)
        self._upstream = upstream
        self._connection: Connection | None = None
        self._link: GuardedProtocol | None = scope.get("stillwatch.link")
        cycle = getattr(send, "__self__", None) if self._link is not None else None
        # Of our own server's protocol, when nobody stands between it and us.
        self._cycle: RequestResponseCycle | None = cycle if type(cycle) is RequestResponseCycle else None
        self._conceals = False  # something has to be taken out of the answer
        self._filters: tuple[StreamFilter, ...] = ()
        self._headers: Headers | None = None  # of the answer, once its head is there

    def client_gone(self) -> None:
        """The client has closed its connection: stop the model."""
        self.gone = True
        if self._connection is not None:
            self._connection.abandon()

    def stop(self, refuse: Refuse) -> None:
        """The key was suspended. A stream ends with the refusal; a whole answer is sent if it is under way."""
        if self.stopping is None:
            self.stopping = refuse
            if self._connection is not None and (self._stream or not self.started):
                self._connection.abandon()

    async def _read_body(self) -> None:
        if self._cycle is not None and self._link is not None:
            raw = self._link.whole_body(self._cycle)
            if raw is not None:
                self._take_body(raw)
                return
        await super()._read_body()

    def _take_body(self, raw: bytes) -> None:
        self.body_read = True
        if len(raw) > self.core.max_body_bytes:
            raise self._too_large()
        self.raw = raw

    async def _forward(self) -> None:
        body, head = self._request()
        connection = await self._open()
        connection.send(head, body, self.scope["method"] == "HEAD")
        await self._follow(connection)

    async def _follow(self, connection: Connection) -> None:
        """Pass the answer on as it comes."""
        while not connection.status:
            if connection.failed:
                self._raise_if_over()
                if connection.failed != "cut" or not (connection.reused and connection.fresh):
                    raise self._failure(connection.failed)
                # A kept-alive connection that was closed while the request travelled: nothing was answered, and a
                # new connection tells whether the upstream is there at all.
                self._connection = None
                self._upstream.release(connection)
                connection = await self._open(fresh=True)
                body, head = self._request()
                connection.send(head, body, self.scope["method"] == "HEAD")
            await connection.wait()
        await self._answer(connection)

    def _raise_if_over(self) -> None:
        """Nobody waits for this answer, or nobody may have it."""
        if self.gone:
            raise ClientGone
        if self.stopping is not None:
            raise self.stopping

    async def _open(self, fresh: bool = False) -> Connection:
        self._raise_if_over()
        upstream = self._upstream
        try:
            connection = await upstream.connect(fresh=fresh)
        except UpstreamBusy:
            raise Refuse(wire_errors.BUSY, "The model server is at capacity; please try again.", "upstream_busy") from None
        except UpstreamUnavailable:
            raise Refuse(wire_errors.UNREACHABLE, "The model server cannot be reached.", "upstream") from None
        self._connection = connection
        self._raise_if_over()
        return connection

    def _request(self) -> tuple[bytes, bytes]:
        """(body, head) for the upstream."""
        scope = self.scope
        upstream = self._upstream
        head = self.head
        assert head is not None
        body, parsed = self.raw, self.body
        filters: list[StreamFilter] = []
        if self.cap is not None or self.changes:
            made = self._changed(filters)
            if made is not None:
                body, parsed = orjson.dumps(made), made
        if self.core.inject_usage and parsed is not None and flag_of(parsed.get("stream")):
            changed = openai.with_usage(body, parsed) if self.route.name in ("chat", "completions") else None
            if changed is not None and self.capture is not None:
                body = changed
                filters.insert(0, UsageFilter())
        self._filters = tuple(filters)
        method: str = scope["method"]
        path: bytes = scope.get("raw_path") or urllib.parse.quote(scope["path"]).encode()
        query: bytes = scope["query_string"]
        lines = [
            b"%b %b%b%b%b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n"
            % (method.encode(), upstream.base_path, path, b"?" if query else b"", query, upstream.host_header)
        ]
        lines += head.wire
        if body or method not in _NO_BODY_METHODS:
            lines.append(b"content-length: %d\r\n\r\n" % len(body))
        else:
            lines.append(b"\r\n")
        return body, b"".join(lines)

    def _changed(self, filters: list[StreamFilter]) -> JsonObject | None:
        """The body without what the key may not use; None: the client's own bytes, for it used nothing of that."""
        cap, parsed = self.cap, self.body
        if cap is None:
            return None
        if cap.reasoning != "keep" and conceals(self.route, self.scope["path"]):
            self._conceals = True
            # Whoever reads a response in the background may come back for the rest of it by number.
            renumber = parsed is not None and not flag_of(parsed.get("background"))
            filters.append(ConcealingFilter(summaries=cap.reasoning == "summarise", renumber=renumber))
        return capped(self.route.name, parsed, cap) if parsed is not None else None

    def _head_of_answer(self, connection: Connection) -> Headers:
        """The answer's head is there; its headers for the client."""
        capture = self.capture
        assert capture is not None
        status = connection.status
        answer = self.answer
        answer.first_byte_us = (time.perf_counter_ns() - self.started_ns) // 1000
        self.core.tally.first_byte_seconds.observe(answer.first_byte_us / 1e6)
        headers, content_type, encoded = answer_headers(connection.headers, self.route, self.decision, self.request_id)
        stream = self._stream = content_type.startswith(b"text/event-stream")
        if not stream or status != 200:
            self._filters = ()
        if self._conceals:
            self._conceals = status == 200 and (stream or content_type.startswith(b"application/json"))
            if self._conceals and encoded:
                raise Refuse(wire_errors.BROKEN, "The model server used an encoding that was not asked for.", "upstream")
        if stream and connection.length >= 0:
            # A chunk may be taken out of a stream, and an error event added.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        capture.start(status, content_type, encoded)
        return headers

    def _answer_starts(self, status: int) -> None:
        self.started = True
        self.core.tally.answered(self.route.name, status)
        if status >= 500:
            self.answer.outcome = "upstream_error"

    def _can_be_whole(self, connection: Connection) -> bool:
        """Whether an answer is sent when complete, and without messages; its head must be there."""
        return not self._stream and 0 <= connection.length <= _WHOLE_BYTES and not connection.no_body

    def _whole(self, connection: Connection) -> bytes | None:
        """Send a complete answer at once; where that cannot be, its body for the way by messages."""
        capture = self.capture
        assert capture is not None
        assert self._link is not None
        assert self._cycle is not None
        assert self._headers is not None
        data = self._taken(connection) if self.changes else connection.take()
        status = connection.status
        self._connection = None
        connection.listener = None
        self._upstream.release(connection)
        self._answer_starts(status)
        if not self._link.whole_answer(self._cycle, status, self._headers, data):
            return data
        if data:
            capture.feed(data)
        return None

    def _taken(self, connection: Connection) -> bytes:
        """A complete answer as it is sent at once."""
        return connection.take()

    async def _by_messages(self, data: bytes) -> None:
        """Send a complete answer as ASGI has it."""
        await self.send({"type": "http.response.start", "status": self.answer.status, "headers": self._headers})
        await self._last_bytes(data, True)

    async def _answer(self, connection: Connection) -> None:
        if self._headers is None:
            self._headers = self._head_of_answer(connection)
        if not self._stream and (self._conceals or 0 <= connection.length <= _WHOLE_BYTES):
            if self._conceals and not connection.no_body:
                await self._held(connection)
                return
            while not connection.complete:
                if connection.failed:
                    self._raise_if_over()
                    raise self._failure(connection.failed)
                await connection.wait()
        if self._cycle is not None and connection.complete and self._can_be_whole(connection):
            rest = self._whole(connection)
            if rest is not None:
                await self._by_messages(rest)
            return
        if self.stopping is not None:
            raise self.stopping
        self._answer_starts(connection.status)
        await self.send({"type": "http.response.start", "status": connection.status, "headers": self._headers})
        try:
            await self._pass_all(connection)
        except TooLong:
            await self._cut("protocol")

    async def _pass_all(self, connection: Connection) -> None:
        """The body, as it comes."""
        stream = self._stream
        while True:
            data = connection.take()
            if connection.complete:
                # Given back before the last bytes go out: the next request may use it meanwhile.
                whole = connection.framed or not stream
                self._connection = None
                self._upstream.release(connection)
                await self._last_bytes(data, whole)
                return
            if self.stopping is not None and stream and not self.gone:
                await self._stopped(self.stopping)
                return
            if data:
                await self._pass_on(data)
            elif connection.failed or self.gone:
                if self.gone:
                    raise ClientGone
                await self._cut(connection.failed)
                return
            else:
                await connection.wait()

    async def _held(self, connection: Connection) -> None:
        """Send a whole answer that is changed on the way; all of it has to be here for that."""
        parts: list[bytes] = []
        held = 0
        while True:
            data = connection.take()
            parts.append(data)
            held += len(data)
            if connection.complete:
                break
            if connection.failed:
                self._raise_if_over()
                raise self._failure(connection.failed)
            if held > HELD_MAX_BYTES:
                raise self._failure("protocol")
            await connection.wait()
        self._connection = None
        self._upstream.release(connection)
        body = self._for_client(b"".join(parts))
        assert self._headers is not None
        headers = [pair for pair in self._headers if pair[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(body)))
        self._answer_starts(connection.status)
        await self.send({"type": "http.response.start", "status": connection.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def _for_client(self, raw: bytes) -> bytes:
        """A whole answer without the model's reasoning."""
        capture, cap = self.capture, self.cap
        assert capture is not None
        assert cap is not None
        capture.feed(raw)
        return conceal_whole(raw, summaries=cap.reasoning == "summarise")

    async def _pass_on(self, data: bytes) -> None:
        capture = self.capture
        assert capture is not None
        if self._filters:
            capture.feed(data)
            for stage in self._filters:
                data = stage.pass_on(data)
            if data:
                await self._write(data)
        else:
            await self._write(data)
            capture.feed(data)
        if self._stream and data:
            self._last = data[-4:]

    async def _write(self, data: bytes) -> None:
        if self._cycle is None or self._link is None or not self._link.part_of_answer(self._cycle, data):
            await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def _last_bytes(self, data: bytes, whole: bool) -> None:
        capture = self.capture
        assert capture is not None
        if not whole or self._filters:
            # The stream ended with its connection: only its own end marker tells a full stream from a cut one.
            if data:
                await self._pass_on(data)
            if not whole and not capture.finished():
                await self._cut("cut")
                return
            data = b""
            for stage in self._filters:
                data = stage.pass_on(data) + stage.flush()
            await self.send({"type": "http.response.body", "body": data, "more_body": False})
            return
        await self.send({"type": "http.response.body", "body": data, "more_body": False})
        if data:
            capture.feed(data)

    async def _cut(self, why: str) -> None:
        """The upstream stopped in the middle: never let that look like an end."""
        self.answer.outcome = "upstream_cut"
        self.answer.error = "upstream_cut"
        if self._stream:
            kind, message = _FAILURES.get(why, _FAILURES["cut"])
            await self._end_stream(kind, message)
            return
        if self._link is not None:
            self._link.abort()
        # Without our protocol: returning before the body is complete makes the server close the connection.

    @staticmethod
    def _failure(why: str) -> Refuse:
        kind, message = _FAILURES.get(why, _FAILURES["cut"])
        return Refuse(kind, message, "upstream")
