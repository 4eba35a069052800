"""`/metrics`, `/healthz` and `/livez` of a process, on a port of their own."""

from __future__ import annotations

import asyncio
import importlib.metadata
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.errors import ConfigError
from app.telemetry import metrics

Health = Callable[[], tuple[bool, str]]
"""(healthy, one sentence)."""


class Exposition:
    """A tiny ASGI application; it answers three paths and nothing else."""

    def __init__(self, process: str, health: Health | None = None) -> None:
        self._shown = metrics.Shown(process)
        self._health = health or (lambda: (True, "ok"))

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        status, content_type, body = self._answer(scope["path"])
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._shown)
        if path == "/healthz":
            healthy, sentence = self._health()
            return (200 if healthy else 503), "text/plain; charset=utf-8", sentence.encode() + b"\n"
        if path == "/livez":  # the loop turns; what a supervisor restarts by must not depend on the state server
            return 200, "text/plain; charset=utf-8", b"ok\n"
        return 404, "text/plain; charset=utf-8", b"see /metrics, /healthz and /livez\n"


class EmbeddedServer(uvicorn.Server):
    """uvicorn inside a process that has other things to do: no signal handlers, and it says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ready = asyncio.Event()

    async def start(self, sock: socket.socket) -> asyncio.Task[None]:
        """Serve on `sock`; returns the running task once connections are accepted."""
        task = asyncio.create_task(self._serve(sockets=[sock]))
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.should_exit = True
            await asyncio.wait((task,))
            raise
        finally:
            ready.cancel()
        if task.done():
            task.result()
        return task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn."""
        await super().startup(sockets)
        self._ready.set()


class MetricsServer:
    """Serves an exposition until it is stopped."""

    def __init__(self, server: EmbeddedServer, task: asyncio.Task[None], port: int) -> None:
        self._server = server
        self._task = task
        self.port = port

    @classmethod
    async def start(cls, host: str, port: int, *, process: str, health: Health | None = None) -> MetricsServer:
        """Listen on `port`, 0 for a free one.

        Args:
            host: address to listen on.
            port: port to listen on.
            process: gateway, worker or admin; label of the build metric.
            health: called for each `/healthz`.

        Raises:
            ConfigError: the port cannot be used.
        """
        return await cls.serve(listen(host, port, f"{process}.metrics_port"), process=process, health=health)

    @classmethod
    async def serve(cls, sock: socket.socket, *, process: str, health: Health | None = None) -> MetricsServer:
        """As `start`, on a socket that listens already: a process that needs several ports takes all of them first."""
        metrics.BUILD_INFO.labels(version(), process).set(1)
        config = uvicorn.Config(
            Exposition(process, health),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = EmbeddedServer(config)
        return cls(server, await server.start(sock), sock.getsockname()[1])

    async def stop(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        await self._task


def version() -> str:
    """Version of the installed package; "unknown" when it runs from a bare source tree."""
    try:
        return importlib.metadata.version("stillwatch")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the address is taken, not ours, or not allowed; the message names `setting`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is; else answers wait 40 ms for an ACK
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{setting}: cannot listen on {host} port {port}: {reason}") from None
    sock.setblocking(False)
    return sock
