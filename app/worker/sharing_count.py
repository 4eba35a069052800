"""What is common among the settled customers of the partitions that a worker owns, see `detectors.sharing.common`.

It is counted in rounds over all partitions: when there are indicators of which it is not known yet, and every COUNT_SEC,
for the fleet changes. Until a round has ended nothing follows by itself from indicators that came meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from app.state.calls import Client
from app.state.intel_common import CommonHere
from app.telemetry import metrics
from detectors.sharing.common import Fleet

COUNT_SEC = 6 * 3600.0
"""After the end of a round; well within the time for which what it found is kept in state."""


class Counting:
    """Over one worker's partitions.

    Args:
        client: of the state server.

    Attributes:
        common: places of the indicators that are not looked for.
        unsure: places of those that were not counted yet.
    """

    def __init__(self, client: Client) -> None:
        self._store = CommonHere(client)
        self.common: frozenset[str] = frozenset()
        self.unsure: frozenset[str] = frozenset()
        self._names: frozenset[str] = frozenset()  # that are looked for
        self._counted: frozenset[str] = frozenset()  # in the last round that has ended
        self._fleet: Fleet | None = None  # of the round that goes on
        self._asked: frozenset[str] = frozenset()  # in that round
        self._done: set[int] = set()  # partitions of that round, or of the last one
        self._ended = float("-inf")

    async def look_for(self, names: frozenset[str], now_us: int) -> None:
        """What is looked for now.

        Args:
            names: place of each indicator, a space, and what tells its content apart.
            now_us: the present moment.

        Raises:
            StateUnavailable: the server is away.
        """
        if not self._names:  # as other workers, or this one before it was started again, have found it
            self.common = await self._store.all(now_us)
        self._names = names
        self._tell()

    def due(self, owned: Collection[int]) -> set[int]:
        """Partitions that are still to be counted; begins a round where it is time for one."""
        if self._fleet is None:
            late = time.monotonic() - self._ended >= COUNT_SEC
            if self._names <= self._counted and self._done.issuperset(owned) and not late:
                return set()
            self._fleet, self._asked, self._done = Fleet(), self._names, set()
        return set(owned) - self._done

    def add(self, partition: int, counted: tuple[int, dict[str, int]]) -> None:
        """A partition was counted, by `detectors.sharing.common.Tally`."""
        if self._fleet is not None and partition not in self._done:
            self._fleet.add(*counted)
            self._done.add(partition)

    async def ended(self, owned: Collection[int], now_us: int) -> bool:
        """Whether the round is over now, so that hits are to be looked at again.

        Args:
            owned: partitions of this worker.
            now_us: the present moment.

        Raises:
            StateUnavailable: the server is away; the round goes on.
        """
        if self._fleet is None or not self._done.issuperset(owned):
            return False
        if self._fleet.enough:
            found = self._fleet.common()
            await self._store.put(found, now_us)
            await self._store.drop(self.common - found)
        else:  # a worker that has just got its first partition, or a small one, goes by what others have counted
            found = await self._store.all(now_us)
        self._fleet, self._counted, self._ended = None, self._asked, time.monotonic()
        self.common = found
        self._tell()
        return True

    def _tell(self) -> None:
        self.unsure = frozenset(name.rpartition(" ")[0] for name in self._names - self._counted)
        metrics.SHARED_COMMON.set(len(self.common))
