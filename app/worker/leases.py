"""Which partitions this worker owns.

Each of N live workers aims at ceil(P/N) partitions: it takes unowned ones up to that, and gives some up when more workers
have come. A worker that dies leaves the registry and its leases after one lease time; the others then take its share.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

import xxhash

from app.errors import StateUnavailable
from app.state.ownership import Lease, Ownership
from app.telemetry import metrics

log = logging.getLogger(__name__)

OnGain = Callable[[Lease], Awaitable[None]]
OnLoss = Callable[[int], Awaitable[None]]


def share_of(partitions: int, workers: int) -> int:
    """Most partitions one of `workers` should own, so that together they own all."""
    return math.ceil(partitions / max(1, workers))


class LeaseKeeper:
    """Keeps this worker at its share. `on_loss` returns when the partition's work has stopped; only then is it released."""

    def __init__(self, ownership: Ownership, partitions: int, on_gain: OnGain, on_loss: OnLoss) -> None:
        self._ownership = ownership
        self._partitions = partitions
        self._on_gain = on_gain
        self._on_loss = on_loss
        self.held: dict[int, Lease] = {}

    async def tick(self) -> None:
        """Renews, gives up what is too much, takes what is free. Called at least three times per lease time.

        Raises:
            StateUnavailable: the server is away; what is held stays held, and fencing decides whether it still counts.
        """
        await self._renew()
        share = share_of(self._partitions, await self._ownership.beat())
        for partition in sorted(self.held)[share:]:
            await self._give_up(partition)
        if len(self.held) < share:
            await self._take(share - len(self.held))
        metrics.PARTITIONS_OWNED.set(len(self.held))

    async def drop(self, partition: int) -> None:
        """Forgets a partition whose commit was refused."""
        if self.held.pop(partition, None) is not None:
            metrics.LEASES_LOST.inc()
            await self._on_loss(partition)

    async def close(self) -> None:
        """Releases everything and leaves the registry; a server that is away will forget us by itself."""
        try:
            for partition in list(self.held):
                await self._give_up(partition)
            await self._ownership.leave()
        except StateUnavailable as error:
            log.warning("leases were left to expire: %s", error)
        metrics.PARTITIONS_OWNED.set(0)

    async def _renew(self) -> None:
        """Renews all together: where one node of a Cluster is away, the leases of the others must not run out meanwhile."""
        held = list(self.held.items())
        renewals = await asyncio.gather(*(self._ownership.renew(lease) for _, lease in held), return_exceptions=True)
        away: StateUnavailable | None = None
        for (partition, _), renewed in zip(held, renewals, strict=True):
            if isinstance(renewed, StateUnavailable):
                away = renewed
            elif isinstance(renewed, BaseException):
                raise renewed
            elif not renewed:
                await self.drop(partition)
        if away is not None and all(isinstance(renewed, StateUnavailable) for renewed in renewals):
            raise away

    async def _give_up(self, partition: int) -> None:
        lease = self.held.pop(partition, None)
        if lease is None:  # dropped while we were waiting for another one
            return
        await self._on_loss(partition)
        await self._ownership.release(lease)

    async def _take(self, wanted: int) -> None:
        # Workers start looking at different places, so that they do not race for the same partitions.
        start = xxhash.xxh3_64_intdigest(self._ownership.worker.encode()) % self._partitions
        order = [(start + step) % self._partitions for step in range(self._partitions)]
        for partition in await self._ownership.unowned([number for number in order if number not in self.held]):
            if wanted <= 0:
                return
            lease = await self._ownership.acquire(partition)
            if lease is not None:
                self.held[partition] = lease
                await self._on_gain(lease)
                wanted -= 1
