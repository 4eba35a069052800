"""Received indicators that are common here, as workers have counted them: shown to people, and to workers that begin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.state.calls import Client, reachable
from app.state.intel_keys import INTEL_COMMON

MOST_COMMON = 50_000
"""That are remembered; the ones that were counted longest ago go first."""

KEPT_SEC = 86_400
"""After the last worker that has found an indicator common."""

_SLICE = 500


class CommonHere:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def put(self, names: Iterable[str], now_us: int) -> None:
        """Says of indicators that they are common.

        Args:
            names: `app.state.intel_indicators.place` of each.
            now_us: when they were counted.
        """
        rows, now = list(names), now_us // 1_000_000
        for first in range(0, len(rows), _SLICE):
            with reachable("hits"):
                pipe = self._client.pipeline(transaction=True)
                pipe.zadd(INTEL_COMMON, dict.fromkeys(rows[first : first + _SLICE], now))
                pipe.zremrangebyscore(INTEL_COMMON, "-inf", now - KEPT_SEC)
                pipe.zremrangebyrank(INTEL_COMMON, 0, -MOST_COMMON - 1)
                pipe.expire(INTEL_COMMON, KEPT_SEC)
                await pipe.execute()

    async def drop(self, names: Iterable[str]) -> None:
        """Says of indicators that they are not common any more; another worker that finds them so says so again."""
        rows = list(names)
        for first in range(0, len(rows), _SLICE):
            with reachable("hits"):
                await self._client.zrem(INTEL_COMMON, *rows[first : first + _SLICE])

    async def all(self, now_us: int) -> frozenset[str]:
        """Names of all."""
        with reachable("hits"):
            found: Any = await self._client.zrangebyscore(INTEL_COMMON, now_us // 1_000_000 - KEPT_SEC, "+inf")
        return frozenset(name.decode() for name in found)

    async def of(self, names: Sequence[str], now_us: int) -> frozenset[str]:
        """Those of the names that are common."""
        found: set[str] = set()
        for first in range(0, len(names), _SLICE):
            part = list(names[first : first + _SLICE])
            with reachable("hits"):
                scores: Any = await self._client.zmscore(INTEL_COMMON, part)
            least = now_us // 1_000_000 - KEPT_SEC
            found |= {name for name, score in zip(part, scores, strict=True) if score is not None and score >= least}
        return frozenset(found)
