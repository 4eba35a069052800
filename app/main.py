"""The processes of Stillwatch: what each needs, started in order and stopped in reverse.

Each `run_…` works until `stop` is set and calls `ready` once, with its addresses, when it serves. Where no state server is
configured they start or join the embedded one in the data folder, so processes that share the folder share the state.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import uvloop

from app.errors import ConfigError, StateUnavailable
from app.settings import Settings

if TYPE_CHECKING:
    from detectors.analysis import Analysis

Addresses: TypeAlias = dict[str, str]
Ready: TypeAlias = Callable[[Addresses], None]
Role: TypeAlias = Callable[[Settings, asyncio.Event, Ready], Awaitable[None]]

GC_THRESHOLD = 10_000
"""New objects of a gateway before the youngest are looked through; the default of 700 is a few requests."""

NEEDS_PEPPER = (
    "identity.pepper must be set: it protects the hashes of keys and addresses; make one with "
    "'openssl rand -hex 32' and give it as STILLWATCH_PEPPER to every process, the same for good"
)
NEEDS_LOGIN = (
    "admin.token must be set, at least 24 characters: make one with 'openssl rand -hex 24' and give it as "
    "STILLWATCH_ADMIN_TOKEN"
)
NEEDS_UPSTREAM = (
    "gateway.upstream must be set to the address of the model API, by --upstream or STILLWATCH_GATEWAY__UPSTREAM"
)


def check_gateway(settings: Settings) -> None:
    """Refuse what a gateway cannot start with, before anything is started.

    Raises:
        ConfigError: no upstream or no pepper is set.
    """
    if not settings.gateway.upstream:
        raise ConfigError(NEEDS_UPSTREAM)
    if not settings.identity.pepper.get_secret_value():
        raise ConfigError(NEEDS_PEPPER)


def check_admin(settings: Settings) -> None:
    """Refuse an admin API that nobody would have to log in to.

    Raises:
        ConfigError: no token is set.
    """
    if not settings.admin.token.get_secret_value():
        raise ConfigError(NEEDS_LOGIN)


async def run_gateway(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """The reverse proxy, its state, its limits and its event log.

    Raises:
        ConfigError: a setting does not fit, or a port is taken.
        StateUnavailable: the state server cannot be reached or started.
    """
    check_gateway(settings)
    from app.gateway import server

    gateway = await server.start(settings)
    # What is here now stays for good: the collector need not look at it again, nor at young objects that often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    try:
        ready({"gateway": gateway.url, "metrics": gateway.metrics_url})
        await stop.wait()
    finally:
        await gateway.stop()


async def run_worker(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """The consumer of the event log: profiles, verdicts, archive.

    Raises:
        ConfigError: the model or a port cannot be used.
        StateUnavailable: the state server cannot be reached or started.
    """
    from app.state import meta
    from app.state.factory import background_client
    from app.state.server import StateServer
    from app.telemetry.exposition import MetricsServer
    from app.worker.worker import Worker

    analysis = load_model(settings)
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(StateServer(settings.state))
        client = background_client(state.url, settings)
        stack.push_async_callback(client.aclose)
        with _named(settings):
            await meta.check(client, settings)
        host, port = settings.gateway.host, settings.worker.metrics_port
        worker = Worker(client, settings, analysis)
        metrics = await MetricsServer.start(
            host, port, process="worker", health=lambda: (True, f"ok: {len(worker.owned)} partitions")
        )
        stack.push_async_callback(metrics.stop)
        ready({"metrics": f"http://{host}:{metrics.port}/metrics"})
        await worker.run(stop)


async def run_admin(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """The admin API on its own port.

    Raises:
        ConfigError: no token is set, or the port is taken.
        StateUnavailable: the state server cannot be reached or started.
    """
    check_admin(settings)
    from app.admin import server

    admin = await server.start(settings)
    try:
        ready({"admin": admin.url, "metrics": f"{admin.url}/metrics"})
        await stop.wait()
    finally:
        await admin.stop()


def load_model(settings: Settings) -> Analysis:
    """The analysis with the configured model, or with the named rules alone.

    Raises:
        ConfigError: the folder holds no model of this release.
    """
    from app.worker.worker import load_analysis
    from detectors.model import BadModel

    try:
        return load_analysis(settings)
    except BadModel as error:
        raise ConfigError(f"worker.model_dir: {error}") from None


@contextmanager
def _named(settings: Settings) -> Iterator[None]:
    """Put the name of the setting before a sentence about a configured state server."""
    try:
        yield
    except StateUnavailable as error:
        place = "state.redis_url" if settings.state.redis_url else "state.data_dir"
        raise StateUnavailable(f"{place}: {error}") from None


ROLES: dict[str, Role] = {"gateway": run_gateway, "worker": run_worker, "admin": run_admin}


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run a process until it ends by itself or SIGTERM or SIGINT asks it to stop; a second signal interrupts it."""

    async def guarded() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def asked() -> None:
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(name)
            stop.set()

        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, asked)
        await main(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(guarded())
