"""Several workers share the partitions, and take over from each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.state.keys import WORKERS, PartitionKeys
from app.state.ownership import Ownership
from app.worker.leases import LeaseKeeper, share_of


class Holder:
    """A lease keeper without work behind it."""

    def __init__(self, lab: Any, name: str, partitions: int, lease_ms: int = 60_000) -> None:
        self.lost: list[int] = []
        self.gained: list[int] = []
        self.keeper = LeaseKeeper(Ownership(lab.client, name, lease_ms), partitions, self._gain, self._lose)

    async def _gain(self, lease: Any) -> None:
        self.gained.append(lease.partition)

    async def _lose(self, partition: int) -> None:
        self.lost.append(partition)


@pytest.mark.parametrize(("partitions", "workers", "share"), [(16, 1, 16), (16, 3, 6), (16, 16, 1), (2, 5, 1), (7, 0, 7)])
def test_share_is_rounded_up(partitions: int, workers: int, share: int) -> None:
    """A worker aims at ceil(P/N), so that N workers together own everything."""
    assert share_of(partitions, workers) == share


async def test_workers_settle_on_disjoint_shares(lab: Any) -> None:
    """However many come and go, after a few ticks every partition has one owner and nobody has more than its share."""
    holders: list[Holder] = []
    for count in (1, 2, 3, 5):
        while len(holders) < count:
            holders.append(Holder(lab, f"w{len(holders)}", 16))
        for _ in range(2):
            for holder in holders:
                await holder.keeper.tick()
        owned = [partition for holder in holders for partition in holder.keeper.held]
        assert sorted(owned) == list(range(16))
        assert max(len(holder.keeper.held) for holder in holders) <= share_of(16, count)
    while len(holders) > 1:
        await holders.pop().keeper.close()
        for holder in holders:
            await holder.keeper.tick()
        assert sorted(partition for holder in holders for partition in holder.keeper.held) == list(range(16))


async def test_each_new_owner_has_a_higher_fence(lab: Any) -> None:
    """Every acquisition of a partition raises its fence, across owners and releases."""
    fences = []
    for name in ("a", "b", "a"):
        ownership = Ownership(lab.client, name, 60_000)
        lease = await ownership.acquire(0)
        fences.append(lease.fence)
        assert await ownership.renew(lease)
        assert await ownership.release(lease)
        assert not await ownership.renew(lease)
        assert not await ownership.release(lease)
    assert fences == [1, 2, 3]


async def test_a_lease_that_ended_is_lost_and_taken_again(lab: Any) -> None:
    """When a lease ran out unnoticed, the next tick reports the loss and takes the partition under a new fence."""
    holder = Holder(lab, "w", 2)
    await holder.keeper.tick()
    await lab.client.delete(PartitionKeys(1).owner)
    await holder.keeper.tick()
    assert holder.lost == [1]
    assert holder.keeper.held[1].fence == 2
    assert holder.keeper.held[0].fence == 1


async def test_only_one_of_many_gets_a_partition(lab: Any) -> None:
    """Of twenty workers that ask at once, exactly one becomes the owner."""
    asked = await asyncio.gather(*(Ownership(lab.client, f"w{number}", 60_000).acquire(0) for number in range(20)))
    assert sum(lease is not None for lease in asked) == 1


async def test_the_registry_forgets_the_dead(lab: Any) -> None:
    """A worker that stops beating leaves the registry after its registration, and the registry itself expires."""
    await Ownership(lab.client, "short", 1).beat()
    await asyncio.sleep(0.005)
    assert await Ownership(lab.client, "long", 60_000).beat() == 1
    assert 0 < await lab.client.pttl(WORKERS) <= 60_000


async def test_another_worker_takes_over_after_a_kill(lab: Any) -> None:
    """When a worker is killed, another one has its partitions within about one lease time and finishes its work."""
    await lab.fill(1200)
    async with lab.process() as process:
        await process.start()
        await lab.until(lambda: _some_applied(lab, 1200), True)
        await process.signal("SIGKILL")
        async with lab.worker("heir") as heir:
            await lab.until_applied(timeout_sec=20)
            assert heir.owned == frozenset(range(lab.partitions))


async def test_two_workers_share_the_work_cleanly(lab: Any) -> None:
    """Two workers on one log, one of which leaves midway, give the result of one."""
    await lab.fill(800)
    async with lab.worker():
        await lab.until_applied()
    alone = await lab.snapshot()
    await lab.client.flushdb()
    await lab.fill(400)
    async with lab.worker("w1"):
        async with lab.worker("w2"):
            await lab.fill(400, first=400)
            await lab.until(lambda: _some_applied(lab, 800), True)
        await lab.until_applied()
    assert await lab.snapshot() == alone


async def _some_applied(lab: Any, total: int) -> bool:
    return await lab.left() < total
