"""Members that flood, and members that name what honest customers show: neither changes what live workers do."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from app.intel.voices import MOST_SEEN
from app.state.intel_common import CommonHere
from app.state.intel_indicators import Held, Indicators, Standing, Word
from app.state.keys import PartitionKeys, partition_of
from app.telemetry import metrics
from app.worker.sharing_count import Counting
from detectors.campaign.trace import encode
from detectors.sharing.indicator import DAY_US, Indicator
from tests.integration.sharing_traffic import RING, acting, hits, indicators, keys_folder, order, send, traces, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.worker.worker.SHARE_CHECK_SEC", 0.02)
    monkeypatch.setattr("app.worker.sharing.REFRESH_SEC", 0.02)
    monkeypatch.setattr("app.worker.sharing.RECHECK_SEC", 0.05)
    monkeypatch.setattr("app.worker.sharing_count.COUNT_SEC", 0.05)


@pytest.fixture
def real(tmp_path: Path) -> dict[str, str]:
    """Settings under which policy acts about what was shared."""
    return acting(keys_folder(tmp_path / "keys"))


async def _hold(lab: Any, shared: Sequence[Indicator], *members: str, standing: int = 3) -> list[Held]:
    """Has indicators held, reported by members of long standing that were right `standing` times."""
    now_us, store = time.time_ns() // 1000, Indicators(lab.client)
    words = tuple(Word(member, now_us, now_us, 90, told=True) for member in members)
    held = [Held(one, "labs", members[0], now_us, "amber+strict", words) for one in shared]
    for member in members:
        await store.put_standing(Standing("labs", member, member, now_us - 90 * DAY_US, standing, 0))
    await store.put(held)
    return held


def _renamed(one: Indicator, name: str, weight: float = 0.0) -> Indicator:
    """The same under another id, and of another weight if one is given."""
    weights = (weight,) * len(one.tokens) if weight else one.weights
    return structs.replace(one, id=f"indicator--{uuid.uuid5(uuid.NAMESPACE_OID, name + one.id)}", weights=weights)


async def _settle(lab: Any, showing: int, level: int = 0) -> None:
    """300 organisations of a fortnight, as the linker leaves their traces; some show the operation's habits."""
    first_us = time.time_ns() // 1000 - 14 * DAY_US
    ring, other = traces([77], RING)[0], traces([78], None)[0]
    rows: dict[str, dict[str, bytes]] = {}
    for number in range(300):
        name = f"{5000 + number:032x}"
        base = structs.replace(ring, level=level) if number < showing else other
        trace = structs.replace(base, key_id=name, org=name, first_us=first_us)
        rows.setdefault(PartitionKeys(partition_of(name, lab.partitions)).traces, {})[name] = encode(trace)
    for place, mapping in rows.items():
        await lab.client.hset(place, mapping=mapping)


async def _until_looked_for(lab: Any, worker: Any, count: int) -> None:
    async def measure() -> int:
        return len(worker._sharing._watch)

    await lab.until(measure, count)


async def _until_counted(lab: Any, worker: Any) -> None:
    """Two rounds further: what was there before was compared, and counted."""
    for _ in range(2):
        ended = worker._sharing._counting._ended

        async def later(ended: float = ended) -> bool:
            return bool(worker._sharing._counting._ended > ended)

        await lab.until(later, True)


