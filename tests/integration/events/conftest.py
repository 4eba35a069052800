"""Event logs on a server that may be frozen and killed, and what became of every event."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.settings import StateSettings
from app.state.events import EventLog
from app.state.keys import UNBOUNDED_OK, PartitionKeys
from app.state.server import StateServer
from app.telemetry import metrics

PARTITIONS = 4


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


class Books:
    """What the counters say since the test began."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for metric in (metrics.EVENTS_APPENDED, metrics.EVENTS_SPOOLED, metrics.EVENTS_DROPPED):
            for family in metric.collect():
                for sample in family.samples:
                    if sample.name.endswith("_total"):
                        name = sample.name.removeprefix("stillwatch_events_").removesuffix("_total")
                        found[sample.labels.get("reason", name)] += int(sample.value)
        return found

    def since(self) -> dict[str, int]:
        """Events appended, spooled, and dropped by reason; zeros left out."""
        return dict(self._now() - self._before)


@pytest.fixture
def books() -> Books:
    """The counters of this test."""
    return Books()


MakeLog = Callable[..., Awaitable[EventLog]]


@pytest.fixture
async def make_log(tmp_path: Path) -> AsyncIterator[MakeLog]:
    """Starts event logs that share one spool; all are stopped at the end."""
    logs: list[EventLog] = []

    async def make(url: str, **settings: Any) -> EventLog:
        fields = {"partitions": PARTITIONS, "background_timeout_ms": 300, **settings}
        log = EventLog(url, StateSettings(**fields), tmp_path / "spool")
        await log.start()
        logs.append(log)
        return log

    yield make
    for log in logs:
        await log.stop(0.5)


def streams(url: str) -> dict[int, list[bytes]]:
    """Partition → events in the order of the stream; also checks that nothing is kept for ever."""
    with redis.Redis.from_url(url) as client:
        for name in client.scan_iter("sw:*"):
            assert client.ttl(name) > 0 or name.decode().endswith(UNBOUNDED_OK), name
        return {
            number: [fields[b"e"] for _, fields in client.xrange(PartitionKeys(number).stream)]
            for number in range(PARTITIONS)
        }


@pytest.fixture
def read() -> Callable[[str], dict[int, list[bytes]]]:
    """Reads all streams."""
    return streams


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Waits for something another task or process does."""

    async def wait(condition: Callable[[], bool], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - nobody could set an event for it
                await asyncio.sleep(0.02)

    return wait
