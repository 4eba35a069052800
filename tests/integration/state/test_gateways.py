"""Gateways say in state whether they act, so that readers with other settings tell what is really done."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.admin import views
from app.gateway import services as module
from app.gateway.services import Services
from app.settings import Settings, StateSettings, load
from app.state import gateways
from app.state.control import ControlStore
from app.state.factory import background_client
from app.state.gateways import LiveGateways
from app.state.keys import GATEWAYS, WORKERS
from app.state.reading import StateReader
from app.state.server import StateServer
from app.worker.worker import Worker, load_analysis


def _settings(data_dir: Path, mode: str = "shadow", **more: str) -> Settings:
    environ = {"STILLWATCH_PEPPER": "a pepper of some length", "STILLWATCH_STATE__DATA_DIR": str(data_dir), **more}
    return load(environ=environ | {"STILLWATCH_ENFORCEMENT__MODE": mode})


async def test_readers_see_what_the_running_gateways_do(redis_db: str, data_dir: Path) -> None:
    """Nobody, one that acts, one of each kind, one that only counts: each at once when it starts and when it leaves."""
    client = background_client(redis_db, _settings(data_dir))
    reader = StateReader(client, 16)
    seen = [await reader.gateways()]
    acts = await Services.start(_settings(data_dir, "enforce"), redis_db)
    seen.append(await reader.gateways())
    counts = await Services.start(_settings(data_dir, "shadow"), redis_db)
    seen.append(await reader.gateways())
    await acts.stop()
    seen.append(await reader.gateways())
    await counts.stop()
    seen.append(await reader.gateways())
    assert seen == [LiveGateways(0, 0), LiveGateways(1, 0), LiveGateways(1, 1), LiveGateways(0, 1), LiveGateways(0, 0)]
    assert [found.mode for found in seen] == ["unknown", "enforce", "mixed", "shadow", "unknown"]
    await client.aclose()


async def test_each_gateway_says_its_policy_and_kill_switch(redis_db: str, data_dir: Path) -> None:
    """Readers see a change of either at once; a gateway that is switched off counts as one that does not act."""
    settings = _settings(data_dir, "enforce")
    client = background_client(redis_db, settings)
    reader, store = StateReader(client, 16), ControlStore(client)
    one, two = await Services.start(settings, redis_db), await Services.start(settings, redis_db)
    try:
        found = await reader.gateways()
        assert (found.mode, found.killed, found.policies) == ("enforce", 0, {one.control.policy_digest})
        assert len({each.name for each in found.each}) == 2
        await store.set_kill("actions", "x", "ann")
        async with asyncio.timeout(10):
            while (await reader.gateways()).killed != 2:  # noqa: ASYNC110 - it is the gateways' turn
                await asyncio.sleep(0.01)
        assert (await reader.gateways()).mode == "shadow"
        await store.set_kill("", "x", "ann")
        await store.set_policy('mode = "shadow"')
        async with asyncio.timeout(10):
            while (await reader.gateways()).policies != {one.control.policy_digest}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await reader.gateways() == LiveGateways(0, 2)
    finally:
        await one.stop()
        await two.stop()
    assert await reader.gateways() == LiveGateways()
    await client.zadd(GATEWAYS, {"enforce|old-2-abc||00ff": 9e12})
    assert (await reader.gateways()).rejecting("file") == 0
    await client.zrem(GATEWAYS, "enforce|old-2-abc||00ff")
    await client.zadd(GATEWAYS, {"enforce|old-1-abc": 9e12})
    old = await reader.gateways()
    assert (old.mode, old.killed, old.policies, [each.name for each in old.each]) == ("enforce", 0, set(), ["old-1-abc"])
    await client.aclose()


async def test_health_says_where_the_policy_file_is_bad_until_it_is_mended(redis_db: str, data_dir: Path) -> None:
    """A gateway and a worker whose file is wrong, then gone, are counted in one sentence; it goes when the file is good."""
    path = data_dir / "policy.toml"
    path.write_text('mode = "enforce"')
    settings = _settings(
        data_dir,
        STILLWATCH_CONTROL__POLICY_FILE=str(path),
        STILLWATCH_CONTROL__POLL_MS="20",
        STILLWATCH_WORKER__LEASE_MS="1000",
    )
    client = background_client(redis_db, settings)
    reader, stop = StateReader(client, 16), asyncio.Event()
    gateway = await Services.start(settings, redis_db)
    working = asyncio.create_task(Worker(client, settings, load_analysis(settings)).run(stop))

    async def told(*words: str) -> None:
        async with asyncio.timeout(20):
            while True:
                found = views.health(await reader.health(), settings, None, "0")
                about = [sentence for sentence in found.problems if "policy file" in sentence]
                if found.workers == 1 and len(about) == bool(words) and all(word in about[0] for word in words):
                    return
                await asyncio.sleep(0.02)

    try:
        await told()
        path.write_text('mode = "enforc"')
        await told("1 of 1 gateways", "1 of 1 workers")
        path.unlink()
        await told("1 of 1 gateways", "1 of 1 workers")
        path.write_text('mode = "shadow"')
        await told()
        path.unlink()
        await told("1 of 1 gateways", "1 of 1 workers")
    finally:
        stop.set()
        await working
        await gateway.stop()
    assert not await client.zcard(WORKERS)
    await client.aclose()


async def test_a_registration_is_renewed_and_ends(redis_db: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that runs longer than one registration stays known; one that was killed is forgotten, and its key goes."""
    monkeypatch.setattr(gateways, "REGISTRATION_MS", 400)
    monkeypatch.setattr(module, "BEAT_SEC", 0.05)
    client = background_client(redis_db, _settings(data_dir))
    reader = StateReader(client, 16)
    services = await Services.start(_settings(data_dir), redis_db)
    await asyncio.sleep(0.6)
    assert (await reader.gateways()).count == 1
    await client.zadd(GATEWAYS, {"enforce|killed": 1.0})
    assert (await reader.gateways()).mode == "shadow"
    await services.stop()
    await asyncio.sleep(0.5)
    assert not await client.exists(GATEWAYS)
    await client.aclose()


async def test_a_gateway_that_started_without_state_is_known_when_it_comes(
    own: StateSettings, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It registers as soon as the layout of the state is checked, and not before."""
    monkeypatch.setattr(module, "CHECK_SEC", 0.05)
    server = StateServer(own)
    settings = _settings(data_dir / "gateway", "enforce", STILLWATCH_REDIS_URL=server.url)
    services = await Services.start(settings)
    assert (services.control.ready, services.health()[0]) == (False, False)  # who is ordered to be blocked is not known
    await server.start()
    client = background_client(server.url, settings)
    reader = StateReader(client, 16)
    async with asyncio.timeout(20):
        while (await reader.gateways()).mode != "enforce" or not services.health()[0]:  # noqa: ASYNC110 - the gateway's turn
            await asyncio.sleep(0.02)
    assert services.control.ready
    await services.stop()
    await client.aclose()
    await server.stop()
