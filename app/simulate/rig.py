"""The simulated model API with gateways in front of it, on loopback sockets beside synchronous code.

One thread runs one event loop for all servers, so that a test or a script can use blocking sockets and synchronous SDK
clients against them. Events are collected in memory where no limiter is given.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvicorn
import uvloop

from app.gateway.app import Gateway
from app.gateway.core import Core
from app.gateway.server import GatewayServer
from app.settings import Settings
from app.simulate.model_api import ModelApi, ModelApiConfig
from app.telemetry.exposition import EmbeddedServer, listen
from detectors.event import Event, decode

T = TypeVar("T")

_CALL_SEC = 30.0


class LoopThread:
    """An event loop in a thread, and the servers on it."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._stops: list[Callable[[], Awaitable[None]]] = []
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_CALL_SEC)

    def at_stop(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Await `stop` when the thread is stopped, together with all others."""
        self._stops.append(stop)

    def serve(self, app: Any, **options: Any) -> str:
        """Serve an ASGI application until the thread is stopped; returns its base address.

        Args:
            app: the application.
            options: as uvicorn.Config takes them.
        """
        return self.call(self._serve(app, options))

    async def _serve(self, app: Any, options: dict[str, Any]) -> str:
        sock = listen("127.0.0.1", 0, "port")
        defaults: dict[str, Any] = {"log_config": None, "access_log": False, "ws": "none", "lifespan": "off"}
        server = EmbeddedServer(uvicorn.Config(app, **{**defaults, **options}, timeout_graceful_shutdown=1))
        task = await server.start(sock)

        async def stop() -> None:
            server.should_exit = True
            await task
            sock.close()

        self.at_stop(stop)
        return f"http://127.0.0.1:{sock.getsockname()[1]}"

    def stop(self) -> None:
        """Stop the servers, then the loop."""
        self.call(_all(self._stops))
        self.call(_cancel_rest())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_CALL_SEC)
        self.loop.close()


async def _all(stops: list[Callable[[], Awaitable[None]]]) -> None:
    await asyncio.gather(*(stop() for stop in stops))


async def _cancel_rest() -> None:
    """What a server left running would keep the loop from closing."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


class EventList:
    """An event sink that keeps what it is given."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def append(self, event: bytes, partition: int, settle: Any = None) -> None:
        """Keep one event."""
        self._events.append(decode(event))

    def of(self, key_id: str, count: int = 1, timeout_sec: float = 5.0) -> list[Event]:
        """The events of a key, once there are at least `count` of them.

        Raises:
            TimeoutError: there were fewer all the time.
        """
        until = time.monotonic() + timeout_sec
        while True:
            found = [event for event in list(self._events) if event.key_id == key_id]
            if len(found) >= count:
                return found
            if time.monotonic() > until:
                raise TimeoutError(f"{len(found)} events instead of {count}")
            time.sleep(0.005)


class RunningGateway:
    """A gateway on the thread's loop.

    Attributes:
        url: base address.
        core: its rules and services.
        events: what it logged, if it was not given another sink.
    """

    def __init__(self, thread: LoopThread, settings: Settings, services: dict[str, Any]) -> None:
        self.events = EventList()
        services.setdefault("events", self.events)
        self._thread = thread
        self.core, self._server = thread.call(_started(settings, services))
        self.url = self._server.url
        thread.at_stop(self._server.stop)

    def stop(self) -> None:
        """Stop it now, as a process that is told to end."""
        self._thread.call(self._server.stop())

    def key_id(self, credential: str) -> str:
        """The id under which this gateway knows a credential."""
        return self.core.identifier.hasher.key(credential)


async def _started(settings: Settings, services: dict[str, Any]) -> tuple[Core, GatewayServer]:
    core = Core(settings, **services)
    sock = listen("127.0.0.1", 0, "gateway.port")
    server = GatewayServer(Gateway(core, settings.gateway), settings.gateway, sock, None)
    await server.start()
    return core, server


class Rig:
    """One simulated model API and the gateways in front of it."""

    def __init__(self, config: ModelApiConfig | None = None) -> None:
        self.thread = LoopThread()
        self.api = ModelApi(config or ModelApiConfig(remember=True))
        self.api_url = self.thread.serve(self.api)

    def gateway(
        self, *, upstream: str = "", sections: dict[str, dict[str, Any]] | None = None, **services: Any
    ) -> RunningGateway:
        """Start one more gateway.

        Args:
            upstream: address to forward to; the simulated API by default.
            sections: settings by section that differ from the defaults.
            services: as Core takes them.
        """
        tree: dict[str, dict[str, Any]] = {"identity": {}, "gateway": {}, **(sections or {})}
        tree["identity"] = {"pepper": "a pepper for rigs only", **tree["identity"]}
        tree["gateway"] = {"upstream": upstream or self.api_url, "grace_sec": 1, **tree["gateway"]}
        return RunningGateway(self.thread, Settings.model_validate(tree), services)

    def stop(self) -> None:
        """Stop everything."""
        self.thread.stop()
