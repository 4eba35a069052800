"""How far peers' collections were read, who reads them, and what members were answered when they sent something."""

from __future__ import annotations

from typing import Any

import msgspec

from app.state.calls import Client, reachable, run_script
from app.state.intel_keys import INTEL_POLLER, INTEL_POLLS, intel_statuses

MAX_POLLS = 1_000
"""Collections of peers whose place is remembered."""

POLL_TTL_SEC = 90 * 86_400
"""After so long without any poll everything is read again; whoever takes the objects bears that."""

MAX_STATUSES = 20
"""Of one member; the oldest is forgotten first. One about 1,000 objects has some 200 kB."""

STATUS_TTL_SEC = 86_400


class Poll(msgspec.Struct, frozen=True):
    """How far one collection was read.

    Attributes:
        added_after: where to go on: the peer's own date of the last object that was taken, as it wrote it; "" at first.
        at_us: when it was last polled, unix µs.
        objects: taken over until now.
        dropped: not taken over until now: too large, or no objects.
        fault: "", or what went wrong at the last poll.
        etag: of a feed that was taken whole, as its server wrote it; "" otherwise.
        good_us: when the peer was last read without any fault, unix µs; 0: never. Of the peer's own entry alone.
    """

    added_after: str = ""
    at_us: int = 0
    objects: int = 0
    dropped: int = 0
    fault: str = ""
    etag: str = ""
    good_us: int = 0


_decode = msgspec.json.Decoder(Poll).decode
_encode = msgspec.json.Encoder().encode


class Polls:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, peer: str, collection: str) -> Poll:
        """How far it was read; nothing where it never was."""
        with reachable("polls"):
            data: Any = await self._client.hget(INTEL_POLLS, f"{peer} {collection}")
        return Poll() if data is None else _decode(data)

    async def put(self, peer: str, collection: str, poll: Poll) -> None:
        """So far it was read now."""
        field = f"{peer} {collection}"
        with reachable("polls"):
            known: Any = await self._client.hexists(INTEL_POLLS, field)
            if known or int(await self._client.hlen(INTEL_POLLS)) < MAX_POLLS:
                pipe = self._client.pipeline(transaction=False)
                pipe.hset(INTEL_POLLS, field, _encode(poll))
                pipe.expire(INTEL_POLLS, POLL_TTL_SEC)
                await pipe.execute()

    async def all(self) -> dict[tuple[str, str], Poll]:
        """(peer, collection) → how far."""
        with reachable("polls"):
            stored: Any = await self._client.hgetall(INTEL_POLLS)
        found = {}
        for name, data in stored.items():
            peer, _, collection = name.decode().partition(" ")
            found[peer, collection] = _decode(data)
        return found

    async def lease(self, owner: str, lease_ms: int) -> bool:
        """Whether this process is the one that polls, for so long."""
        with reachable("polls"):
            if await self._client.set(INTEL_POLLER, owner, nx=True, px=lease_ms):
                return True
            found: Any = await self._client.get(INTEL_POLLER)
            if found != owner.encode():
                return False
            return bool(await self._client.pexpire(INTEL_POLLER, lease_ms))


class Statuses:
    """What members were answered. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def keep(self, group: str, member: str, status_id: str, status: bytes) -> None:
        """Keeps a status for a day, among the member's newest MAX_STATUSES."""
        with reachable("statuses"):
            names = list(intel_statuses(group, member))
            await run_script(self._client, "intel_status", names, [status_id, status, MAX_STATUSES, STATUS_TTL_SEC])

    async def get(self, group: str, member: str, status_id: str) -> bytes | None:
        """One status of this member; None where there is none."""
        with reachable("statuses"):
            found: Any = await self._client.hget(intel_statuses(group, member)[0], status_id)
        return None if found is None else bytes(found)
