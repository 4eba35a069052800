"""The gateway inside somebody else's ASGI application: the same checks, limits and events, without a hop.

``app.add_middleware(StillwatchMiddleware)`` or ``vllm serve --middleware app.gateway.middleware.StillwatchMiddleware``.
A pure ASGI class: a function would become Starlette's BaseHTTPMiddleware, which hides a client's leaving from the model.
Only the API routes are watched; health checks, documentation and the like pass untouched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, ClassVar

import orjson

from app.enforcement import wire_errors
from app.enforcement.wire_errors import Refuse
from app.errors import StillwatchError
from app.gateway.capping import capped
from app.gateway.capture import StreamFilter
from app.gateway.concealing import HELD_MAX_BYTES, ConcealingFilter, TooLong, conceal_whole, conceals
from app.gateway.core import Core, Message, Scope
from app.gateway.dialects.shape import JsonObject, flag_of
from app.gateway.exchange import ClientGone, Exchange
from app.gateway.routes import OTHER, classify
from app.gateway.services import Services
from app.limits.headers import rate_headers
from app.settings import Settings, load

log = logging.getLogger("stillwatch.gateway")


class StillwatchMiddleware:
    """ASGI middleware. Settings come from the environment at the first start-up or request, unless given.

    Its own connections start then, and stop with the application's lifespan.
    """

    def __init__(self, app: Any, settings: Settings | None = None, core: Core | None = None) -> None:
        """Wrap an application.

        Args:
            app: the ASGI application inside.
            settings: None reads the environment when the server starts.
            core: ready-made services, which then stay their owner's; for tests and embedding.
        """
        self.app = app
        self._settings = settings
        self._core = core
        self._services: Services | None = None
        self._starting: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one connection event."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if kind != "http":
            await self.app(scope, receive, send)
            return
        try:
            watched = classify(scope["method"], scope["path"]) is not OTHER
        except Refuse:
            watched = True
        if not watched:
            await self.app(scope, receive, send)
            return
        core = self._core or await self._start()
        await self._kind(core)(core, self.app, scope, receive, send).run()

    @staticmethod
    def _kind(core: Core) -> type[InsideExchange]:
        if core.marking is None:
            return InsideExchange
        from app.gateway.marking_exchange import MarkedInside

        return MarkedInside

    async def _start(self) -> Core:
        # Not every server sends lifespan events, so the first request may have to do it.
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._core is None:
                self._services = await Services.start(self._settings or load())
                self._core = self._services.core
        return self._core

    async def _lifespan(self, scope: Scope, receive: Any, send: Any) -> None:
        failed = False

        async def starting() -> Message:
            nonlocal failed
            message: Message = await receive()
            if message["type"] == "lifespan.startup" and self._core is None:
                try:
                    await self._start()
                except StillwatchError as error:
                    failed = True
                    await send({"type": "lifespan.startup.failed", "message": f"stillwatch: {error}"})
                    raise
            return message

        async def passing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                # Before the server hears that all is done: it may end the process then, with events still waiting.
                await self.close()
            if not failed:
                await send(message)

        try:
            await self.app(scope, starting, passing)
        except StillwatchError:
            if not failed:
                raise
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop the services that were started here; for servers that send no lifespan events."""
        services, self._services = self._services, None
        if services is not None:
            self._core = None
            await services.stop()


