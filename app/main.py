"""The processes of Stillwatch: what each needs, started in order and stopped in reverse.

Each `run_…` works until `stop` is set and calls `ready` once, with its addresses, when it serves. Where no state server is
configured they start or join the embedded one in the data folder, so processes that share the folder share the state.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import uvloop

from app.errors import ConfigError, StateUnavailable
from app.settings import Settings

if TYPE_CHECKING:
    from app.state.calls import Client
    from detectors.analysis import Analysis

log = logging.getLogger(__name__)

Addresses: TypeAlias = dict[str, str]
Ready: TypeAlias = Callable[[Addresses], None]
T = TypeVar("T")
Role: TypeAlias = Callable[[Settings, asyncio.Event, Ready], Awaitable[None]]

GC_THRESHOLD = 10_000
"""New objects of a gateway before the youngest are looked through; the default of 700 is a few requests."""

WAIT_SEC = 1.0
"""Pause between the questions of a worker to a state server that is away at its start."""

AWAY = "the state server has not answered since the start"


class Stop(asyncio.Event):
    """Set when the process is to end.

    Attributes:
        at_once: set when what still runs is to get no more time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at_once = asyncio.Event()


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


def check_ports(settings: Settings) -> None:
    """Refuse a port that is taken, before the first of several processes is started.

    Raises:
        ConfigError: one is; the message names its setting.
    """
    from app.telemetry.exposition import listen

    gateway, admin = settings.gateway, settings.admin
    with ExitStack() as taken:  # all at once, so that two settings with one port are noticed too
        for host, port, name in (
            (gateway.host, gateway.port, "gateway.port"),
            (gateway.host, gateway.metrics_port, "gateway.metrics_port"),
            (gateway.host, settings.worker.metrics_port, "worker.metrics_port"),
            (admin.host, admin.port, "admin.port"),
        ):
            taken.enter_context(closing(listen(host, port, name)))


async def run_gateway(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """The reverse proxy, its state, its limits and its event log.

    Raises:
        ConfigError: a setting does not fit, or a port is taken.
        StateUnavailable: the state server cannot be reached or started.
    """
    check_gateway(settings)
    from app.gateway import server

    gateway = await unless(stop, server.start(settings))
    if gateway is None:
        return
    # What is here now stays for good: the collector need not look at it again, nor at young objects that often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    try:
        ready({"gateway": gateway.url, "metrics": gateway.metrics_url})
        await stop.wait()
    finally:
        await gateway.stop(stop.at_once if isinstance(stop, Stop) else None)


async def run_worker(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """The consumer of the event log: profiles, verdicts, archive. It waits for a state server that is away.

    Raises:
        ConfigError: the model, the port or the state cannot be used, or there is no state server to start.
    """
    from app.state.factory import background_client
    from app.state.server import StateServer
    from app.telemetry.exposition import MetricsServer
    from app.worker.worker import Worker

    analysis = load_model(settings)
    async with AsyncExitStack() as stack:
        host, port = settings.gateway.host, settings.worker.metrics_port
        worker: Worker | None = None

        def healthy() -> tuple[bool, str]:
            return (False, AWAY) if worker is None else (True, f"ok: {len(worker.owned)} partitions")

        metrics = await MetricsServer.start(host, port, process="worker", health=healthy)
        stack.push_async_callback(metrics.stop)
        state = await stack.enter_async_context(StateServer(settings.state))
        client = background_client(state.url, settings)
        stack.push_async_callback(client.aclose)
        answers = await _answers(client, settings, warn=True)
        ready({"metrics": f"http://{host}:{metrics.port}/metrics"})
        while not answers:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WAIT_SEC)
                return
            if answers := await _answers(client, settings):
                log.info("the state server answers; the worker begins")
        worker = Worker(client, settings, analysis)
        await worker.run(stop)


async def _answers(client: Client, settings: Settings, *, warn: bool = False) -> bool:
    """Whether the state server is there and fits.

    Raises:
        ConfigError: it does not fit.
    """
    from app.state import meta

    try:
        await meta.check(client, settings)
    except StateUnavailable as error:
        if warn:
            place = "state.redis_url" if settings.state.redis_url else "state.data_dir"
            log.warning("%s: %s; the worker waits for it", place, error)
        return False
    return True


async def run_admin(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """The admin API on its own port.

    Raises:
        ConfigError: no token is set, or the port is taken.
        StateUnavailable: the state server cannot be reached or started.
    """
    check_admin(settings)
    from app.admin import server

    admin = await unless(stop, server.start(settings))
    if admin is None:
        return
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


ROLES: dict[str, Role] = {"gateway": run_gateway, "worker": run_worker, "admin": run_admin}


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` gives or raises, or None if `stop` is set before and the work, which is cancelled then, has ended.

    A library may lose the cancellation; then there is a result nevertheless, and the caller has to end it.
    """
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        cut = not working.done()
        for task in (working, stopped):
            task.cancel()
        await asyncio.wait((working, stopped))
    if working.cancelled() or (cut and working.exception() is not None):
        return None
    return working.result()


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run a process until it ends by itself or is asked to stop.

    SIGTERM or SIGINT asks; a second one ends at once what still runs, and a third one the process.
    """

    async def guarded() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()

        def asked() -> None:
            if stop.is_set():
                stop.at_once.set()
                for name in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(name)
            stop.set()

        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, asked)
        await main(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(guarded())
