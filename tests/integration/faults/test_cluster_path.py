"""The whole path on a Cluster: gateway, worker and admin reads, with the clients that the processes use."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from redis.exceptions import RedisClusterException, RedisError

from app.admin import server as admin_server
from app.enforcement.control import Control
from app.errors import ConfigError, StateUnavailable
from app.gateway import server
from app.settings import Settings
from app.simulate.model_api import ModelApi
from app.simulate.state_servers import LocalCluster, StateServerProcess
from app.state import meta
from app.state.accounts import Account, AccountStore
from app.state.cluster import slot_of
from app.state.control import ControlStore
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from app.state.orders import Order, Orders
from app.state.reading import StateReader
from app.telemetry.exposition import listen
from app.worker.worker import Worker, load_analysis
from benchmarks.fault_lab import ask
from detectors.event import Event, encode

KEYS = 12


def _settings(url: str, folder: Path, **sections: Any) -> Settings:
    return Settings.model_validate(
        {
            "state": {"redis_url": url, "data_dir": folder, "partitions": 16},
            "identity": {"pepper": "a pepper for clusters"},
            "worker": {"archive_dir": folder / "archive", "poll_ms": 20, "lease_ms": 2000, "archive_sec": 0.2},
            **sections,
        }
    )


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    """Address of a simulated model API."""
    served = uvicorn.Server(uvicorn.Config(ModelApi(), log_level="critical", lifespan="off", ws="none"))
    listener = listen("127.0.0.1", 0, "port")
    task = asyncio.create_task(served.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    served.should_exit = True
    await task
    listener.close()


async def test_requests_become_profiles(cluster: LocalCluster, upstream: str, tmp_path: Path, until: Any) -> None:
    """Requests of keys in all partitions are decided by state, logged, applied, archived, and found by readers."""
    settings = _settings(
        cluster.url, tmp_path, gateway={"upstream": upstream, "port": 0, "metrics_port": 0, "grace_sec": 1},
        limits={"plans": {"default": {"key": {"requests_per_min": 1000}}}},
    )  # fmt: skip
    gateway = await server.start(settings)
    host, _, port = gateway.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for turn in range(3):
            for number in range(KEYS):
                assert await ask(reader, writer, f"sk-cluster-{number}", f"turn {turn}") == (200, False, False)
    finally:
        writer.close()
        await gateway.stop()
    client = background_client(cluster.url, settings)
    stop = asyncio.Event()
    working = asyncio.create_task(Worker(client, settings, load_analysis(settings), "w1").run(stop))
    state = StateReader(client, 16)
    try:
        async with asyncio.timeout(30):
            while True:
                health = await state.health()
                if not health.waiting and health.keys >= KEYS and not health.rows:
                    break
                await asyncio.sleep(0.05)
        page = await state.list_keys(limit=100)
        assert len(page.rows) >= KEYS
        found = await state.key_state(page.rows[0].key_id)
        assert found is not None
        assert found.state is not None
        assert await state.list_keys(prefix=page.rows[0].key_id[:6])
        assert health.workers == 1
        assert health.unowned == 0
    finally:
        stop.set()
        await working
        await client.aclose()
    assert list((tmp_path / "archive").rglob("*.parquet"))


async def test_layout_and_accounts_are_kept_on_a_cluster(cluster: LocalCluster, tmp_path: Path) -> None:
    """The layout is noted once and compared afterwards; accounts are stored, listed and followed."""
    settings = _settings(cluster.url, tmp_path)
    client = background_client(cluster.url, settings)
    try:
        await meta.check(client, settings)
        await meta.check(client, settings)
        other = settings.model_copy(update={"state": settings.state.model_copy(update={"partitions": 32})})
        with pytest.raises(ConfigError, match=r"^state\.partitions is 32"):
            await meta.check(client, other)
        store = AccountStore(client)
        assert await store.put("0" * 32, Account(org_id="o", plan="p"))
        assert await store.get("0" * 32) == Account(org_id="o", plan="p")
        entries, newest = await store.changes("0-0")
        assert entries[-1][0] == newest
        assert await store.delete("0" * 32)
    finally:
        await client.aclose()


async def test_a_burst_waits_for_connections(cluster: LocalCluster, tmp_path: Path) -> None:
    """Many more calls at once than one client may have connections to a node are all answered."""
    client = background_client(cluster.url, _settings(cluster.url, tmp_path))
    try:
        names = [PartitionKeys(number % 16).timeline(f"burst{number}") for number in range(1000)]
        assert await asyncio.gather(*(client.exists(name) for name in names)) == [0] * 1000
    finally:
        await client.aclose()


async def test_a_node_is_refused_where_no_cluster_was_named(cluster: LocalCluster, tmp_path: Path) -> None:
    """One address of a Cluster is a mistake that is said at the start; state.cluster makes it one that is meant."""
    one = cluster.masters[0].url
    for fields, fits in ({}, False), ({"cluster": True}, True):
        settings = _settings(one, tmp_path)
        settings = settings.model_copy(update={"state": settings.state.model_copy(update=fields)})
        client = background_client(one, settings)
        try:
            if fits:
                await meta.check(client, settings)
            else:
                with pytest.raises(
                    ConfigError, match=r"^state\.redis_url: the server is a node of a Cluster; name several"
                ):
                    await meta.check(client, settings)
        finally:
            await client.aclose()


async def test_one_server_is_refused_where_a_cluster_was_named(server: StateServerProcess, tmp_path: Path) -> None:
    """It answers, and is said not to be what the settings say; nothing else than errors of ours is raised."""
    url = f"redis://127.0.0.1:{server.port},127.0.0.1:{server.port}"
    settings = _settings(url, tmp_path)
    client = background_client(url, settings)
    try:
        with pytest.raises((ConfigError, StateUnavailable)):
            await meta.check(client, settings)
    finally:
        await client.aclose()


async def test_background_calls_outlive_the_loss_of_a_master(hurt_cluster: LocalCluster, tmp_path: Path) -> None:
    """While a master is gone calls fail as StateUnavailable only; within 5 s of the failover all work again."""
    settings = _settings(hurt_cluster.url, tmp_path)
    state = settings.state.model_copy(update={"background_timeout_ms": 300})
    client = background_client(hurt_cluster.url, settings.model_copy(update={"state": state}))
    reader = StateReader(client, 16)
    place = hurt_cluster.masters.index(hurt_cluster.master_of(slot_of(0)))
    try:
        assert (await reader.health()).waiting == 0
        hurt_cluster.masters[place].signal(signal.SIGKILL)
        loop = asyncio.get_running_loop()
        ended = took_over = 0.0
        failures = 0
        async with asyncio.timeout(30):
            while not ended:
                if not took_over and "role:master" in hurt_cluster.replicas[place].ask("INFO", "replication"):
                    took_over = loop.time()
                results = await asyncio.gather(reader.health(), client.get(PartitionKeys(0).cursor), return_exceptions=True)
                failures += isinstance(results[0], StateUnavailable)
                assert not isinstance(results[0], BaseException) or isinstance(results[0], StateUnavailable)
                if took_over and not any(isinstance(result, BaseException) for result in results):
                    ended = loop.time()
                await asyncio.sleep(0.02)
        assert failures
        assert ended - took_over < 5.0
    finally:
        await client.aclose()


async def test_control_reaches_a_gateway_over_a_cluster(cluster: LocalCluster, tmp_path: Path, until: Any) -> None:
    """A kill switch and an order are pushed within a second, although who waits for them waits on one node."""
    settings = _settings(cluster.url, tmp_path)
    client = background_client(cluster.url, settings)
    control = Control(settings, client)
    try:
        await control.start()
        store = ControlStore(client)
        await store.set_kill("actions", "a test", "tester")
        assert await until(lambda: control.kill == "actions") < 1.0
        await store.set_kill("", "a test", "tester")
        assert await until(lambda: control.kill == "") < 1.0
        now_us = time.time_ns() // 1000
        order = Order(since_us=now_us, until_us=now_us + 60_000_000, ref="r", action="suspend", by="tester")
        await Orders(client).place("k" * 32, [3], order, {})
        assert await until(lambda: control.order("k" * 32) is not None) < 1.0
        assert await Orders(client).end("k" * 32, [3], {})
        assert await until(lambda: control.order("k" * 32) is None) < 1.0
    finally:
        await control.stop()
        await client.aclose()


async def test_every_list_of_the_admin_api_answers_on_a_cluster(cluster: LocalCluster, tmp_path: Path) -> None:
    """Whatever can be read without naming something is answered, none with an error of ours; a change is recorded."""
    token = "a-token-for-clusters-only-long-enough"
    settings = _settings(cluster.url, tmp_path, admin={"port": 0, "token": token})
    admin = await admin_server.start(settings)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with httpx2.AsyncClient(base_url=admin.url, headers=headers, timeout=20) as client:
            paths = (await client.get("/v1/openapi.json")).json()["paths"]
            asked = {}
            for path, operations in paths.items():
                if "get" in operations and "{" not in path:
                    asked[path] = (await client.get(path)).status_code
            assert len(asked) > 10
            assert not {path: status for path, status in asked.items() if status >= 500}
            name = next(path for path in paths if path.endswith("/kill"))
            answer = await client.put(name, json={"scope": "actions", "reason": "a test on a cluster"})
            assert answer.status_code == 200, answer.text
            answer = await client.delete(name, params={"reason": "a test on a cluster"})
            assert answer.status_code == 200, answer.text
    finally:
        await admin.stop()


async def test_a_worker_goes_on_with_what_it_can_reach(tmp_path: Path, until: Any) -> None:
    """While a master without a replica is away, events of other partitions are applied; its own follow when it is back."""
    cluster = await asyncio.to_thread(LocalCluster, tmp_path / "cluster")
    settings = _settings(cluster.url, tmp_path)
    state = settings.state.model_copy(update={"background_timeout_ms": 300})
    settings = settings.model_copy(update={"state": state})
    client = background_client(cluster.url, settings)
    stop = asyncio.Event()
    worker = Worker(client, settings, load_analysis(settings), "w1")
    working = asyncio.create_task(worker.run(stop))
    victim = cluster.master_of(slot_of(0))
    keys = {number: _key_in(number) for number in range(16)}
    kept = [number for number in keys if cluster.master_of(slot_of(number)) is not victim]

    async def append(number: int) -> None:
        event = Event(event_id=f"e{number}", at_us=time.time_ns() // 1000, key_id=keys[number])
        await client.xadd(PartitionKeys(number).stream, {"e": encode(event)})

    async def applied(number: int) -> bool:
        return await client.zscore(PartitionKeys(number).seen, keys[number]) is not None

    try:
        await until(lambda: len(worker.owned) == 16)
        victim.signal(signal.SIGKILL)
        for number in kept:
            await append(number)
        async with asyncio.timeout(10):
            while not all([await applied(number) for number in kept]):  # noqa: ASYNC110 - the worker does it
                await asyncio.sleep(0.05)
        await asyncio.sleep(2.5)  # longer than a lease
        assert worker.owned >= set(kept)
        await asyncio.to_thread(victim.start)
        async with asyncio.timeout(20):
            for number in set(keys) - set(kept):
                while True:
                    with contextlib.suppress(RedisError, RedisClusterException, OSError):
                        await append(number)
                        break
                    await asyncio.sleep(0.1)
            while not all([await applied(number) for number in keys]):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await working
        await client.aclose()
        cluster.close()


def _key_in(partition: int) -> str:
    """A key id that lives in the partition."""
    return next(name for name in map("{:032x}".format, itertools.count()) if partition_of(name, 16) == partition)
