"""How many keys stand at each level, by the index that the worker's commits keep."""

from __future__ import annotations

from collections.abc import Sequence

from app.state.calls import Client, reachable
from app.state.keys import PartitionKeys
from detectors.contract import Level

_FLAGGED = (Level.WATCH, Level.SUSPECT, Level.CONFIRMED)


class LevelCounts:
    """Counts of keys with a profile. Raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def count(self, partitions: Sequence[int]) -> dict[Level, int]:
        """Level → keys in these partitions, every level named. One pipelined round trip, and no walk over keys."""
        totals = dict.fromkeys(Level, 0)
        if not partitions:
            return totals
        with reachable("levels of keys"):
            pipe = self._client.pipeline(transaction=False)
            for partition in partitions:
                keys = PartitionKeys(partition)
                pipe.zcard(keys.seen)
                for level in _FLAGGED:  # a rank is twice the level, and the score in [0, 1]
                    pipe.zcount(keys.flagged, level * 2, f"({level * 2 + 2}")
            found = await pipe.execute()
        width = 1 + len(_FLAGGED)
        for at in range(0, len(found), width):
            seen, *flagged = found[at : at + width]
            totals[Level.CLEAR] += max(0, seen - sum(flagged))
            for level, number in zip(_FLAGGED, flagged, strict=True):
                totals[level] += number
        return totals
