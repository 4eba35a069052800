"""uvicorn's HTTP protocol with the bounds it lacks: for the head of a request and for slow readers.

uvicorn waits for ever for a client that sends its headers a byte at a time, and for one that does not read its answer. Here
a connection has a fixed time to finish its head, counted from the connection or, on a kept-alive one, from the first byte
of the next request, and a fixed time to read on while an answer waits for it. The protocol also tells the exchange at once
when its client is gone, which plain ASGI only tells those who wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Headers
from app.gateway.deadlines import Deadlines
from app.gateway.overload import PAUSE_SEC, Turnstile, refusal
from app.settings import GatewaySettings
from app.telemetry import metrics

_log = logging.getLogger("uvicorn.error.client")
_log.setLevel(logging.ERROR)
"""uvicorn warns of every request that is no HTTP: a line that any client can write as often as it likes. They are counted
(`metrics.REJECTS`); errors of the application still come through."""


KEEP_ALIVE_SEC = 75
"""Longer than the usual 60 s of a load balancer in front, so that it is never we who close first."""

_PLAIN_TARGET = re.compile(rb"/[A-Za-z0-9/_.-]*")
"""A target that is its own path: nothing to decode, no query."""


class _Nowhere(list[tuple[bytes, bytes]]):
    """Takes headers and keeps none."""

    def append(self, item: tuple[bytes, bytes]) -> None:
        """Forget it."""


_NOWHERE = _Nowhere()


class Watcher(Protocol):
    """Who wants to know that the client is gone."""

    def client_gone(self) -> None:
        """The connection is closed."""
        ...


class Cancellable(Protocol):
    """What the server asks of a task."""

    def cancel(self, msg: object = None) -> bool:
        """End soon; nothing may be taken out of the server's tasks within the call."""
        ...


class _Stall:
    """The deadline of a client that does not read its answer, which is another one than that of its head."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: GuardedProtocol) -> None:
        self._protocol = protocol

    def expired(self) -> None:
        """It has not read for too long, and keeps the model's connection from everybody else."""
        self._protocol.abort()


class _Idle:
    """The deadline of a client that sends no further request."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: GuardedProtocol) -> None:
        self._protocol = protocol

    def expired(self) -> None:
        """Nothing is under way."""
        self._protocol.timeout_keep_alive_handler()


class _Pause:
    """The end of the time for which a client that was refused is not heard."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: GuardedProtocol) -> None:
        self._protocol = protocol

    def expired(self) -> None:
        """It may ask again."""
        self._protocol.flow.resume_reading()


