"""How full the state's memory is. Nothing is evicted (`deploy/valkey/valkey.conf`), so a full server refuses writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from app.state.calls import Client, reachable
from app.state.cluster_client import ClusterClient


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one server.

    Attributes:
        used: bytes that count against the limit; buffers for replicas and for the append-only file do not.
        limit: maxmemory in bytes; 0 for none.
    """

    used: int
    limit: int

    @property
    def fullness(self) -> tuple[float, int]:
        """Orders servers: the share of the limit that is used, and where there is none the bytes."""
        return self.used / self.limit if self.limit else 0.0, self.used


async def fullest(client: Client) -> Memory | None:
    """Of the server, or of the fullest master of a Cluster among those that answer; None where none tells.

    Raises:
        StateUnavailable: the server is away, or of a Cluster every node that could tell of the others.
    """
    if not isinstance(client, ClusterClient):
        with reachable("memory of the state server"):
            try:
                return _read(await client.info("memory"))
            except ResponseError:
                return None  # some managed servers allow no INFO
    with reachable("memory of the state's Cluster"):
        told = [_read(each) for each in await client.ask_masters("INFO", "memory")]
    return max((each for each in told if each is not None), key=lambda each: each.fullness, default=None)


def _read(told: Any) -> Memory | None:
    try:
        used = int(told["used_memory"]) - int(told.get("mem_not_counted_for_evict", 0))
        return Memory(max(0, used), int(told.get("maxmemory", 0)))
    except (KeyError, ValueError, TypeError):
        return None
