"""Holds: a person lifts what is done about a key, at once and for a time. Its level goes on being judged.

One script deletes the verdict that `decide` reads and leaves a hold beside it; while that is there, no commit of a worker
writes a verdict for the key. So the next request is free of it, and the hot path has nothing more to read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from app.state.calls import Client, reachable, run_script
from app.state.keys import PROFILE_TTL_SEC, PartitionKeys

MAX_HOURS = 720
"""A month. What should be allowed for longer belongs into the account."""


class Hold(msgspec.Struct, frozen=True):
    """Why nothing is done about a key, and until when. Times are unix µs."""

    since_us: int
    until_us: int
    reason: str


_decode = msgspec.json.Decoder(Hold).decode


def read_hold(data: bytes | None) -> Hold | None:
    """What is stored → hold; None where there is none, or it is not one of ours."""
    try:
        return None if data is None else _decode(data)
    except msgspec.DecodeError:
        return None


class Holds:
    """Sets and ends holds. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def lift(self, key_id: str, partitions: Collection[int], hold: Hold, item: dict[str, Any]) -> None:
        """Nothing is done about the key from now on until the hold ends; one that is there is replaced.

        Args:
            key_id: the key.
            partitions: where it is known, and where its next request will be decided.
            hold: since, until and why.
            item: for the key's timeline; fields as `app.worker.effects.timeline_item` writes them.
        """
        life_ms = max(1, (hold.until_us - hold.since_us) // 1000)
        for partition in partitions:
            await self._run(key_id, partition, msgspec.json.encode(hold), life_ms, item)

    async def undo(self, key_id: str, partitions: Collection[int], item: dict[str, Any]) -> bool:
        """Ends the hold: the next verdict acts again. False when there was none."""
        return any([await self._run(key_id, partition, b"", 0, item) for partition in partitions])

    async def _run(self, key_id: str, partition: int, hold: bytes, life_ms: int, item: dict[str, Any]) -> bool:
        names = PartitionKeys(partition)
        keys = [names.verdict(key_id), names.hold(key_id), names.timeline(key_id)]
        with reachable("hold"):
            args: list[str | int | bytes] = [hold, life_ms, msgspec.json.encode(item), PROFILE_TTL_SEC]
            return bool(await run_script(self._client, "lift", keys, args))
