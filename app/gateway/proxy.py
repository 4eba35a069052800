"""Forward one admitted request to the upstream and its answer back, byte for byte, as it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.parse
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Kind, Refuse
from app.errors import UpstreamUnavailable
from app.gateway.capture import UsageFilter
from app.gateway.core import Core, Scope
from app.gateway.dialects import openai
from app.gateway.dialects.shape import flag_of
from app.gateway.exchange import ClientGone, Exchange
from app.gateway.upstream import Connection, Upstream, UpstreamBusy
from app.limits.headers import rate_headers

_WHOLE_BYTES = 64 * 1024
"""Answers with a declared length up to this are sent when complete, so that one cut short becomes a clean 502."""

_NO_BODY_METHODS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))
_RATE_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-", b"ratelimit")

_FAILURES = {
    "cut": (wire_errors.BROKEN, "The model server closed the connection before the answer was complete."),
    "protocol": (wire_errors.BROKEN, "The model server sent something that is no valid HTTP."),
    "timeout": (wire_errors.UPSTREAM_TIMEOUT, "The model server was silent for too long."),
}


class ProxyExchange(Exchange):
    """An exchange whose answer comes from the upstream."""

    __slots__ = ("_connection", "_cycle", "_filter", "_last", "_stream", "_upstream", "_watcher")

    def __init__(self, core: Core, upstream: Upstream, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, scope, receive, send)
        self._upstream = upstream
        self._connection: Connection | None = None
        self._cycle: Any = None  # of our own server's protocol, when nobody stands between it and us
        self._watcher: asyncio.Task[None] | None = None
        self._filter: UsageFilter | None = None
        self._stream = False
        self._last = b""

    async def run(self) -> None:
        """Serve the request; returns when the answer, or a refusal, has been sent."""
        core = self.core
        core.active.add(self)
        link = self.scope.get("stillwatch.link")
        if link is not None:
            link.watcher = self
            cycle = getattr(self.send, "__self__", None)
            self._cycle = cycle if type(cycle) is RequestResponseCycle else None
        refund = False
        try:
            await self.admit()
            if link is None:
                self._watcher = asyncio.create_task(self._watch())
            await self._forward()
        except Refuse as refuse:
            refund = self.decision is not None and self.decision.admitted
            await self.refuse(refuse)
        except ClientGone:
            self.answer.outcome = "disconnected"
            refund = not self.started
        except asyncio.CancelledError:
            # The server is shutting down and its grace is over.
            self.answer.outcome = "disconnected" if self.gone else "upstream_cut"
            if self._stream and not self.gone:
                await self._end_stream(wire_errors.BUSY, "The service is restarting; please try again.")
            raise
        finally:
            if link is not None:
                link.watcher = None
            elif self._watcher is not None:
                self._watcher.cancel()
            connection = self._connection
            if connection is not None:
                self._connection = None
                connection.abandon()
                self._upstream.release(connection)
            core.active.discard(self)
            if self.capture is not None:
                self.settle(refund=refund)

    def client_gone(self) -> None:
        """The client has closed its connection: stop the model."""
        self.gone = True
        if self._connection is not None:
            self._connection.abandon()

    async def _read_body(self) -> None:
        if self._cycle is not None:
            raw = self.scope["stillwatch.link"].whole_body(self._cycle)
            if raw is not None:
                self.body_read = True
                if len(raw) > self.core.max_body_bytes:
                    raise self._too_large()
                self.raw = raw
                return
        await super()._read_body()

    async def _watch(self) -> None:
        """Wait for the client to leave, under servers that only tell those who ask."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.client_gone()
                return

    async def _forward(self) -> None:
        body, head = self._request()
        no_body = self.scope["method"] == "HEAD"
        connection = await self._open()
        connection.send(head, body, no_body)
        while not connection.status:
            if connection.failed:
                if self.gone:
                    raise ClientGone
                if connection.failed != "cut" or not (connection.reused and connection.fresh):
                    raise self._failure(connection.failed)
                # A kept-alive connection that was closed while the request travelled: nothing was answered, and a
                # new connection tells whether the upstream is there at all.
                self._connection = None
                self._upstream.release(connection)
                connection = await self._open(fresh=True)
                connection.send(head, body, no_body)
            await connection.wait()
        await self._answer(connection)

    async def _open(self, fresh: bool = False) -> Connection:
        if self.gone:
            raise ClientGone
        upstream = self._upstream
        try:
            connection = await upstream.connect(fresh=fresh)
        except UpstreamBusy:
            raise Refuse(wire_errors.BUSY, "The model server is at capacity; please try again.", "upstream_busy") from None
        except UpstreamUnavailable:
            raise Refuse(wire_errors.UNREACHABLE, "The model server cannot be reached.", "upstream") from None
        self._connection = connection
        if self.gone:
            raise ClientGone
        return connection

    def _request(self) -> tuple[bytes, bytes]:
        """(body, head) for the upstream."""
        scope = self.scope
        upstream = self._upstream
        head = self.head
        assert head is not None
        body = self.raw
        if self.core.inject_usage and self.body is not None and flag_of(self.body.get("stream")):
            changed = openai.with_usage(body, self.body) if self.route.name in ("chat", "completions") else None
            if changed is not None and self.capture is not None:
                body = changed
                self._filter = UsageFilter(self.capture)
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

    async def _answer(self, connection: Connection) -> None:
        capture = self.capture
        assert capture is not None
        core = self.core
        answer = self.answer
        status = connection.status
        answer.first_byte_us = (time.perf_counter_ns() - self.started_ns) // 1000
        core.tally.first_byte_seconds.observe(answer.first_byte_us / 1e6)
        headers, content_type, encoded = self._answer_headers(connection)
        stream = self._stream = content_type.startswith(b"text/event-stream")
        if not stream or status != 200:
            self._filter = None
        if stream and connection.length >= 0:
            # A chunk may be taken out of a stream, and an error event added.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        capture.start(status, content_type, encoded)
        if not stream and 0 <= connection.length <= _WHOLE_BYTES:
            while not connection.complete:
                if connection.failed:
                    if self.gone:
                        raise ClientGone
                    raise self._failure(connection.failed)
                await connection.wait()
        core.tally.answered(self.route.name, status)
        if status >= 500:
            answer.outcome = "upstream_error"
        send = self.send
        self.started = True
        if (
            self._cycle is not None
            and connection.complete
            and connection.length >= 0
            and not stream
            and not connection.no_body
        ):
            data = connection.take()
            self._connection = None
            self._upstream.release(connection)
            if self.scope["stillwatch.link"].whole_answer(self._cycle, status, headers, data):
                if data:
                    capture.feed(data)
                return
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await self._last_bytes(data, True)
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        while True:
            data = connection.take()
            if connection.complete:
                # Given back before the last bytes go out: the next request may use it meanwhile.
                whole = connection.framed or not stream
                self._connection = None
                self._upstream.release(connection)
                await self._last_bytes(data, whole)
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

    async def _pass_on(self, data: bytes) -> None:
        capture = self.capture
        assert capture is not None
        if self._filter is not None:
            data = self._filter.pass_on(data)
            if data:
                await self._write(data)
        else:
            await self._write(data)
            capture.feed(data)
        if self._stream and data:
            self._last = data[-4:]

    async def _write(self, data: bytes) -> None:
        if self._cycle is None or not self.scope["stillwatch.link"].part_of_answer(self._cycle, data):
            await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def _last_bytes(self, data: bytes, whole: bool) -> None:
        capture = self.capture
        assert capture is not None
        if not whole or self._filter is not None:
            # The stream ended with its connection: only its own end marker tells a full stream from a cut one.
            if data:
                await self._pass_on(data)
            if not whole and not capture.finished():
                await self._cut("cut")
                return
            data = self._filter.flush() if self._filter is not None else b""
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
        link = self.scope.get("stillwatch.link")
        if link is not None:
            link.abort()
        # Without our protocol: returning before the body is complete makes the server close the connection.

    async def _end_stream(self, kind: Kind, message: str) -> None:
        event = wire_errors.stream_error(
            kind, message, dialect=self.route.dialect, route=self.route.name, request_id=self.request_id
        )
        if self._last and not self._last.endswith((b"\n\n", b"\r\n\r\n")):
            event = b"\n\n" + event  # the cut was inside an event; close it first
        with contextlib.suppress(OSError, RuntimeError):
            await self.send({"type": "http.response.body", "body": event, "more_body": False})

    def _answer_headers(self, connection: Connection) -> tuple[list[tuple[bytes, bytes]], bytes, bool]:
        """(headers for the client, content type, whether the body is compressed)."""
        headers = connection.headers
        content_type = b""
        encoded = False
        has_id = False
        id_name = b"request-id" if self.route.dialect == "anthropic" else b"x-request-id"
        for name, value in headers:
            if name == b"content-type":
                content_type = value
            elif name == b"content-encoding":
                encoded = value.strip().lower() != b"identity"
            elif name == id_name:
                has_id = True
        decision = self.decision
        if decision is not None:
            ours = rate_headers(decision, self.route.dialect)
            if ours:
                headers = [pair for pair in headers if not pair[0].startswith(_RATE_PREFIXES)]
                headers += ours
        if not has_id:
            headers.append((id_name, self.request_id.encode()))
        return headers, content_type, encoded

    @staticmethod
    def _failure(why: str) -> Refuse:
        kind, message = _FAILURES.get(why, _FAILURES["cut"])
        return Refuse(kind, message, "upstream")
