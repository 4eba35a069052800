"""Kill the worker anywhere, pause it, lose its replies: the effect is that of one undisturbed run."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from app.errors import LeaseLost
from app.offline.archive_reader import read_partitions
from app.state.keys import PartitionKeys
from app.state.partition import AlreadyApplied, Batch
from app.worker.archive import check

KILLS = 100
FEW = 200
"""When fewer entries wait than this, more are appended, so that every kill finds a worker at work."""


def _archived(folder: Any) -> dict[int, list[Any]]:
    return {partition: list(exchanges) for partition, exchanges in read_partitions(folder)}


@pytest.mark.slow
async def test_kill_at_100_random_points_changes_nothing(lab: Any) -> None:
    """After 100 kills −9 at random moments every state, verdict, timeline and archived row is as without any kill."""
    dice = random.Random(5)
    total = 0
    applied = [0]
    slowness = 1.0
    async with lab.process(STILLWATCH_WORKER__ID="phoenix") as process:
        for _ in range(KILLS):
            if await lab.left() < FEW:
                await lab.fill(FEW, first=total)
                total += FEW
            await process.start()
            await asyncio.sleep(slowness * dice.uniform(0.005, 0.150))
            await process.signal("SIGKILL")
            applied.append(total - await lab.left())
            # On a busy machine a worker needs longer to get anything done, so that a kill may interrupt it.
            slowness = max(1.0, slowness * 0.8) if applied[-1] > applied[-2] else min(10.0, slowness * 1.3)
    async with lab.worker("phoenix"):
        await lab.until_applied()
    disturbed, archived = await lab.snapshot(), _archived(lab.folder)
    assert len(set(applied)) > KILLS // 4  # the kills did hit workers that had got something done
    assert check(lab.folder).problems == ()
    assert sum(map(len, archived.values())) == total

    await lab.client.flushdb()
    lab.folder = lab.folder.with_name("undisturbed")
    await lab.fill(total)
    async with lab.worker():
        await lab.until_applied()
    assert disturbed == await lab.snapshot()
    assert archived == _archived(lab.folder)


async def test_a_stalled_owner_cannot_commit(lab: Any) -> None:
    """A worker that was frozen past its lease is refused when it wakes, and the result is that of one undisturbed run."""
    await lab.fill(1500)
    async with lab.process(STILLWATCH_WORKER__ID="frozen") as process:
        await process.start()
        await lab.until(lambda: _smaller(lab.left, 1450), True)
        await process.signal("SIGSTOP")
        async with lab.worker("heir") as heir:
            await lab.until(lambda: _value(len(heir.owned)), lab.partitions)
            await lab.until(lambda: _smaller(lab.left, 1200), True)
            await process.signal("SIGCONT")
            await lab.until_applied()
            await process.signal("SIGTERM")
    found, archived = await lab.snapshot(), _archived(lab.folder)
    assert check(lab.folder).problems == ()
    assert sum(map(len, archived.values())) == 1500

    await lab.client.flushdb()
    lab.folder = lab.folder.with_name("undisturbed")
    await lab.fill(1500)
    async with lab.worker():
        await lab.until_applied()
    assert found == await lab.snapshot()
    assert archived == _archived(lab.folder)


async def test_a_stale_fence_writes_nothing(lab: Any) -> None:
    """A commit under an older fence is refused and leaves every value as it was."""
    await lab.fill(40)
    old = await lab.lease(0, "old")
    entries = await old.read("0-0", 5)
    await lab.client.delete(PartitionKeys(0).owner)
    new = await lab.lease(0, "new")
    assert new.lease.fence == old.lease.fence + 1
    before = await lab.snapshot()
    with pytest.raises(LeaseLost):
        await old.commit(Batch("0-0", entries[-1].id, states={("key", "ab"): b"stale"}, seen={"ab": 1}))
    assert await lab.snapshot() == before
    assert await lab.left() == 40


async def test_a_repeated_commit_changes_nothing(lab: Any) -> None:
    """When the reply to a commit was lost, sending it again is refused and nothing is applied twice."""
    await lab.fill(40)
    store = await lab.lease(0)
    entries = await store.read("0-0", 5)
    batch = Batch(
        "0-0",
        entries[-1].id,
        states={("key", "ab"): b"one"},
        timeline=[("ab", b"{}")],
        seen={"ab": 1_790_000_000_000},
        rows=[(entry.id, b"row") for entry in entries],
    )
    assert await store.commit(batch) == 0
    before, rows = await lab.snapshot(), await lab.client.xlen(PartitionKeys(0).rows)
    with pytest.raises(AlreadyApplied):
        await store.commit(batch)
    assert await lab.snapshot() == before
    assert await lab.client.xlen(PartitionKeys(0).rows) == rows == 5


async def test_a_lost_reply_keeps_the_partition(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose commit succeeded but whose reply was lost goes on from the stored state and loses no partition."""
    await lab.fill(600)
    async with lab.worker():
        await lab.until_applied()
    undisturbed = await lab.snapshot()

    await lab.client.flushdb()
    await lab.fill(600)
    from redis.exceptions import TimeoutError as NoReply

    import app.state.partition as module

    real, calls = module.run_script, iter(range(10_000))

    async def flaky(client: Any, name: str, keys: Any, args: Any) -> Any:
        answer = await real(client, name, keys, args)
        if name == "commit" and next(calls) % 5 == 2:
            raise NoReply
        return answer

    monkeypatch.setattr(module, "run_script", flaky)
    monkeypatch.setattr("app.worker.worker.RETRY_SEC", 0.01)
    async with lab.worker() as worker:
        await lab.until_applied()
        assert len(worker.owned) == lab.partitions
    assert await lab.snapshot() == undisturbed


async def test_batch_size_does_not_matter(lab: Any) -> None:
    """One entry per commit and everything in one commit leave the same bytes."""
    found = []
    for size in ("1", "10000"):
        await lab.client.flushdb()
        await lab.fill(400)
        async with lab.worker(STILLWATCH_WORKER__BATCH_ENTRIES=size, STILLWATCH_WORKER__HOT_PROFILES="100"):
            await lab.until_applied()
        found.append(await lab.snapshot())
    assert found[0] == found[1]


async def _smaller(measure: Any, bound: int) -> bool:
    return await measure() < bound


async def _value(value: object) -> object:
    return value
