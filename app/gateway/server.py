"""The gateway process: one socket, our protocol class, and a shutdown that lets streams end."""

from __future__ import annotations

import asyncio
import math
import socket
from typing import Any, cast

import uvicorn

from app.gateway.app import Gateway
from app.gateway.core import Core
from app.gateway.overload import Doorman, fitting
from app.gateway.protocol import guarded
from app.gateway.services import Services
from app.settings import GatewaySettings, Settings
from app.telemetry.exposition import EmbeddedServer, MetricsServer, listen

_FAREWELL_SEC = 0.5
"""Time the last bytes of answers that are ended get to leave."""


class GatewayServer:
    """A running gateway.

    Attributes:
        url: base address, with the port that was really taken.
        metrics_url: address of /metrics; "" when no metrics server was asked for.
    """

    def __init__(self, app: Gateway, settings: GatewaySettings, sock: socket.socket, services: Services | None) -> None:
        self._services = services
        self._metrics: MetricsServer | None = None
        self._sock = sock
        self.url = _address(sock)
        self.metrics_url = ""
        protocol = guarded(settings)
        most = fitting(settings.max_connections, settings.upstream_max_connections)
        config = uvicorn.Config(
            app,
            http=cast(Any, Doorman(protocol, protocol.idles, most)),  # all that is done with a class is to call it
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # X-Forwarded-For is the guard's business
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.grace_sec),
        )
        self._server = EmbeddedServer(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept requests; returns when the socket is served."""
        self._task = await self._server.start(self._sock)

    async def serve_metrics(self, sock: socket.socket) -> None:
        """Serve /metrics and /healthz beside it, on a socket that listens."""
        self._metrics = await MetricsServer.serve(sock, process="gateway", health=self._health)
        self.metrics_url = f"{_address(sock)}/metrics"

    def _health(self) -> tuple[bool, str]:
        if self._server.should_exit:
            return False, "stopping: running answers end, new connections are refused"
        return self._services.health() if self._services is not None else (True, "ok")

    async def stop(self, at_once: asyncio.Event | None = None) -> None:
        """Stop accepting, let running answers end within the grace time, then stop the services in reverse order.

        Args:
            at_once: set when the grace is over before its time.
        """
        self._server.should_exit = True
        if self._task is not None:
            hurry = asyncio.create_task(self._hurry(at_once)) if at_once is not None else None
            await self._task
            if hurry is not None:
                hurry.cancel()
        self._sock.close()
        if self._metrics is not None:
            await self._metrics.stop()
        if self._services is not None:
            await self._services.stop()

    async def _hurry(self, at_once: asyncio.Event) -> None:
        """What the server does at the end of the grace, and then it need not wait for those who do not read."""
        await at_once.wait()
        state = self._server.server_state
        for task in list(state.tasks):
            task.cancel("told to end at once")
        await asyncio.sleep(_FAREWELL_SEC)
        for connection in list(state.connections):
            connection.transport.abort()


def create_gateway(settings: Settings, **services: Any) -> Gateway:
    """The gateway application with ready-made services.

    Args:
        settings: the whole tree; `gateway.upstream` must be set.
        services: limiter, accounts, events and networks, each optional, as `Core` takes them.
    """
    return Gateway(Core(settings, **services), settings.gateway)


async def start(settings: Settings, *, state_url: str | None = None, with_metrics: bool = True) -> GatewayServer:
    """Start a gateway with everything it needs.

    Args:
        settings: the whole tree.
        state_url: address of a state server that is already running; None resolves one from the settings.
        with_metrics: also serve /metrics on its own port.

    Raises:
        ConfigError: a setting does not fit, or a port is taken.
        StateUnavailable: no state server can be reached or started.
    """
    host = settings.gateway.host
    services: Services | None = None
    sockets: list[socket.socket] = []
    try:
        # Every port is taken before anything runs that a taken one would have to stop again.
        sockets.append(sock := listen(host, settings.gateway.port, "gateway.port"))
        if with_metrics:
            sockets.append(listen(host, settings.gateway.metrics_port, "gateway.metrics_port"))
        services = await Services.start(settings, state_url=state_url)
        server = GatewayServer(Gateway(services.core, settings.gateway), settings.gateway, sock, services)
        await server.start()
        if with_metrics:
            await server.serve_metrics(sockets[-1])
    except BaseException:
        for sock in sockets:
            sock.close()
        if services is not None:
            await services.stop()
        raise
    return server


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def serve(settings: Settings, stop: asyncio.Event, *, state_url: str | None = None) -> None:
    """Run a gateway until `stop` is set."""
    server = await start(settings, state_url=state_url)
    try:
        await stop.wait()
    finally:
        await server.stop()
