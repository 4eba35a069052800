"""Applied exchanges that wait for the archive, newest first, for people who look at one key."""

from __future__ import annotations

from typing import Any

from app.state.calls import Client, reachable
from app.state.keys import PartitionKeys


class RecentRows:
    """Raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read(self, partition: int, before: str, count: int) -> list[tuple[str, bytes]]:
        """At most `count` (stream id, encoded row) with ids below `before` ("" for the newest), newest first."""
        with reachable("archive rows"):
            high = f"({before}" if before else "+"
            found: Any = await self._client.xrevrange(PartitionKeys(partition).rows, max=high, min="-", count=count)
        return [(entry_id.decode(), fields[b"r"]) for entry_id, fields in found]
