"""Orders as processes see them: a gateway that never saw the key, workers that go on judging, and the repair."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.enforcement.policy import decode_verdict
from app.errors import BadInput
from app.gateway.services import Services
from app.limits.limiter import Ask, Decision
from app.settings import Settings, StateSettings, load
from app.state import orders as module
from app.state.accounts import Account, AccountStore
from app.state.control import MAX_CHANGES, ControlStore
from app.state.factory import background_client
from app.state.keys import ORDERS, ORDERS_DUE, PartitionKeys, partition_of
from app.state.order_repair import OrderRepair
from app.state.orders import Entry, Order, Orders, read_order
from app.state.ownership import Ownership
from app.state.partition import Batch, PartitionStore
from app.state.server import StateServer
from app.worker.worker import Worker, load_analysis

KEY = "0123456789abcdef" * 2
HOME = partition_of(KEY, 4)
THROTTLE = "suspect|throttle|0.25|20|4000000000000000|policy|sw-p"


def _order(action: Any = "suspend", seconds: float = 3600, ref: str = "sw-test") -> Order:
    now_us = time.time_ns() // 1000
    return Order(ref=ref, action=action, factor=0.5, since_us=now_us, until_us=now_us + round(seconds * 1e6), by="ann")


def _settings(folder: Path, **more: Any) -> Settings:
    base = {"state.data_dir": folder, "state.partitions": 4, "identity.pepper": "a pepper of some length"}
    return load(None, {}, {**base, "worker.poll_ms": 10, "worker.lease_ms": 1000, **more})


async def until(holds: Callable[[], bool], timeout_sec: float = 10.0) -> float:
    """Returns when it holds: after how many seconds."""
    began = time.monotonic()
    async with asyncio.timeout(timeout_sec):
        while not holds():  # noqa: ASYNC110 - a task makes it hold
            await asyncio.sleep(0.005)
    return time.monotonic() - began


async def _decide(services: Services, key_id: str = KEY) -> Decision:
    ask = Ask(key_id, "", "default", "m", 10, 20, f"r{time.monotonic_ns()}")
    limiter: Any = services.core.limiter
    decision: Decision = await limiter.decide(ask)
    limiter.settle(decision.reservation, input_tokens=1, output_tokens=1, event=None)
    return decision


async def test_a_block_outlives_the_state_at_a_gateway_that_never_saw_the_key(
    own: StateSettings, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two gateways in shadow mode, of which one has served the key: both block it with the state gone, and others pass."""
    monkeypatch.setattr("app.state.server.WATCH_SEC", 60.0)
    settings = _settings(data_dir)
    async with StateServer(own) as server:
        client = background_client(server.url, settings)
        one, two = await Services.start(settings, server.url), await Services.start(settings, server.url)
        try:
            assert (await _decide(one)).admitted
            await Orders(client).place(KEY, {HOME}, _order(), {})
            assert (await _decide(one)).blocked  # by the string that it reads
            await until(lambda: two.control.order(KEY) is not None)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            for services in (one, two):
                decision = await _decide(services)
                assert (decision.admitted, decision.blocked, decision.action) == (False, True, "suspend")
                assert (await _decide(services, "f" * 32)).admitted
        finally:
            await one.stop()
            await two.stop()
            await client.aclose()


async def test_the_kill_switch_stops_actions_and_then_limits(redis_db: str, client: Any, tmp_path: Path) -> None:
    """With `actions` a suspended key passes and limits hold, with `all` nothing is limited; the health sentence says it."""
    settings = _settings(tmp_path, **{"limits.plans": {"default": {"key": {"requests_per_min": 1}}}})
    services = await Services.start(settings, redis_db)
    try:
        await Orders(client).place(KEY, {HOME}, _order(), {})
        assert (await _decide(services)).blocked
        assert services.health() == (True, "ok")
        settings.kill_file.write_text("actions")
        assert await until(lambda: services.control.kill == "actions") < 1.0
        assert (await _decide(services)).admitted
        assert (await _decide(services)).limited_by == "requests"
        settings.kill_file.write_text("all")
        assert await until(lambda: services.control.kill == "all") < 1.0
        assert (await _decide(services)).admitted
        ready, sentence = services.health()
        assert ready
        assert sentence.startswith(
            "ok; kill switch: nothing is done about verdicts and orders, nor about limits, by the file"
        )
        settings.kill_file.unlink()
        await until(lambda: services.control.kill == "")
        assert (await _decide(services)).blocked
    finally:
        await services.stop()


