"""The reverse proxy as an ASGI application: guards → route → identity → decision → forward → observe."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.errors import ConfigError
from app.gateway import authz
from app.gateway.core import Core, Scope
from app.gateway.presence import Presence
from app.gateway.protocol import GuardedProtocol as Link
from app.gateway.proxy import ProxyExchange
from app.gateway.upstream import Upstream
from app.settings import GatewaySettings

_AUTHZ_PREFIX = authz.PATH + "/"


class Gateway:
    """ASGI application in front of one upstream. Holds nothing that a request changes."""

    def __init__(self, core: Core, settings: GatewaySettings) -> None:
        """Make the application.

        Raises:
            ConfigError: no upstream is configured.
        """
        if not settings.upstream:
            raise ConfigError("gateway.upstream must be set to the address of the model API")
        self._core = core
        self._exchange = ProxyExchange
        if core.marking is not None:
            from app.gateway.marking_exchange import MarkedProxy

            self._exchange = MarkedProxy
        self._upstream = Upstream(settings)
        self._upstream.presence = Presence()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one connection event."""
        kind = scope["type"]
        if kind == "http":
            path: str = scope["path"]
            if path == authz.PATH or path.startswith(_AUTHZ_PREFIX):
                await authz.AuthzExchange(self._core, scope, receive, send).run()
            else:
                await self._exchange(self._core, self._upstream, scope, receive, send).run()
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        # Web sockets are not proxied; returning without an answer makes the server refuse the handshake.

    def begin(self, scope: Scope, link: Link, cycle: RequestResponseCycle) -> bool:
        """Serve a request that is wholly there, without a task of its own; false where it takes the way by ASGI.

        Called by our own protocol instead of the application.
        """
        path: str = scope["path"]
        if path == authz.PATH or path.startswith(_AUTHZ_PREFIX):
            return False
        raw = link.whole_body(cycle)
        if raw is None:
            return False
        self._exchange(self._core, self._upstream, scope, cycle.receive, cycle.send).start(raw)
        return True

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def close(self) -> None:
        """Close the upstream connections. The services in the core belong to whoever made them."""
        self._core.body_deadlines.close()
        self._core.tally.flush()
        await self._upstream.close()
