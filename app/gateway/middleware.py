"""The gateway inside somebody else's ASGI application: the same checks, limits and events, without a hop.

``app.add_middleware(StillwatchMiddleware)`` or ``vllm serve --middleware app.gateway.middleware.StillwatchMiddleware``.
A pure ASGI class: a function would become Starlette's BaseHTTPMiddleware, which hides a client's leaving from the model.
Only the API routes are watched; health checks, documentation and the like pass untouched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from app.enforcement.wire_errors import Refuse
from app.errors import StillwatchError
from app.gateway.core import Core, Message, Scope
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
        await InsideExchange(core, self.app, scope, receive, send).run()

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

    __slots__ = ("_app", "_complete", "_replayed")

    def __init__(self, core: Core, app: Any, scope: Scope, receive: Any, send: Any) -> None:
        super().__init__(core, scope, receive, send)
        self._app = app
        self._replayed = False
        self._complete = False

    async def run(self) -> None:
        """Serve the request."""
        core = self.core
        core.active.add(self)
        refund = False
        try:
            await self.admit()
            await self._app(self.scope, self._receive, self._send)
            if not self._complete:
                self.answer.outcome = "disconnected" if self.gone else "upstream_cut"
        except Refuse as refuse:
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

    async def _receive(self) -> Message:
        if not self._replayed:
            self._replayed = True
            return {"type": "http.request", "body": self.raw, "more_body": False}
        message: Message = await self.receive()
        if message["type"] == "http.disconnect":
            self.gone = True
        return message

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._begin(message)
        await self.send(message)
        if kind == "http.response.body":
            data = message.get("body", b"")
            if data and self.capture is not None:
                self.capture.feed(bytes(data))
            if not message.get("more_body", False):
                self._complete = True

    def _begin(self, message: Message) -> None:
        self.started = True
        answer = self.answer
        answer.first_byte_us = (time.perf_counter_ns() - self.started_ns) // 1000
        status: int = message["status"]
        headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        known = dict(headers)
        if self.capture is not None:
            encoded = known.get(b"content-encoding", b"identity") != b"identity"
            self.capture.start(status, known.get(b"content-type", b""), encoded)
        if status >= 500:
            answer.outcome = "upstream_error"
        self.core.tally.answered(self.route.name, status)
        if self.decision is not None:
            headers += rate_headers(self.decision, self.route.dialect)
            message["headers"] = headers