async def test_stored_plans_are_in_force_at_once(redis_db: str, client: Any, tmp_path: Path) -> None:
    """A plan that state names replaces the one of the settings while the gateway runs, and goes when it is taken out."""
    services = await Services.start(_settings(tmp_path), redis_db)
    store = ControlStore(client)
    try:
        assert (await _decide(services)).budgets == ()
        await store.set_plans('{"default": {"key": {"requests_per_min": 7}}}')
        await until(lambda: services.control.plans.plans["default"].key.requests_per_min == 7)
        assert [(budget.name, budget.limit) for budget in (await _decide(services)).budgets] == [("requests", 7.0)]
        await store.set_plans("")
        await until(lambda: services.control.plans.plans["default"].key.requests_per_min is None)
        assert (await _decide(services)).budgets == ()
    finally:
        await services.stop()


async def test_an_order_and_commits_at_the_same_time(redis_db: str, client: Any) -> None:
    """In whatever turn commits, placings and endings come: the last commit is what policy asks for afterwards."""
    lease = await Ownership(client, "w", 60_000).acquire(HOME)
    assert lease is not None
    store, orders, names = PartitionStore(client, lease), Orders(client), PartitionKeys(HOME)

    async def commits() -> None:
        cursor = await store.cursor()
        for number in range(1, 101):
            last = f"{number}-0"
            await store.commit(
                Batch(cursor=cursor, last=last, verdicts={KEY: f"suspect|throttle|0.25|20|{number}|policy|"})
            )
            cursor = last

    async def people() -> None:
        for number in range(50):
            await orders.place(KEY, {HOME}, _order(ref=f"sw-{number}"), {})
            assert decode_verdict(await client.get(names.verdict(KEY))).action == "suspend"  # type: ignore[union-attr]
            assert await orders.end(KEY, {HOME}, {})

    await asyncio.gather(commits(), people())
    assert await client.get(names.verdict(KEY)) == b"suspect|throttle|0.25|20|100|policy|"
    assert not await client.exists(names.asked(KEY), names.order(KEY))
    assert await client.hlen(ORDERS) == 0
    assert await client.zcard(ORDERS_DUE) == 0


async def test_a_worker_finishes_what_broke_off(redis_db: str, client: Any, tmp_path: Path) -> None:
    """An order that is in the list only, one that was taken back there only, and one that has ended: all within seconds."""
    settings = _settings(tmp_path)
    orders = Orders(client)
    begun, ended, over = (f"{number:032x}" for number in (1, 2, 3))
    places = {key_id: PartitionKeys(partition_of(key_id, 4)) for key_id in (begun, ended, over)}
    for key_id in (ended, over):
        await client.set(places[key_id].verdict(key_id), THROTTLE, ex=5000)
    data = msgspec.json.encode(Entry(order=_order(), places=(partition_of(begun, 4),), item={"what": "x"}))
    await orders._list("place", begun, data, 0, MAX_CHANGES, 10)
    await orders.place(ended, {partition_of(ended, 4)}, _order(), {})
    finish, orders.finish = orders.finish, _nothing  # type: ignore[method-assign]
    assert await orders.end(ended, {partition_of(ended, 4)}, {"what": "y"})
    orders.finish = finish  # type: ignore[method-assign]
    await client.zadd(ORDERS_DUE, {ended: 0})
    await orders.place(over, {partition_of(over, 4)}, _order(seconds=0.2), {})
    stop = asyncio.Event()
    worker = asyncio.create_task(Worker(client, settings, load_analysis(settings)).run(stop))
    async with asyncio.timeout(10):
        while (await client.hkeys(ORDERS)) != [begun.encode()]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        while read_order(await client.get(places[begun].order(begun))) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    stop.set()
    await worker
    assert b"|suspend|" in await client.get(places[begun].verdict(begun))
    assert await client.llen(places[begun].timeline(begun)) == 1
    for key_id in (ended, over):
        assert (await client.get(places[key_id].verdict(key_id))).decode() == THROTTLE
        assert not await client.exists(places[key_id].asked(key_id))
    assert await client.lrange(places[ended].timeline(ended), 0, -1) == [b'{"what":"y"}']


