"""Traces of keys, for the linker: a log per partition of what it has not taken yet, and a hash of what it has.

Every commit appends the traces of its batch to the log (`app.state.partition`). A pass of the linker leaves what it knew in
the hash, the newest of each key: so another linker goes on from there, and knows at its next pass what this one had known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.state.calls import Client, reachable, run_script
from app.state.keys import PROFILE_TTL_SEC, PartitionKeys, partition_of

PAGE = 500
"""Traces read or settled in one call: half a megabyte, a few ms of the server's."""


class Logged(NamedTuple):
    """A trace in the log.

    Attributes:
        id: of its entry.
        due_us: end of the first pass that is to know it.
        key_id: whose it is.
        data: the encoded trace.
    """

    id: str
    due_us: int
    key_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the partitions are.

    Attributes:
        fleet_us: event time that the furthest one has come to; 0 before anything.
        behind_us: event time that the last of those has come to in which exchanges wait; None where none waits.
    """

    fleet_us: int
    behind_us: int | None


class TraceStore:
    """Over all partitions. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, partitions: int) -> None:
        self._client = client
        self._parts = [PartitionKeys(number) for number in range(partitions)]

    async def reached(self) -> Reached:
        """How far the fleet is; what was appended before the fleet came to `fleet_us` is applied or counts as waiting."""
        with reachable("traces"):
            pipe = self._client.pipeline(transaction=False)
            for part in self._parts:
                pipe.hget(part.traces, "")
            fleet = [int(value or 0) for value in await pipe.execute()]
            # After that, and in this order: a commit moves both at once, and what came meanwhile is seen as waiting.
            pipe = self._client.pipeline(transaction=False)
            for part in self._parts:
                pipe.xlen(part.stream)
                pipe.hget(part.traces, "")
            flat = await pipe.execute()
        behind = [int(value or 0) for waiting, value in zip(flat[::2], flat[1::2], strict=True) if waiting]
        return Reached(max(fleet), min(behind, default=None))

    async def log(self, partition: int, after: str) -> list[Logged]:
        """At most PAGE traces of a log behind an entry, in order; after "" from its beginning."""
        with reachable("traces"):
            start = f"({after}" if after else "-"
            found: Any = await self._client.xrange(self._parts[partition].tracelog, min=start, max="+", count=PAGE)
        return [
            Logged(entry_id.decode(), int(fields[b"b"]), fields[b"k"].decode(), fields[b"t"]) for entry_id, fields in found
        ]

    async def held(self, partition: int) -> AsyncIterator[dict[str, bytes]]:
        """What was taken, key id → trace, in chunks; a key may come twice."""
        cursor = 0
        found: Any
        while True:
            with reachable("traces"):
                cursor, found = await self._client.hscan(self._parts[partition].traces, cursor, count=PAGE)
            yield {name.decode(): data for name, data in found.items() if name}
            if not cursor:
                return

    async def of_keys(self, roots: Mapping[str, str]) -> dict[str, bytes]:
        """Key id → trace that was taken, for those that have one.

        Args:
            roots: key id → its organisation, or the key itself where it belongs to none.
        """
        places: dict[int, list[str]] = {}
        for key_id, root in roots.items():
            places.setdefault(partition_of(root, len(self._parts)), []).append(key_id)
        found: dict[str, bytes] = {}
        for number, key_ids in places.items():
            for at in range(0, len(key_ids), PAGE):
                some = key_ids[at : at + PAGE]
                with reachable("traces"):
                    answer: Any = await self._client.hmget(self._parts[number].traces, some)
                found |= {key_id: data for key_id, data in zip(some, answer, strict=True) if data is not None}
        return found

    async def sample(self, most: int) -> dict[str, bytes]:
        """Key id → trace of at most so many keys, drawn by lot: from each partition as its share of all is."""
        with reachable("traces"):
            pipe = self._client.pipeline(transaction=False)
            for part in self._parts:
                pipe.hlen(part.traces)
            sizes = [int(size) for size in await pipe.execute()]
        whole = sum(sizes)
        found: dict[str, bytes] = {}
        for part, size in zip(self._parts, sizes, strict=True):
            # A few pages are drawn one after the other: what comes twice is one key, and the lot stays fair.
            wanted = size if whole <= most else -(-most * size // whole)
            for at in range(0, wanted, PAGE):
                count = min(PAGE, wanted - at) if whole > most else wanted
                with reachable("traces"):
                    answer: Any = await self._client.hrandfield(part.traces, count, withvalues=True)
                pairs = dict(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else answer
                found |= {name.decode(): data for name, data in pairs.items() if name}
                if whole <= most:
                    break
        return found

    async def settle(self, partition: int, ids: Sequence[str], forgotten: Sequence[str] = ()) -> None:
        """Log entries that a pass knew go to the hash, ids ascending; forgotten keys leave it."""
        part = self._parts[partition]
        for at in range(0, max(len(ids), len(forgotten)), PAGE):
            some, gone = ids[at : at + PAGE], forgotten[at : at + PAGE]
            with reachable("traces"):
                args: list[str | int | bytes] = [PROFILE_TTL_SEC, len(some), *some, *gone]
                await run_script(self._client, "traces", [part.tracelog, part.traces], args)

    async def drop(self, partition: int, key_id: str) -> int:
        """Takes a key's traces out of a log, for its erasure; returns how many."""
        found, after = 0, ""
        while page := await self.log(partition, after):
            after = page[-1].id
            ids = [one.id for one in page if one.key_id == key_id]
            if ids:
                with reachable("traces"):
                    found += int(await self._client.xdel(self._parts[partition].tracelog, *ids))
        return found
