"""How much waits in the streams of several partitions, in one pipelined round trip to each node.

Partitions whose node of a Cluster is away are left out, so that the others are worked on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from app.errors import StateUnavailable
from app.state.calls import Client, reachable
from app.state.keys import PartitionKeys


class Queues:
    """Stream lengths and ages. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def waiting(self, partitions: Sequence[int]) -> dict[int, int]:
        """Partition → entries waiting, where any are. Applied entries are trimmed, so the length is the lag."""
        lengths = await self._each(partitions, lambda pipe, name: pipe.xlen(name))
        return {partition: length for partition, length in lengths.items() if length}

    async def oldest_sec(self, partitions: Sequence[int]) -> float:
        """Age of the oldest waiting entry by the server's clock; 0.0 when none waits."""
        oldest = await self._each(partitions, lambda pipe, name: pipe.xrange(name, count=1))
        born = [int(found[0][0].partition(b"-")[0]) for found in oldest.values() if found]
        if not born:
            return 0.0
        with reachable("event streams"):
            seconds, micros = await self._client.time()
        return max(0.0, seconds + micros / 1e6 - min(born) / 1e3)

    async def _each(self, partitions: Sequence[int], add: Callable[[Any, str], object]) -> dict[int, Any]:
        """Partition → reply to the command that `add` puts into a pipeline about its stream, where its node answers."""
        if not partitions:
            return {}
        split = getattr(self._client, "by_node", None)
        with reachable("event streams"):
            groups = [list(partitions)] if split is None else await split(partitions)

        async def ask(group: list[int]) -> dict[int, Any]:
            with reachable("event streams"):
                pipe = self._client.pipeline(transaction=False)
                for partition in group:
                    add(pipe, PartitionKeys(partition).stream)
                return dict(zip(group, await pipe.execute(), strict=True))

        found: dict[int, Any] = {}
        away: StateUnavailable | None = None
        for answer in await asyncio.gather(*map(ask, groups), return_exceptions=True):
            if isinstance(answer, StateUnavailable):
                away = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.update(answer)
        if away is not None and not found:
            raise away
        return found
