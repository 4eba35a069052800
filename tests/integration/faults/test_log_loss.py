"""What happens to events that cannot be appended, under each policy; and on a Cluster that has lost a master."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.gateway import server as gateway_server
from app.settings import Settings, StateSettings
from app.simulate.state_servers import LocalCluster, StateServerProcess
from app.state.cluster import slot_of
from app.state.events import ROOM_BYTES, EventLog
from app.state.factory import background_client
from app.state.keys import PartitionKeys
from app.telemetry import metrics
from benchmarks.fault_lab import ask

PARTITIONS = 16


def _dropped(reason: str) -> float:
    return float(metrics.EVENTS_DROPPED.labels(reason=reason)._value.get())


async def test_what_is_not_kept_is_counted(server: StateServerProcess, tmp_path: Path, until: Any) -> None:
    """Without a spool, events that come while state is away are lost and counted, and nothing is written to the disk."""
    log = EventLog(server.url, StateSettings(), tmp_path / "spool", keep=False)
    assert await log.start()
    assert not log.losing()
    server.signal(signal.SIGKILL)
    await until(lambda: not log.link.whole)
    assert log.losing()
    before = _dropped("not_kept")
    for number in range(10):
        log.append(b"event", number)
    await log.flush()
    assert _dropped("not_kept") - before == 10
    assert not (tmp_path / "spool").exists()
    await log.stop(0.1)


async def test_the_log_says_when_it_would_lose_events(server: StateServerProcess, tmp_path: Path, until: Any) -> None:
    """With state away: not while the spool has room, and as soon as it has none; with state back: not any more."""
    log = EventLog(server.url, StateSettings(spool_max_mb=8), tmp_path / "spool")
    assert await log.start()
    server.signal(signal.SIGKILL)
    await until(lambda: not log.link.whole)
    assert not log.losing()
    for _ in range(ROOM_BYTES // 200_000 + 2):
        log.append(b"x" * 200_000, 0)
        await log.flush()
    assert log.losing()
    server.start()
    await until(lambda: log.link.whole)
    assert not log.losing()
    await log.stop()


async def test_a_gateway_that_must_log_refuses_what_it_cannot(server: StateServerProcess, tmp_path: Path) -> None:
    """Under `closed`, with state away and no room to spool, a request gets a 503 that SDKs retry, and is not forwarded."""
    spool = tmp_path / "data" / "spool"
    spool.mkdir(parents=True)
    (spool / "0000000000000-full.spool").write_bytes(b"\0" * 1_000_000)
    settings = Settings.model_validate(
        {
            "state": {
                "redis_url": server.url,
                "data_dir": tmp_path / "data",
                "spool_max_mb": 4,
                "background_timeout_ms": 200,
            },
            "identity": {"pepper": "a pepper for logs"},
            "gateway": {"upstream": "http://127.0.0.1:1", "port": 0, "metrics_port": 0, "on_log_loss": "closed"},
        }
    )
    server.signal(signal.SIGSTOP)  # away at the start, so that nobody drains what stands for a full spool
    gateway = await gateway_server.start(settings)
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        status, _, _ = await ask(reader, writer, "sk-a", "hello")
        assert status == 503
    finally:
        writer.close()
        server.signal(signal.SIGCONT)
        await gateway.stop()


async def test_a_lost_master_holds_up_only_its_own_events(hurt_cluster: LocalCluster, tmp_path: Path, until: Any) -> None:
    """While it is away, events of all other partitions are appended, also from the spool; its own follow, each once."""
    url = hurt_cluster.url
    settings = Settings.model_validate({"state": {"redis_url": url, "partitions": PARTITIONS}})
    log = EventLog(url, settings.state, tmp_path / "spool")
    assert await log.start()
    victim = hurt_cluster.master_of(slot_of(0))
    lost = {number for number in range(PARTITIONS) if hurt_cluster.master_of(slot_of(number)) is victim}
    await until(hurt_cluster.replicated)
    for node in hurt_cluster.masters:
        node.signal(signal.SIGSTOP)
    for number in range(PARTITIONS):
        log.append(b"spooled", number)
    await log.flush()
    for node in hurt_cluster.masters:
        if node is not victim:
            node.signal(signal.SIGCONT)
    victim.signal(signal.SIGKILL)
    client = background_client(url, settings)

    async def counts() -> dict[int, Counter[bytes]]:
        found = {}
        for number in range(PARTITIONS):
            entries = await client.xrange(PartitionKeys(number).stream)
            found[number] = Counter(fields[b"e"] for _, fields in entries)
        return found

    try:
        await until(lambda: log.link.whole)  # the replica has taken over
        for number in lost:
            log.append(b"after", number)
        async with asyncio.timeout(15):
            while (found := await counts()) != {
                number: Counter([b"spooled", *([b"after"] if number in lost else [])]) for number in range(PARTITIONS)
            }:
                assert all(times == 1 for each in found.values() for times in each.values())
                await asyncio.sleep(0.1)
    finally:
        await client.aclose()
        await log.stop()


@pytest.mark.parametrize("seconds", [0.1])
async def test_the_background_client_begins_again_with_the_nodes_it_was_given(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """When all nodes it has learnt are gone for long, it finds the Cluster by the nodes of the settings."""
    monkeypatch.setattr("app.state.cluster_client.RECREATE_SEC", seconds)
    settings = Settings.model_validate({"state": {"redis_url": cluster.url, "background_timeout_ms": 200}})
    client: Any = background_client(cluster.url, settings)
    try:
        await client.set("sw:{meta}:x", "1", ex=10)
        manager = client.nodes_manager
        node = next(iter(manager.startup_nodes.values()))
        gone = type(node)("127.0.0.1", 1, **client.connection_kwargs)
        manager.startup_nodes = {gone.name: gone}
        await client.aclose()
        failures = 0
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await client.get("sw:{meta}:x") == b"1"
                    break
                except Exception:
                    failures += 1
                    await asyncio.sleep(0.02)
        assert failures
    finally:
        await client.aclose()