async def _nothing(*_: Any) -> None:
    """The process died before it came to this."""


async def test_an_order_follows_a_key_whose_account_moves(redis_db: str, client: Any) -> None:
    """The repair, or who moves it, puts it where the key is decided now; ending it ends it everywhere."""
    org = next(f"o{n}" for n in range(99) if partition_of(f"o{n}", 4) != HOME)
    there = PartitionKeys(partition_of(org, 4))
    orders, repair = Orders(client), OrderRepair(client, 4)
    await orders.place(KEY, {HOME}, _order(), {})
    await AccountStore(client).put(KEY, Account(org))
    await client.zadd(ORDERS_DUE, {KEY: 0})
    assert not await repair.step()
    assert b"|suspend|" in await client.get(there.verdict(KEY))
    other = PartitionKeys(next(number for number in range(4) if number not in (HOME, there.partition)))
    await orders.follow(KEY, other.partition)
    await orders.follow("f" * 32, other.partition)  # nothing stands about it
    assert b"|suspend|" in await client.get(other.verdict(KEY))
    assert await orders.end(KEY, set(), {})
    for names in (there, other, PartitionKeys(HOME)):
        assert not await client.exists(names.verdict(KEY), names.order(KEY))


async def test_a_partition_that_lost_an_order_gets_it_back(redis_db: str, client: Any) -> None:
    """The list remembers it; a string that a worker of an earlier version deleted comes back, too."""
    orders, repair, names = Orders(client), OrderRepair(client, 4), PartitionKeys(HOME)
    await orders.place(KEY, {HOME}, _order(), {"what": "x"})
    for lost in ([names.verdict(KEY)], [names.verdict(KEY), names.order(KEY)]):
        await client.delete(*lost)
        await client.zadd(ORDERS_DUE, {KEY: 0})
        await repair.step()
        assert b"|suspend|" in await client.get(names.verdict(KEY))
        assert read_order(await client.get(names.order(KEY))) is not None


async def test_a_hold_of_an_earlier_version_is_an_order(redis_db: str, client: Any) -> None:
    """Its key has the same name: commits heed it, readers show it as observe, and it can be taken back."""
    names = PartitionKeys(HOME)
    now_us = time.time_ns() // 1000
    hold = msgspec.json.encode({"since_us": now_us, "until_us": now_us + 60_000_000, "reason": "agreed"})
    await client.set(names.order(KEY), hold, px=60_000)
    found = read_order(hold)
    assert found is not None
    assert (found.action, found.reason, found.ref) == ("observe", "agreed", "")
    lease = await Ownership(client, "w", 60_000).acquire(HOME)
    assert lease is not None
    await PartitionStore(client, lease).commit(Batch(cursor="0-0", last="1-0", verdicts={KEY: THROTTLE}))
    assert await client.get(names.verdict(KEY)) is None
    assert await Orders(client).end(KEY, {HOME}, {})
    assert (await client.get(names.verdict(KEY))).decode() == THROTTLE
    assert not await Orders(client).end(KEY, {HOME}, {})


async def test_orders_are_bounded_and_end(redis_db: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the most are refused with a sentence, one whose end has passed too; replacing one is no more."""
    monkeypatch.setattr(module, "MAX_ORDERS", 2)
    orders = Orders(client)
    keys = [f"{number:032x}" for number in range(3)]
    await orders.place_many([(key_id, {0}, _order(), {}) for key_id in keys[:2]])
    with pytest.raises(BadInput, match="2 orders stand already"):
        await orders.place(keys[2], {0}, _order(), {})
    await orders.place(keys[1], {0}, _order("throttle"), {})
    with pytest.raises(BadInput, match=r"^until: must be in the future"):
        await orders.place(keys[1], {0}, _order(seconds=-1), {})
    assert {key_id: order.action async for key_id, order in orders.standing()} == {keys[0]: "suspend", keys[1]: "throttle"}
    assert await orders.get(keys[1]) is not None
    assert not await orders.end(keys[0], {0}, {}, ref="sw-another")
    assert await orders.end_many([(key_id, {0}, {}) for key_id in keys]) == 2
    assert await orders.get(keys[1]) is None
