"""Forward one admitted request to the upstream and its answer back, byte for byte, as it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Headers, Kind, Refuse
from app.errors import UpstreamUnavailable
from app.gateway.capture import UsageFilter
from app.gateway.core import Core, Scope
from app.gateway.dialects import openai
from app.gateway.dialects.shape import flag_of
from app.gateway.exchange import ClientGone, Exchange
from app.gateway.protocol import GuardedProtocol
from app.gateway.upstream import Connection, Upstream, UpstreamBusy
from app.limits.headers import rate_headers
from app.limits.limiter import Decision

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

    __slots__ = (
        "_before",
        "_connection",
        "_cycle",
        "_deciding",
        "_filter",
        "_headers",
        "_last",
        "_link",
        "_stream",
        "_tasked",
        "_upstream",
        "_watcher",
    )

    def __init__(self, core: Core, upstream: Upstream, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, scope, receive, send)
        self._upstream = upstream
        self._connection: Connection | None = None
        self._link: GuardedProtocol | None = scope.get("stillwatch.link")
        cycle = getattr(send, "__self__", None) if self._link is not None else None
        # Of our own server's protocol, when nobody stands between it and us.
        self._cycle: RequestResponseCycle | None = cycle if type(cycle) is RequestResponseCycle else None
        self._watcher: asyncio.Task[None] | None = None
        self._filter: UsageFilter | None = None
        self._headers: Headers | None = None  # of the answer, once its head is there
        self._stream = False
        self._last = b""
        self._tasked = True
        self._deciding: Coroutine[Any, Any, Decision] | None = None
        self._before = 0.0

    async def run(self) -> None:
        """Serve the request; returns when the answer, or a refusal, has been sent."""
        self._enter()
        await self._serve(self._everything)

    async def _everything(self) -> None:
        await self.admit()
        if self._link is None:
            self._watcher = asyncio.create_task(self._watch())
        await self._forward()

    def _enter(self) -> None:
        self.core.active.add(self)
        if self._link is not None:
            self._link.watcher = self

    def _leave(self, refund: bool) -> None:
        if self._link is not None:
            self._link.watcher = None
        elif self._watcher is not None:
            self._watcher.cancel()
        connection = self._connection
        if connection is not None:
            self._connection = None
            connection.abandon()
            self._upstream.release(connection)
        self.core.active.discard(self)
        if self.capture is not None:
            self.settle(refund=refund)

    async def _serve(self, steps: Callable[[], Awaitable[None]]) -> None:
        """Do the steps, and whatever has to follow their end."""
        refund = False
        try:
            await steps()
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
        except Exception:
            self.core.tally.own_error("internal")
            raise
        finally:
            self._leave(refund)

    # The fast lane: the same steps as calls. A task per request, and its waking, cost more than most of them. Whatever is
    # not an ordinary whole answer on a connection that is open goes on in a task, which never comes back here.

    def start(self, raw: bytes) -> None:
        """Serve a request with this body; returns when it was sent on, or is in other hands."""
        self._tasked = False
        self._enter()
        assert self._link is not None
        self._link.without_task(self)
        try:
            self.read_head()
            self._take_body(raw)
            ask = self.read_request()
            limiter = self.core.limiter
            if ask is None or limiter is None:
                self._send_on()
                return
            self._before = time.perf_counter()
            self._deciding = limiter.decide(ask)
            self._decide()
        except Exception as error:
            self._go_on(partial(_fail, error))

    def _decide(self, _: object = None) -> None:
        """Drive the decision to the future it waits for, and on from there when that is done."""
        deciding = self._deciding
        if deciding is None:
            return
        try:
            waits_for: asyncio.Future[Any] = deciding.send(None)
        except StopIteration as stop:
            self._deciding = None
            try:
                self.abide_by(stop.value, self._before)
                self._send_on()
            except Exception as error:
                self._go_on(partial(_fail, error))
        except Exception as error:
            self._deciding = None
            self._go_on(partial(_fail, error))
        else:
            waits_for._asyncio_future_blocking = False  # what a task does to say that it has seen it
            waits_for.add_done_callback(self._decide)

    def _send_on(self) -> None:
        connection = self._upstream.take_idle() if not self.gone else None
        if connection is None:
            self._go_on(self._forward)
            return
        body, head = self._request()
        self._connection = connection
        connection.listener = self
        connection.send(head, body, self.scope["method"] == "HEAD")

    def stirred(self) -> None:
        """Something has come from the upstream, or nothing will any more."""
        connection = self._connection
        if connection is None or self._tasked:
            return
        try:
            if connection.status and self._headers is None:
                self._headers = self._head_of_answer(connection)
            if self._can_be_whole(connection) and not connection.failed:
                if connection.complete:
                    self._send_whole(connection)
            elif connection.status or connection.failed:
                self._go_on(partial(self._follow, connection))
        except Exception as error:
            self._go_on(partial(_fail, error))

    def _send_whole(self, connection: Connection) -> None:
        rest = self._whole(connection)
        if rest is not None:
            self._go_on(partial(self._by_messages, rest))
            return
        assert self._link is not None
        self._link.done_without_task(self)
        self._leave(False)

    def _go_on(self, rest: Callable[[], Awaitable[None]]) -> None:
        """Into a task."""
        link = self._link
        assert link is not None
        assert self._cycle is not None
        if self._connection is not None:
            self._connection.listener = None
        self._tasked = True
        link.done_without_task(self)
        link.go_on(self._cycle, partial(self._serve, rest))

    def cancel(self, msg: object = None) -> bool:
        """Called by the server when its grace is over, in place of a task's."""
        asyncio.get_running_loop().call_soon(self._cancelled, msg)
        return True

    def _cancelled(self, msg: object) -> None:
        if self._tasked or self not in self.core.active:
            return
        deciding, self._deciding = self._deciding, None
        if deciding is not None:
            with contextlib.suppress(asyncio.CancelledError):
                deciding.throw(asyncio.CancelledError(msg))
        self._go_on(partial(_fail, asyncio.CancelledError(msg)))

    # What both lanes do

    def client_gone(self) -> None:
        """The client has closed its connection: stop the model."""
        self.gone = True
        if self._connection is not None:
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

    async def _watch(self) -> None:
        """Wait for the client to leave, under servers that only tell those who ask."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.client_gone()
                return

    async def _forward(self) -> None:
        body, head = self._request()
        connection = await self._open()
        connection.send(head, body, self.scope["method"] == "HEAD")
        await self._follow(connection)

    async def _follow(self, connection: Connection) -> None:
        """Pass the answer on as it comes."""
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
                body, head = self._request()
                connection.send(head, body, self.scope["method"] == "HEAD")
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

    def _head_of_answer(self, connection: Connection) -> Headers:
        """The answer's head is there; its headers for the client."""
        capture = self.capture
        assert capture is not None
        status = connection.status
        answer = self.answer
        answer.first_byte_us = (time.perf_counter_ns() - self.started_ns) // 1000
        self.core.tally.first_byte_seconds.observe(answer.first_byte_us / 1e6)
        headers, content_type, encoded = self._answer_headers(connection)
        stream = self._stream = content_type.startswith(b"text/event-stream")
        if not stream or status != 200:
            self._filter = None
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
        data = connection.take()
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

    async def _by_messages(self, data: bytes) -> None:
        """Send a complete answer as ASGI has it."""
        await self.send({"type": "http.response.start", "status": self.answer.status, "headers": self._headers})
        await self._last_bytes(data, True)

    async def _answer(self, connection: Connection) -> None:
        if self._headers is None:
            self._headers = self._head_of_answer(connection)
        stream = self._stream
        if not stream and 0 <= connection.length <= _WHOLE_BYTES:
            while not connection.complete:
                if connection.failed:
                    if self.gone:
                        raise ClientGone
                    raise self._failure(connection.failed)
                await connection.wait()
        send = self.send
        if self._cycle is not None and connection.complete and self._can_be_whole(connection):
            rest = self._whole(connection)
            if rest is not None:
                await self._by_messages(rest)
            return
        self._answer_starts(connection.status)
        await send({"type": "http.response.start", "status": connection.status, "headers": self._headers})
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
        if self._cycle is None or self._link is None or not self._link.part_of_answer(self._cycle, data):
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
        if self._link is not None:
            self._link.abort()
        # Without our protocol: returning before the body is complete makes the server close the connection.

    async def _end_stream(self, kind: Kind, message: str) -> None:
        event = wire_errors.stream_error(
            kind, message, dialect=self.route.dialect, route=self.route.name, request_id=self.request_id
        )
        if self._last and not self._last.endswith((b"\n\n", b"\r\n\r\n")):
            event = b"\n\n" + event  # the cut was inside an event; close it first
        with contextlib.suppress(OSError, RuntimeError):
            await self.send({"type": "http.response.body", "body": event, "more_body": False})

    def _answer_headers(self, connection: Connection) -> tuple[Headers, bytes, bool]:
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


async def _fail(error: BaseException) -> None:
    raise error