class InsideExchange(Exchange):
    """An exchange whose answer comes from the application inside."""

    __slots__ = ("_app", "_complete", "_conceals", "_cut", "_filter", "_inside", "_parts", "_replayed", "_start")

    changes: ClassVar[bool] = False
    """Every request may have to be changed."""

    def __init__(self, core: Core, app: Any, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, scope, receive, send)
        self._app = app
        self._replayed = False
        self._complete = False
        self._inside = False  # the application has the request
        self._cut = False  # it was taken away again
        self._conceals = False  # something has to be taken out of the answer
        self._filter: StreamFilter | None = None
        self._start: Message | None = None  # head of a whole answer that is held until it is complete
        self._parts: list[bytes] = []

    async def run(self) -> None:
        """Serve the request."""
        core = self.core
        core.active.add(self)
        refund = False
        try:
            await self.admit()
            await self._serve()
            if not self._complete:
                self.answer.outcome = "disconnected" if self.gone else "upstream_cut"
        except Refuse as refuse:
            if self.started:
                await self._stopped(refuse)
            else:
                refund = self.decision is not None and self.decision.admitted
                await self.refuse(refuse)
        except ClientGone:
            self.answer.outcome = "disconnected"
            refund = True
        except asyncio.CancelledError:
            self.answer.outcome = "disconnected"
            raise
        except Exception:
            # The application's own error is its server's business; ours is to account for it.
            self.answer.outcome = "upstream_error"
            self.answer.status = 500
            refund = not self.started
            raise
        finally:
            core.active.discard(self)
            if self.capture is not None:
                self.settle(refund=refund)

    async def _serve(self) -> None:
        """Let the application answer.

        Raises:
            Refuse: the key was suspended meanwhile, and there is no answer yet or it is a stream.
        """
        if self.stopping is not None:
            raise self.stopping
        task = self._task = asyncio.current_task()
        scope = self._changed_scope() if self.cap is not None or self.changes else self.scope
        self._inside = True
        try:
            await self._app(scope, self._receive, self._send)
        except (Exception, asyncio.CancelledError):
            if not self._cut:
                raise
        finally:
            self._inside = False
            if self._cut and task is not None:
                task.uncancel()
        if self._cut and self.stopping is not None and not self._complete:
            raise self.stopping

    def stop(self, refuse: Refuse) -> None:
        """The key was suspended. A stream ends with the refusal; a whole answer is sent if it is under way."""
        if self.stopping is None:
            self.stopping = refuse
            if self._inside and not self._complete and (self._stream or not self.started) and self._task is not None:
                self._cut = True
                self._task.cancel()

    def _changed(self) -> JsonObject | None:
        """The body without what the key may not use; None where it used nothing of that."""
        cap, body = self.cap, self.body
        if cap is None:
            return None
        self._conceals = cap.reasoning != "keep" and conceals(self.route, self.scope["path"])
        return capped(self.route.name, body, cap) if body is not None else None

    def _changed_scope(self) -> Scope:
        """The request for the application; ours stays as the client sent it."""
        made = self._changed()
        if made is not None:
            self.raw = orjson.dumps(made)
        elif not self._conceals:
            return self.scope
        headers = [pair for pair in self.scope["headers"] if pair[0].lower() not in (b"content-length", b"accept-encoding")]
        if self.raw:
            headers.append((b"content-length", b"%d" % len(self.raw)))
        return {**self.scope, "headers": headers}

    async def _receive(self) -> Message:
        if not self._replayed:
            self._replayed = True
            return {"type": "http.request", "body": self.raw, "more_body": False}
        message: Message = await self.receive()
        if message["type"] == "http.disconnect":
            self.gone = True
        return message

    async def _send(self, message: Message) -> None:
        if self._cut:
            raise OSError("the answer was stopped")  # as a server says it whose client is gone
        kind = message["type"]
        if kind == "http.response.start":
            self._begin(message)
            if self._start is not None:
                return
        if kind != "http.response.body":
            await self.send(message)
            return
        data = bytes(message.get("body", b""))
        more = message.get("more_body", False)
        if self._start is not None:
            await self._hold(self._start, data, more)
        else:
            passed = data
            if self._filter is not None:
                passed = self._filter.pass_on(data) + (b"" if more else self._filter.flush())
                message = {**message, "body": passed}
            await self.send(message)
            if passed:
                self._last = passed[-4:]
            if data and self.capture is not None:
                self.capture.feed(data)
        if not more:
            self._complete = True

    async def _hold(self, start: Message, data: bytes, more: bool) -> None:
        """Send a whole answer that is changed on the way, once all of it is here."""
        self._parts.append(data)
        if sum(map(len, self._parts)) > HELD_MAX_BYTES:
            raise TooLong
        if more:
            return
        body = self._for_client(b"".join(self._parts))
        headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(body)))
        self.started = True
        await self.send({**start, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def _for_client(self, raw: bytes) -> bytes:
        """A whole answer without the model's reasoning."""
        if raw and self.capture is not None:
            self.capture.feed(raw)
        cap = self.cap
        return conceal_whole(raw, summaries=cap is not None and cap.reasoning == "summarise")

    def _stream_filter(self) -> StreamFilter | None:
        """What takes the model's reasoning out of a stream; None where nothing has to be taken out."""
        cap = self.cap
        if cap is None or cap.reasoning == "keep":
            return None
        background = self.body is None or flag_of(self.body.get("background"))
        return ConcealingFilter(summaries=cap.reasoning == "summarise", renumber=not background)

    def _begin(self, message: Message) -> None:
        answer = self.answer
        answer.first_byte_us = (time.perf_counter_ns() - self.started_ns) // 1000
        status: int = message["status"]
        headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        known = dict(headers)
        content_type = known.get(b"content-type", b"")
        encoded = known.get(b"content-encoding", b"identity") != b"identity"
        stream = content_type.startswith(b"text/event-stream")
        if self.capture is not None:
            self.capture.start(status, content_type, encoded)
        if status >= 500:
            answer.outcome = "upstream_error"
        self.core.tally.answered(self.route.name, status)
        if self.decision is not None:
            headers += rate_headers(self.decision, self.route.dialect)
        if self._conceals and status == 200:
            if encoded:
                raise Refuse(wire_errors.BROKEN, "The application used an encoding that was not asked for.", "upstream")
            if stream:
                self._filter = self._stream_filter()
            elif content_type.startswith(b"application/json"):
                self._start = message
        if stream:
            # An error event may have to be added.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            self._stream = True
        self.started = self._start is None
        message["headers"] = headers
