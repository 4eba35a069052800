"""How full the state is, by real servers that are limited, refuse to tell, or are away."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from app.errors import StateUnavailable
from app.settings import load
from app.simulate.state_servers import LocalCluster, StateServerProcess
from app.state.factory import background_client
from app.state.memory import fullest
from app.telemetry import metrics
from app.worker.gauges import Gauges
from detectors import model as models

MIB = 1 << 20
FAST = {"STILLWATCH_STATE__BACKGROUND_TIMEOUT_MS": "1000"}


@pytest.fixture
async def client(server: StateServerProcess) -> AsyncIterator[aioredis.Redis]:
    """Of a server that only the test uses."""
    made = background_client(server.url, load(environ=FAST))
    yield made
    await made.aclose()


async def test_what_is_used_and_allowed_shows(client: aioredis.Redis, server: StateServerProcess) -> None:
    """The worker's gauges follow what is stored and what the server may use; without a limit that is 0."""

    def shown(name: str) -> float:
        found = metrics.REGISTRY.get_sample_value(f"stillwatch_state_memory_{name}")
        assert found is not None
        return found

    gauges = Gauges(client, models.rules_only(), None)
    await gauges.ask_memory()
    empty = shown("bytes")
    assert 0 < empty < 64 * MIB
    assert shown("limit_bytes") == 0
    server.ask("CONFIG", "SET", "maxmemory", 64 * MIB)
    await client.set("x", b"x" * 4 * MIB)
    await gauges.ask_memory()
    assert shown("bytes") - empty > 3 * MIB
    assert shown("limit_bytes") == 64 * MIB


async def test_a_server_that_refuses_to_tell_is_no_fault(client: aioredis.Redis, server: StateServerProcess) -> None:
    """Some managed servers allow no INFO; one that is away is another matter."""
    server.ask("ACL", "SETUSER", "default", "-info")
    assert await fullest(client) is None
    server.signal(signal.SIGSTOP)
    with pytest.raises(StateUnavailable):
        await fullest(client)
    server.signal(signal.SIGCONT)


async def test_of_a_cluster_the_fullest_master_counts(cluster: LocalCluster, tmp_path: Path) -> None:
    """The one nearest to its limit, whichever uses most; while it is away, the fullest of the others."""
    settings = load(environ={**FAST, "STILLWATCH_STATE__DATA_DIR": str(tmp_path)})
    client: Any = background_client(cluster.url, settings)
    first, second, _ = cluster.masters
    first.ask("CONFIG", "SET", "maxmemory", 512 * MIB)
    second.ask("CONFIG", "SET", "maxmemory", 64 * MIB)
    try:
        told = await fullest(client)
        assert told is not None
        assert told.limit == 64 * MIB
        second.signal(signal.SIGSTOP)
        told = await fullest(client)
        assert told is not None
        assert told.limit == 512 * MIB
    finally:
        second.signal(signal.SIGCONT)
        for node in (first, second):
            node.ask("CONFIG", "SET", "maxmemory", 0)
        await client.aclose()
