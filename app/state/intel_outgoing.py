"""What waits to be sent to peers: one queue for each, bounded in number and time, in the order in which it was put."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.state.calls import Client, reachable
from app.state.intel_keys import intel_outgoing

MAX_WAITING = 5_000
"""Objects for one peer. Beyond it nothing more is put."""

KEPT_SEC = 7 * 86_400
"""How long the last object waits before all of them are forgotten: by then the peer has been away for a week."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One object.

    Attributes:
        entry_id: place in the queue.
        data: the object, JSON.
        refused: how often the peer has refused it.
    """

    entry_id: str
    data: bytes
    refused: int


class Outgoing:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, most: int = MAX_WAITING) -> None:
        self._client = client
        self._most = most

    async def put(self, peer: str, objects: Sequence[bytes], refused: int = 0) -> bool:
        """Puts objects behind those that wait, all or none: False where there is no room for them."""
        if not objects:
            return True
        name = intel_outgoing(peer)
        with reachable("outgoing objects"):
            if int(await self._client.xlen(name)) + len(objects) > self._most:
                return False
            pipe = self._client.pipeline(transaction=True)
            for data in objects:
                pipe.xadd(name, {"o": data, "n": refused})
            pipe.expire(name, KEPT_SEC)
            await pipe.execute()
        return True

    async def read(self, peer: str, count: int) -> list[Waiting]:
        """The oldest."""
        with reachable("outgoing objects"):
            found: Any = await self._client.xrange(intel_outgoing(peer), count=count)
        return [Waiting(name.decode(), fields[b"o"], int(fields[b"n"])) for name, fields in found]

    async def done(self, peer: str, waiting: Sequence[Waiting]) -> None:
        """Forgets these."""
        if waiting:
            with reachable("outgoing objects"):
                await self._client.xdel(intel_outgoing(peer), *(one.entry_id for one in waiting))

    async def oldest_us(self, peer: str) -> int | None:
        """When the first that waits was put, or put again after a refusal, unix µs; None where nothing waits."""
        first = await self.read(peer, 1)
        return int(first[0].entry_id.partition("-")[0]) * 1000 if first else None

    async def count(self, peer: str) -> int:
        """How many wait."""
        with reachable("outgoing objects"):
            return int(await self._client.xlen(intel_outgoing(peer)))
