"""Who owns which partition: leases with fencing tokens, and the registry of live workers.

A lease says who should work; the fence decides whose work counts. A worker that was paused past its lease still believes
it owns the partition, but the next owner has raised the fence, so its commit is refused and nothing is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.state.calls import Client, reachable, run_script
from app.state.keys import WORKERS, PartitionKeys

MAX_WORKERS = 4096
"""Most workers the registry remembers; more than partitions could use."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One partition, owned by one worker under one fence."""

    partition: int
    worker: str
    fence: int

    @property
    def value(self) -> str:
        """What the owner key holds."""
        return f"{self.fence}:{self.worker}"


class Ownership:
    """The lease calls of one worker. Every method raises StateUnavailable when the server is away.

    Args:
        client: of the state server.
        worker: its id; leases carry it.
        lease_ms: of a lease and of the registration.
        rejected: says with each beat whose policy is not in force here, as `Control.rejected` does. The registry then
            has "<worker>|<rejected>"; that of a worker without trouble is the id alone, as in earlier versions.
    """

    def __init__(self, client: Client, worker: str, lease_ms: int, rejected: Callable[[], str] | None = None) -> None:
        self._client = client
        self.worker = worker
        self.lease_ms = lease_ms
        self._rejected = rejected
        self._member = worker

    async def beat(self) -> int:
        """Registers this worker for one lease time; returns how many workers live."""
        rejected = self._rejected() if self._rejected is not None else ""
        member = f"{self.worker}|{rejected}" if rejected else self.worker
        replaced = self._member if self._member != member else ""
        with reachable("worker registry"):
            asked: list[str | int | bytes] = ["beat", member, self.lease_ms, MAX_WORKERS, replaced]
            live = int(await run_script(self._client, "workers", [WORKERS], asked))
        self._member = member
        return live

    async def leave(self) -> None:
        """Takes this worker out of the registry, so that the others take its share at once."""
        with reachable("worker registry"):
            await run_script(self._client, "workers", [WORKERS], ["leave", self._member, self.lease_ms, MAX_WORKERS])

    async def unowned(self, partitions: Sequence[int]) -> list[int]:
        """Those of `partitions` that nobody else owns now, in the same order."""
        with reachable("leases"):
            pipe = self._client.pipeline(transaction=False)
            for partition in partitions:
                pipe.get(PartitionKeys(partition).owner)
            owners = await pipe.execute()
        # One that carries our own name was ours before a restart; `acquire` gives it back.
        ours = self.worker.encode()
        return [
            partition
            for partition, owner in zip(partitions, owners, strict=True)
            if owner is None or owner.partition(b":")[2] == ours
        ]

    async def acquire(self, partition: int) -> Lease | None:
        """Takes the partition under a new fence, or None when another worker owns it."""
        names = PartitionKeys(partition)
        with reachable("leases"):
            keys = [names.owner, names.fence]
            fence = int(await run_script(self._client, "lease", keys, ["acquire", self.worker, self.lease_ms]))
        return Lease(partition, self.worker, fence) if fence else None

    async def renew(self, lease: Lease) -> bool:
        """Extends the lease by one lease time; false when it is no longer ours."""
        return await self._if_ours("renew", lease)

    async def release(self, lease: Lease) -> bool:
        """Gives the partition up; false when it was no longer ours."""
        return await self._if_ours("release", lease)

    async def _if_ours(self, what: str, lease: Lease) -> bool:
        names = PartitionKeys(lease.partition)
        with reachable("leases"):
            keys = [names.owner, names.fence]
            return bool(await run_script(self._client, "lease", keys, [what, lease.value, self.lease_ms]))