class GuardedProtocol(HttpToolsProtocol):
    """One client connection."""

    # Set by `guarded`, one per server.
    deadlines: Deadlines
    stalls: Deadlines
    idles: Deadlines
    pauses: Deadlines
    turnstile: Turnstile
    max_head_bytes: int

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _log
        self.watcher: Watcher | None = None
        self._stall = _Stall(self)
        self._idle = _Idle(self)
        self._pause = _Pause(self)
        self._in_head = False
        self._head_bytes = 0
        self._pipelined = False
        # Our own application, unless something is wrapped around it, also takes a request without a task.
        self._begin: Callable[[Any, GuardedProtocol, RequestResponseCycle], bool] | None = getattr(self.app, "begin", None)
        self._reading = False
        self._due: RequestResponseCycle | None = None  # begun within this read; started when all of the read is parsed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; its first head is due."""
        super().connection_made(transport)
        self._in_head = True
        self.deadlines.set(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self.deadlines.clear(self)
        self.stalls.clear(self._stall)
        self.idles.clear(self._idle)
        self.pauses.clear(self._pause)
        super().connection_lost(exc)
        if self.watcher is not None:
            self.watcher.client_gone()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if not self._in_head and not self._answering():
            # The first byte after an answer, be it only a line end, starts the time of the next head.
            self._begin_head()
            self.idles.clear(self._idle)
        self._pipelined = False
        self._reading = self._begin is not None
        super().data_received(data)
        self._reading = False
        if self._due is not None:
            self.turnstile.add(self)
        if self._in_head and not self._pipelined:
            # Not finished within this read, so all of the read was head. One that is finished, the guard measures
            # exactly; of one that began behind another request in this read, counting starts with the next.
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._reject(wire_errors.HEADERS_TOO_LARGE, "The request headers are too large.", "header_bytes")

    def begin_due(self, late: bool) -> None:
        """Called by the turnstile: begin the request that is here."""
        cycle, self._due = self._due, None
        if cycle is None or cycle.disconnected:
            return
        ordinary = not (cycle.more_body or cycle.waiting_for_100_continue or self.transport.is_closing())
        if ordinary and late:
            self._refuse_late(cycle)
        elif not ordinary or self._begin is None or not self._begin(cycle.scope, self, cycle):
            super()._start_asgi_task(cycle, self.app)

    def _refuse_late(self, cycle: RequestResponseCycle) -> None:
        """Answer a request without having looked at it; what comes next is not even read for a while."""
        metrics.SHED.labels("request").inc()
        self.transport.write(refusal(self.url, keep=cycle.keep_alive))
        self._whole_is_sent(cycle)
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.pauses.set(self._pause)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Called by uvicorn when a request's head is there, or the answer before it is sent."""
        if self._reading and app is self.app:
            self._due = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client does not read as fast as the answer comes."""
        super().pause_writing()
        self.stalls.set(self._stall)

    def resume_writing(self) -> None:
        """It has read most of what was waiting."""
        self.stalls.clear(self._stall)
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Called when an answer is sent. As uvicorn has it, but for the timer per answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._in_head:  # the head of a next request, if some of it is here, has its own deadline
            self.idles.set(self._idle)

    def on_message_begin(self) -> None:
        """A request begins, perhaps behind another one that is still being answered."""
        super().on_message_begin()
        self.scope["stillwatch.link"] = self  # type: ignore[typeddict-unknown-key]
        if not self._in_head:
            self._pipelined = True
            self._begin_head()

    def on_headers_complete(self) -> None:
        """The head is there in time."""
        self._in_head = False
        self._head_bytes = 0
        self.deadlines.clear(self)
        cycle: RequestResponseCycle | None = self.cycle
        if (
            self._begin is None
            or (cycle is not None and not cycle.response_complete)
            or not _PLAIN_TARGET.fullmatch(self.url)
            or self.parser.should_upgrade()
            or self.root_path
            or self.limit_concurrency is not None
        ):
            super().on_headers_complete()
        else:
            self._plain_request()
        # The scope keeps the list; trailers, which uvicorn would put behind the headers as if checked, come to nothing.
        self.headers = _NOWHERE

    def _plain_request(self) -> None:
        """What uvicorn does for a request that asks for none of its more special services."""
        parser = self.parser
        scope = self.scope
        version = scope["http_version"] = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"] = self.url.decode("ascii")
        scope["raw_path"] = self.url
        scope["query_string"] = b""
        cycle = self.cycle = RequestResponseCycle(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            version != "1.0" and parser.should_keep_alive(),
            self.on_response_complete,
        )
        self._start_asgi_task(cycle, self.app)

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn declares
        return cycle is not None and not cycle.response_complete

    def _waiting_for_body(self) -> bool:
        cycle = self.cycle
        return not self.pipeline and cycle.more_body and not cycle.response_started

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self.deadlines.set(self)

    def expired(self) -> None:
        """The head did not come in time."""
        if self._answering():
            # A pipelined head behind an answer that is still running: we may not even be reading. Look again later.
            self.deadlines.set(self)
            return
        self._reject(wire_errors.TIMEOUT, "The request headers did not arrive in time.", "header_time")

    # What an exchange may do without going through ASGI messages, which cost more than the write they lead to

    def without_task(self, exchange: Cancellable) -> None:
        """The server waits for this exchange at its end as for a task, and cancels it as one."""
        self.tasks.add(exchange)  # type: ignore[arg-type]

    def done_without_task(self, exchange: Cancellable) -> None:
        """It is over, or a task goes on with it."""
        self.tasks.discard(exchange)

    def go_on(self, cycle: RequestResponseCycle, rest: Callable[[], Awaitable[None]]) -> None:
        """Let a task do the rest of a request, guarded by uvicorn as a whole one is."""
        super()._start_asgi_task(cycle, lambda *_: rest())

    def whole_body(self, cycle: RequestResponseCycle) -> bytes | None:
        """The body of a request, if all of it is here; it is taken."""
        if cycle.more_body or cycle.disconnected or cycle.response_complete:
            return None
        body = bytes(cycle.body)
        cycle.body = bytearray()
        cycle.message_event.clear()
        self.flow.resume_reading()
        return body

    def whole_answer(self, cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> bool:
        """Write a whole answer at once; false, and nothing is done, where the way by messages has to be taken.

        Args:
            cycle: of the request.
            status: of the answer.
            headers: with the content-length of `body`; names in lower case, names and values free of control characters.
            body: of the answer.
        """
        if cycle.disconnected or cycle.response_started or self.flow.write_paused or status not in STATUS_LINE:
            return False
        lines = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n", body) if cycle.keep_alive else (b"connection: close\r\n\r\n", body)
        self.transport.write(b"".join(lines))
        self._whole_is_sent(cycle)
        return True

    def _whole_is_sent(self, cycle: RequestResponseCycle) -> None:
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def part_of_answer(self, cycle: RequestResponseCycle, data: bytes) -> bool:
        """Write the next part of an answer without a declared length; false where the way by messages has to be taken."""
        if not cycle.chunked_encoding or cycle.disconnected or cycle.response_complete or self.flow.write_paused:
            return False
        if cycle.scope["method"] == "HEAD":
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    def abort(self) -> None:
        """Close without ending the answer, so that the client sees it was cut."""
        self.cycle.disconnected = True  # else uvicorn would report an application that forgot to end its answer
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is no HTTP."""
        self._reject(wire_errors.BAD_REQUEST, "The request is not valid HTTP.", "http")

    def _reject(self, kind: wire_errors.Kind, message: str, why: str) -> None:
        self.deadlines.clear(self)
        transport = self.transport
        if transport.is_closing():
            return
        metrics.REJECTS.labels(why).inc()
        if not self._answering() or self._waiting_for_body():
            error = wire_errors.render(kind, message, dialect="openai", request_id="")
            lines = [STATUS_LINE[error.status]]
            lines += [b"%b: %b\r\n" % pair for pair in error.headers if pair[1]]
            lines += [b"connection: close\r\n\r\n", error.body]
            transport.write(b"".join(lines))
        # Into the middle of a running answer nothing may be written; it is cut instead.
        transport.close()


def guarded(settings: GatewaySettings) -> type[GuardedProtocol]:
    """A protocol class with the limits of these settings, for one server."""
    return type(
        "GuardedProtocol",
        (GuardedProtocol,),
        {
            "deadlines": Deadlines(settings.header_timeout_sec),
            "stalls": Deadlines(settings.send_timeout_sec),
            "idles": Deadlines(KEEP_ALIVE_SEC),
            "pauses": Deadlines(PAUSE_SEC),
            "turnstile": Turnstile(settings.max_wait_ms),
            "max_head_bytes": settings.max_header_bytes,
        },
    )
