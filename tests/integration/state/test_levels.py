"""Counts of keys by level, by the index that commits keep."""

from __future__ import annotations

import redis

from app.settings import Settings
from app.state.factory import background_client
from app.state.keys import PartitionKeys
from app.state.levels import LevelCounts
from detectors.contract import Level


async def test_keys_are_counted_by_level_over_partitions(redis_db: str) -> None:
    """Every key with a profile is counted once, as clear where no rank says otherwise; other partitions are not counted."""
    with redis.Redis.from_url(redis_db) as client:
        for partition, ranks in ((0, {"a": 2.0, "b": 4.31, "c": 5.0}), (3, {"d": 6.2, "e": 7.0}), (5, {"f": 6.9})):
            names = PartitionKeys(partition)
            client.zadd(names.flagged, ranks)
            client.zadd(names.seen, {**dict.fromkeys(ranks, 1), f"calm {partition}": 1, f"quiet {partition}": 1})
    client = background_client(redis_db, Settings())
    try:
        counts = LevelCounts(client)
        found = await counts.count([0, 1, 3])
        assert found == {Level.CLEAR: 4, Level.WATCH: 1, Level.SUSPECT: 2, Level.CONFIRMED: 2}
        assert await counts.count([]) == dict.fromkeys(Level, 0)
    finally:
        await client.aclose()
