"""Erasure of a key: asked for once, done by the workers, each for the partitions it owns.

Only the owner of a partition can do it: it holds profiles in memory and would write one back that somebody else deleted. So
a request is an entry in a list, and every partition's owner notes beside it what it erased. The list also tells consumers
which events not to count, should one from before the request still come, say out of a spool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import LeaseLost
from app.state.calls import Client, reachable, run_script
from app.state.flags import read_flag
from app.state.holdings import Holdings
from app.state.keys import ERASURE_TTL_SEC, ERASURES, PartitionKeys, erasure
from app.state.ownership import Lease

MAX_ERASURES = 10_000
"""Erasures that may be remembered at a time; each costs every worker a comparison per batch."""

_ASKED = b"at"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One request and how far it is.

    Attributes:
        key_id: whose data is erased.
        asked_us: when it was asked for, unix µs: what was done until then is erased.
        done: partition → (names deleted, waiting rows deleted, archived rows deleted).
        partitions: how many have to be done.
    """

    key_id: str
    asked_us: int
    done: Mapping[int, tuple[int, int, int]]
    partitions: int

    @property
    def complete(self) -> bool:
        """Nothing of the key from before the request is left."""
        return len(self.done) >= self.partitions


class Erasures:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away.

    Attributes:
        holdings: what there is to erase.
    """

    def __init__(self, client: Client, partitions: int) -> None:
        self._client = client
        self._partitions = partitions
        self.holdings = Holdings(client, partitions)

    async def ask(self, key_id: str, at_us: int) -> bool:
        """Asks for the erasure of everything until `at_us`; a later request replaces an earlier one.

        Returns:
            False when MAX_ERASURES are remembered already; nothing was asked for then.
        """
        whole_ms = -(-at_us // 1000) * 1000  # the list has milliseconds
        with reachable("erasures"):
            keys = [ERASURES, erasure(key_id)]
            return bool(await run_script(self._client, "erasures", keys, [key_id, whole_ms, ERASURE_TTL_SEC, MAX_ERASURES]))

    async def asked(self) -> dict[str, int]:
        """Key id → unix µs until which its data is erased, for as long as requests are remembered."""
        with reachable("erasures"):
            found: Any = await self._client.zrange(ERASURES, 0, -1, withscores=True)
        return {name.decode(): int(at_ms) * 1000 for name, at_ms in found}

    async def get(self, key_id: str) -> Erasure | None:
        """One request; None where there is none, or it is forgotten after ERASURE_TTL_SEC."""
        with reachable("erasures"):
            found: Any = await self._client.hgetall(erasure(key_id))
        if _ASKED not in found:
            return None
        done = {int(name): _counts(value) for name, value in found.items() if name != _ASKED}
        return Erasure(key_id, int(found[_ASKED]), done, self._partitions)

    async def note(self, asked: Erasure, partition: int, names: int, waiting: int, archived: int) -> None:
        """The owner of a partition has erased there what there was."""
        with reachable("erasures"):
            pipe = self._client.pipeline(transaction=False)
            pipe.hset(erasure(asked.key_id), str(partition), f"{names} {waiting} {archived}")
            pipe.expire(erasure(asked.key_id), ERASURE_TTL_SEC)
            await pipe.execute()


class PartitionErasure:
    """What is erased in the state of one leased partition."""

    def __init__(self, client: Client, lease: Lease) -> None:
        self._client = client
        self._lease = lease
        self._names = PartitionKeys(lease.partition)

    async def names(self, key_id: str) -> int:
        """Deletes everything that carries the key's id in its name, and its places in the indexes; returns how many names.

        Raises:
            LeaseLost: another worker has owned the partition since this lease. Nothing was deleted.
        """
        names = self._names
        with reachable("erasure"):
            stored: Any = await self._client.lrange(names.flags(key_id), 0, -1)
            flags = (flag for data in stored if (flag := read_flag(data)) is not None)
            references = {names.reference(flag.ref) for flag in flags}
            hashes = [*names.all_ballots(), names.traces]
            keys = [names.fence, names.seen, names.flagged, *hashes, *names.of_key(key_id), *sorted(references)]
            found = int(await run_script(self._client, "erase", keys, [self._lease.fence, key_id, len(hashes)]))
        if found < 0:
            raise LeaseLost(f"partition {self._lease.partition}: another worker owns it now, nothing was erased")
        return found

    async def drop_rows(self, ids: list[str]) -> int:
        """Takes rows that wait for the archive out of the stream."""
        if not ids:
            return 0
        with reachable("erasure"):
            return int(await self._client.xdel(self._names.rows, *ids))


def _counts(value: bytes) -> tuple[int, int, int]:
    names, waiting, archived = value.decode().split(" ")
    return int(names), int(waiting), int(archived)
