"""A key keeps everything when the pepper changes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from app.enforcement.policy import encode_verdict
from app.gateway.guard import Head
from app.gateway.identity import Hasher
from app.gateway.services import Services
from app.limits.limiter import Ask
from app.settings import ActionRule, Settings, load
from app.state.accounts import Account, AccountStore
from app.state.adoption import Adoption
from app.state.control import AllowEntry, ControlStore
from app.state.keys import PartitionKeys, partition_of
from app.state.orders import Order, Orders
from detectors.analysis import Analysis, EntityState
from detectors.contract import Level
from detectors.event import Event
from detectors.fingerprint import fingerprint
from detectors.model import rules_only

OLD_PEPPER, NEW_PEPPER = "the pepper until now", "the pepper from now on"
PARTITIONS = 16
HOUR_US = 3_600_000_000


def _now_us() -> int:
    return time.time_ns() // 1000


def _ids(credential: str) -> tuple[str, str]:
    return Hasher(OLD_PEPPER).key(credential), Hasher(NEW_PEPPER).key(credential)


def _state(key_id: str) -> bytes:
    """A key that did something and was judged."""
    states: dict[tuple[str, str], EntityState] = {}
    events = [Event(event_id=f"e{n}", at_us=_now_us() + n, key_id=key_id, output_tokens=9) for n in range(20)]
    Analysis(rules_only()).observe(states, [(event, fingerprint(event)) for event in events])
    return states["key", key_id].to_bytes()


async def _fill(client: Any, names: PartitionKeys, key_id: str) -> str:
    """What the service knows of a key; returns its verdict string."""
    verdict = encode_verdict(Level.SUSPECT, ActionRule(action="throttle"), _now_us(), ref="sw-abc")
    await client.set(names.profile("k", key_id), _state(key_id), px=50_000)
    await client.set(names.verdict(key_id), verdict, px=40_000)
    await client.rpush(names.timeline(key_id), b'{"n":2}', b'{"n":1}')
    await client.hset(names.limits("k", key_id), mapping={"r": 7, "t": 8})
    await client.zadd(names.seen, {key_id: 123})
    await client.zadd(names.flagged, {key_id: 4.5})
    return verdict


@pytest.mark.parametrize("org", ["", "acme"])
async def test_everything_is_known_under_the_new_id(client: Any, org: str) -> None:
    """Account, profile, verdict, timeline, balances, indexes, order and allow-list entry, with the rest of each life."""
    old, new = _ids("sk-one")
    accounts, orders, control = AccountStore(client), Orders(client), ControlStore(client)
    account = Account(org_id=org, plan="payg", created_us=5)
    await accounts.put(old, account)
    source = PartitionKeys(partition_of(org or old, PARTITIONS))
    target = PartitionKeys(partition_of(org or new, PARTITIONS))
    verdict = await _fill(client, source, old)
    until_us = _now_us() + HOUR_US
    order = Order(since_us=_now_us(), until_us=until_us, ref="sw-xyz", action="suspend", reason="said so", by="ann")
    await orders.place(old, {source.partition}, order, {})
    entry = AllowEntry(
        subject=f"key:{old}", owner="bob", reason="known", expires_us=until_us, by="ann", created_us=_now_us()
    )
    await control.allow_put(entry)

    adoption = Adoption(client, accounts, PARTITIONS)
    await adoption.adopt(old, new)
    assert await accounts.get(new) == account
    state = EntityState.from_bytes(await client.get(target.profile("k", new)))
    assert (state.profile.entity_id, state.exchanges) == (new, 20)
    assert state.verdict is None or state.verdict.entity_id == new
    assert 0 < await client.pttl(target.profile("k", new)) <= 50_000
    assert await client.lrange(target.timeline(new), 0, -1) == [b'{"n":2}', b'{"n":1}']
    assert await client.hgetall(target.limits("k", new)) == {b"r": b"7", b"t": b"8"}
    assert await client.zscore(target.seen, new) == 123
    assert await client.zscore(target.flagged, new) == 4.5
    assert await orders.get(new) == order
    assert b"suspend" in await client.get(target.verdict(new))
    assert [one.owner for one in await control.allow_list()] == ["bob", "bob"]
    assert await orders.end(new, {target.partition}, {})
    assert (await client.get(target.verdict(new))).decode() == verdict
    assert 0 < await client.pttl(target.verdict(new)) <= 40_000

    await client.set(target.verdict(new), "later")
    await adoption.adopt(old, new)
    assert await client.get(target.verdict(new)) == b"later", "what the new id has is left alone"


async def test_a_key_nobody_knows_is_adopted_without_a_trace(client: Any) -> None:
    """Nothing is written for it but the mark that it was looked at, which ends by itself."""
    old, new = _ids("sk-none")
    await Adoption(client, AccountStore(client), PARTITIONS).adopt(old, new)
    mark = PartitionKeys(partition_of(new, PARTITIONS)).adopted(new)
    assert [name.decode() for name in await client.keys("*")] == [mark]
    assert await client.ttl(mark) > 0


async def test_a_suspended_key_stays_suspended_over_a_change_of_the_pepper(redis_db: str, data_dir: Path) -> None:
    """From the first request after the restart on, under its old id and then under its new one."""
    old, new = _ids("sk-one")
    before = await Services.start(_settings(data_dir, OLD_PEPPER), redis_db)
    assert _identify(before) == old
    client = before._accounts._store._client
    order = Order(since_us=_now_us(), until_us=_now_us() + HOUR_US, ref="sw-xyz", action="suspend", reason="r", by="ann")
    await Orders(client).place(old, {partition_of(old, PARTITIONS)}, order, {})
    await before.stop()
    after = await Services.start(_settings(data_dir, NEW_PEPPER, OLD_PEPPER), redis_db)
    used = set()
    async with asyncio.timeout(20):
        while new not in used:
            key_id = _identify(after)
            used.add(key_id)
            limiter = after.core.limiter
            assert limiter is not None
            decision = await limiter.decide(Ask(key_id, "", "default", "m", 1, 1, after.core.request_id()))
            assert not decision.admitted
            await asyncio.sleep(0)  # a block that is known from memory waits for nothing
    assert old in used
    await after.stop()


def _identify(services: Services) -> str:
    head = Head()
    head.authorization = b"Bearer sk-one"
    return services.core.identifier.identify(head, "openai").key_id


def _settings(data_dir: Path, pepper: str, previous: str = "") -> Settings:
    return load(
        environ={
            "STILLWATCH_PEPPER": pepper,
            "STILLWATCH_IDENTITY__PREVIOUS_PEPPER": previous,
            "STILLWATCH_STATE__DATA_DIR": str(data_dir),
        }
    )
