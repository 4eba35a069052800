"""Servers to be hurt, and the network between them and us."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from app.simulate.fault_proxy import FaultProxy
from app.simulate.state_servers import LocalCluster, StateServerProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StateServerProcess]:
    """A state server of this test's own."""
    made = StateServerProcess(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
async def proxy(server: StateServerProcess) -> AsyncIterator[FaultProxy]:
    """The network in front of it."""
    made = FaultProxy(server.port)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three masters that the tests of a file share and leave whole."""
    made = LocalCluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


@pytest.fixture
def hurt_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three masters with replicas, for one test."""
    made = LocalCluster(tmp_path / "cluster", replicas=True)
    yield made
    made.close()


@pytest.fixture
def until() -> Callable[..., Awaitable[float]]:
    """Waits for something another task or process does; returns how many seconds that took."""

    async def wait(condition: Callable[[], bool], seconds: float = 15.0) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - nobody could set an event for it
                await asyncio.sleep(0.01)
        return loop.time() - began

    return wait
