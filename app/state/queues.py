"""How much waits in the streams of several partitions, in one pipelined round trip."""

from __future__ import annotations

from collections.abc import Sequence

from app.state.calls import Client, reachable
from app.state.keys import PartitionKeys


class Queues:
    """Stream lengths and ages. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def waiting(self, partitions: Sequence[int]) -> dict[int, int]:
        """Partition → entries waiting, where any are. Applied entries are trimmed, so the length is the lag."""
        if not partitions:
            return {}
        with reachable("event streams"):
            pipe = self._client.pipeline(transaction=False)
            for partition in partitions:
                pipe.xlen(PartitionKeys(partition).stream)
            lengths = await pipe.execute()
        return {partition: length for partition, length in zip(partitions, lengths, strict=True) if length}

    async def oldest_sec(self, partitions: Sequence[int]) -> float:
        """Age of the oldest waiting entry by the server's clock; 0.0 when none waits."""
        if not partitions:
            return 0.0
        with reachable("event streams"):
            pipe = self._client.pipeline(transaction=False)
            for partition in partitions:
                pipe.xrange(PartitionKeys(partition).stream, count=1)
            oldest = await pipe.execute()
            seconds, micros = await self._client.time()
        born = [int(found[0][0].partition(b"-")[0]) for found in oldest if found]
        return max(0.0, seconds + micros / 1e6 - min(born) / 1e3) if born else 0.0
