"""What others have sent and nobody has dealt with yet: one queue for each sender, bounded in number, bytes and time.

This is the seam between transport and meaning. Whoever takes objects in (the TAXII server, the poller of peers, an import
of a file) calls `received`; whoever gives them a meaning (trust, decay, matching) asks `sources`, takes turns over them
with `read`, and says `done` when what it made of them is safe.

The contract:

- An object is a JSON object as it came: with an id and a type of the right form, within bounds of size and depth, and
  nothing else was looked at. It may lie about its author, its version and its date.
- `group` and `member` are what the sender proved by its credential, and are the only truth about who reports it.
- Objects of one sender come in the order in which they were received. Between senders there is no order: a sender with a
  full queue does not hold up another.
- An object may come again: after a crash between `read` and `done`, when a sender repeats itself, from several senders.
  Whatever is made of it must bear that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.state.calls import Client, reachable, run_script
from app.state.intel_keys import INTEL_DIGESTER, INTEL_WAITING, intel_received

MAX_WAITING = 20_000
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Objects of one sender that wait, and their bytes. Beyond it nothing more is taken from that sender."""

KEPT_SEC = 7 * 86_400
"""How long an object waits before it is forgotten: by then whoever takes them has been down for a week."""

_SLICE = 200


@dataclass(frozen=True, slots=True)
class Source:
    """A sender of whom objects wait.

    Attributes:
        group: trust group.
        member: its name in the group; "@" and a token's id for a person of our own.
        objects: how many wait.
        size_bytes: of them.
    """

    group: str
    member: str
    objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Received:
    """One object that was sent.

    Attributes:
        entry_id: place in the sender's queue.
        received_us: when it came, unix µs.
        data: the object, JSON.
    """

    entry_id: str
    received_us: int
    data: bytes


class ReceivedQueue:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away.

    Args:
        client: of the state server.
        most: objects of one sender that may wait.
        most_bytes: of them.
    """

    def __init__(self, client: Client, most: int = MAX_WAITING, most_bytes: int = MAX_WAITING_BYTES) -> None:
        self._client = client
        self._most = most
        self._most_bytes = most_bytes

    async def received(self, group: str, member: str, objects: Sequence[bytes]) -> int:
        """Queues what a sender has sent; how many were taken, from the first on. The rest does not fit now.

        After an error some may have been taken: sending all of them again is right.
        """
        taken = 0
        names = [intel_received(group, member), INTEL_WAITING]
        while taken < len(objects):
            part = objects[taken : taken + _SLICE]
            now_us = time.time_ns() // 1000
            args: list[str | int | bytes] = [f"{group} {member}", self._most, self._most_bytes, KEPT_SEC, now_us, *part]
            with reachable("received objects"):
                fitted = int(await run_script(self._client, "intel_receive", names, args))
            taken += fitted
            if fitted < len(part):
                break
        return taken

    async def sources(self) -> list[Source]:
        """Senders of whom objects wait, by group and member."""
        with reachable("received objects"):
            stored: Any = await self._client.hgetall(INTEL_WAITING)
        found = []
        for name, counted in stored.items():
            group, member = name.decode().split(" ", 1)
            objects, size = counted.decode().split(" ", 1)
            found.append(Source(group, member, int(objects), int(size)))
        return sorted(found, key=lambda source: (source.group, source.member))

    async def oldest_us(self) -> int | None:
        """When the object that waits longest was received, unix µs; None where nothing waits."""
        firsts = [await self.read(source.group, source.member, 1) for source in await self.sources()]
        return min((first[0].received_us for first in firsts if first), default=None)

    async def read(self, group: str, member: str, count: int = 500) -> list[Received]:
        """The oldest objects of a sender that are not done, at most 1,000."""
        with reachable("received objects"):
            found: Any = await self._client.xrange(intel_received(group, member), count=min(count, 1000))
        if not found:
            await self.done(group, member, "0-0")  # what waited too long is forgotten; then so is that it waits
        return [Received(name.decode(), int(fields[b"t"]), fields[b"o"]) for name, fields in found]

    async def done(self, group: str, member: str, entry_id: str) -> None:
        """Forgets the objects of a sender up to this one."""
        names = [intel_received(group, member), INTEL_WAITING]
        dropped = 1000
        while dropped == 1000:
            with reachable("received objects"):
                dropped = int(await run_script(self._client, "intel_taken", names, [f"{group} {member}", entry_id]))

    async def lease(self, owner: str, lease_ms: int) -> bool:
        """Whether this process is the one that takes them, for so long."""
        with reachable("received objects"):
            if await self._client.set(INTEL_DIGESTER, owner, nx=True, px=lease_ms):
                return True
            found: Any = await self._client.get(INTEL_DIGESTER)
            return found == owner.encode() and bool(await self._client.pexpire(INTEL_DIGESTER, lease_ms))
