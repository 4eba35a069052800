"""A gateway's limiter and event log on a real server, and a server of the test's own that may be frozen and killed."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.enforcement.rules import Rules
from app.limits.limiter import Ask, Limiter
from app.settings import Settings, StateSettings, load
from app.state.events import EventLog
from app.state.server import StateServer


class Gate:
    """A limiter with its event log, as one gateway has them."""

    def __init__(self, settings: Settings, url: str, limiter: Limiter, events: EventLog) -> None:
        self.settings = settings
        self.url = url
        self.limiter = limiter
        self.events = events
        self._numbers = itertools.count()

    def ask(self, key: str = "k1", org: str = "", *, model: str = "m", tokens: tuple[int, int] = (10, 20)) -> Ask:
        """A question of plan `default`."""
        return Ask(key, org, "default", model, *tokens, f"{id(self):x}-{next(self._numbers)}")


MakeGate = Callable[..., Awaitable[Gate]]


@pytest.fixture
async def make_gate(redis_db: str, tmp_path: Path) -> AsyncIterator[MakeGate]:
    """Starts gateways' limiters: `await make_gate(url=…, **{"limits.plans": …})`; all are stopped at the end."""
    gates: list[Gate] = []

    async def make(url: str = redis_db, control: Rules | None = None, **fields: Any) -> Gate:
        settings = load(None, {}, fields)
        events = EventLog(url, settings.state, tmp_path / "spool")
        limiter = Limiter(settings, url, events, control)
        await events.start()
        await limiter.start()
        gates.append(Gate(settings, url, limiter, events))
        return gates[-1]

    yield make
    for gate in gates:
        await gate.limiter.stop()
        await gate.events.stop(1.0)


class OwnServer:
    """A server that the test may stop."""

    def __init__(self, folder: Path) -> None:
        self._server = StateServer(StateSettings(data_dir=folder))
        self._server.open()
        self.url = self._server.url

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT or SIGKILL; returns when a killed one has ended."""
        assert self._server.pid is not None
        os.kill(self._server.pid, number)
        while number is signal.SIGKILL and self._server.pid is not None:
            time.sleep(0.005)

    def restart(self) -> None:
        """After it was killed."""
        self._server.open()

    def close(self) -> None:
        """The end, also of a frozen one."""
        if self._server.pid is not None:
            self.signal(signal.SIGCONT)
        self._server.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    """A server for this test alone."""
    server = OwnServer(tmp_path)
    yield server
    server.close()