def _common(lab: Any) -> Any:
    async def measure() -> set[str]:
        return set(await CommonHere(lab.client).all(time.time_ns() // 1000))

    return measure


async def _no_end(*given: object) -> bool:
    """In place of the end of a count."""
    return False


async def _decided(lab: Any) -> int:
    found = await hits(lab, 1)
    return 0 if found is None else found.at_us


async def test_flood_hides_no_second_reporter(lab: Any, real: dict[str, str]) -> None:
    """A member that names one wording in hundreds of the heaviest indicators does not keep two others from counting."""
    shared = indicators()
    template = next(one for one in shared if one.kind == "template")
    flood = await _hold(lab, [_renamed(template, f"flood {number}", 20.0) for number in range(300)], "liar")
    mine = await _hold(lab, shared, "acme")
    others = await _hold(lab, [_renamed(one, "birch") for one in shared], "birch")
    async with lab.worker(**real) as worker:
        await _until_looked_for(lab, worker, len(flood) + len(mine) + len(others))
        await send(lab, 1, RING)
        found = await until(lab, 1, "acted", "real")
        assert len(found.seen) == MOST_SEEN
        assert max(one.nats for one in found.seen) == 20.0
        await send(lab, 1, RING, first=1, count=3)
        assert (await until(lab, 1, "acted", "real")).effect == "automatic"


async def test_common_is_not_looked_for(lab: Any, real: dict[str, str]) -> None:
    """What settled customers show leads to nothing, whoever reports it; once they are flagged it is looked for again."""
    held = await _hold(lab, indicators(), "acme", "birch")
    await _settle(lab, showing=12)
    async with lab.worker(**real) as worker:
        await _until_looked_for(lab, worker, len(held))
        await send(lab, 1, RING)
        await lab.until(_common(lab), {one.name for one in held})
        await lab.until(lambda: hits(lab, 1), None)
        await send(lab, 2, RING, count=3)
        await _until_counted(lab, worker)
        assert await hits(lab, 2) is None
        assert await order(lab, 1) is None
        assert metrics.SHARED_COMMON._value.get() == len(held)
        await _settle(lab, showing=12, level=2)
        await until(lab, 2, "acted", "real")
        await lab.until(_common(lab), set())


async def test_few_settled_go_by_others(lab: Any, real: dict[str, str]) -> None:
    """A worker that sees too few settled customers does not look for what another one has found common, nor unsays it."""
    held = await _hold(lab, indicators(), "acme", "birch")
    await CommonHere(lab.client).put([one.name for one in held], time.time_ns() // 1000)
    async with lab.worker(**real) as worker:
        await _until_looked_for(lab, worker, len(held))

        await _until_counted(lab, worker)
        await send(lab, 1, RING, count=3)
        await _until_counted(lab, worker)
        assert await hits(lab, 1) is None
        assert await _common(lab)() == {one.name for one in held}
        await CommonHere(lab.client).drop([one.name for one in held])
        await until(lab, 1, "acted", "real")


async def test_rare_is_looked_for(lab: Any, real: dict[str, str]) -> None:
    """Nine organisations of three hundred make nothing common: so many can an operation keep ready."""
    await _settle(lab, showing=9)
    held = await _hold(lab, indicators(), "acme", "birch")
    async with lab.worker(**real) as worker:
        await _until_looked_for(lab, worker, len(held))
        await send(lab, 1, RING)
        await until(lab, 1, "acted", "real")
        assert await _common(lab)() == set()


async def test_nothing_follows_before_the_count(lab: Any, real: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is known how common indicators are a key is only to be looked at; what has begun does not wait again."""
    held = await _hold(lab, indicators(), "acme", "birch")
    with monkeypatch.context() as patched:
        patched.setattr(Counting, "ended", _no_end)
        async with lab.worker(**real) as worker:
            await _until_looked_for(lab, worker, len(held))
            await send(lab, 1, RING)
            await until(lab, 1, "effect", "priority")
            assert await order(lab, 1) is None
            patched.undo()
            found = await until(lab, 1, "acted", "real")
    decided = await _decided(lab)
    monkeypatch.setattr(Counting, "ended", _no_end)
    async with lab.worker("w2", **real) as worker:
        await _until_looked_for(lab, worker, len(held))

        async def again() -> bool:
            return await _decided(lab) > decided

        await lab.until(again, True)
        now = await hits(lab, 1)
        assert now is not None
        assert (now.acted, now.since_us) == ("real", found.since_us)
        assert await order(lab, 1) is not None
