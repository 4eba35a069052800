"""Applied events without text, waiting in {p}:row until they are in an archive file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.errors import LeaseLost
from app.state.calls import Client, reachable, run_script
from app.state.keys import PartitionKeys
from app.state.ownership import Lease
from app.state.partition import next_id


@dataclass(frozen=True, slots=True)
class RowPlan:
    """The range of one archive file: ids of its first and last row. Once planned it never changes."""

    first: str
    last: str

    def __str__(self) -> str:
        return f"{self.first} {self.last}"


class RowStore:
    """The archive side of one leased partition. Methods raise StateUnavailable when the server is away.

    Those that write raise LeaseLost when another worker has owned the partition since.
    """

    def __init__(self, client: Client, lease: Lease) -> None:
        self._client = client
        self.lease = lease
        self._names = PartitionKeys(lease.partition)

    async def waiting(self) -> tuple[int, float]:
        """How many rows wait, and for how many seconds the oldest has by the server's clock."""
        with reachable("archive rows"):
            pipe = self._client.pipeline(transaction=False)
            pipe.xlen(self._names.rows)
            pipe.xrange(self._names.rows, count=1)
            length, oldest = await pipe.execute()
            if not length or not oldest:
                return 0, 0.0
            seconds, micros = await self._client.time()
        return int(length), max(0.0, seconds + micros / 1e6 - int(oldest[0][0].partition(b"-")[0]) / 1e3)

    async def read(self, first: str, last: str, count: int) -> list[tuple[str, bytes]]:
        """At most `count` rows from `first` to `last`, both inclusive ("-" and "+" are the ends)."""
        with reachable("archive rows"):
            found: Any = await self._client.xrange(self._names.rows, min=first, max=last, count=count)
        return [(entry_id.decode(), fields[b"r"]) for entry_id, fields in found]

    async def pending(self) -> RowPlan | None:
        """The plan an interrupted writer left."""
        with reachable("archive rows"):
            value: Any = await self._client.get(self._names.plan)
        return _plan(value) if value else None

    async def plan(self, first: str, last: str) -> RowPlan:
        """Fixes the range of the next file; returns the range in force, which may be an older one."""
        value = await self._guarded(["plan", str(RowPlan(first, last))])
        assert isinstance(value, bytes)
        return _plan(value)

    async def finish(self, last: str, done: RowPlan | None) -> None:
        """Drops rows up to `last`, and the plan that is done: they are in a file that survives a crash."""
        await self._guarded(["finish", next_id(last), str(done) if done else ""])

    async def _guarded(self, args: list[str]) -> object:
        names = self._names
        with reachable("archive rows"):
            keys = [names.fence, names.rows, names.plan]
            answer = await run_script(self._client, "archive", keys, [self.lease.fence, *args])
        if answer == -1:
            raise LeaseLost(f"partition {self.lease.partition}: another worker owns it now")
        return answer


def _plan(value: bytes) -> RowPlan:
    first, _, last = value.decode().partition(" ")
    return RowPlan(first, last)
