"""The audit log: records in a chain, each digest taken over the one before it and the record's own bytes.

A record is canonical JSON (sorted names, no spaces, UTF-8). Its digest is SHA-256 over the digest before it, 32 raw bytes
or none for the first, and these bytes. A script appends a record only to the head it was chained to, so all writers of all
processes stand in one line. What is older than the retention is trimmed; the digest of the last record that went is the
anchor, from which the rest can still be verified.

The chain shows any later change to whoever knows a later digest. Who may write to the state server could make a whole new
chain; that is what heads kept elsewhere are for: each process logs the head at its start and daily.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import StateUnavailable
from app.state.calls import Client, reachable, run_script
from app.state.keys import AUDIT, AUDIT_CHAIN
from app.state.partition import next_id, parse_id

log = logging.getLogger(__name__)

ATTEMPTS = 30
"""Tries to be the next of the line. Writers of a process queue, so as many other processes would have to be faster."""

TRIMMED_AT_ONCE = 100
"""Records one append takes away at most: more than it adds, so a shortened retention is reached after a while."""

_DAY_MS = 86_400_000
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: number of its last record, and that record's digest in hex; 0 and "" for an empty one."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}-{self.digest}" if self.number else "0"


@dataclass(frozen=True, slots=True)
class Link:
    """One stored record: place in the stream, canonical bytes, digest in hex."""

    place: str
    record: bytes
    digest: str


def canonical(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record that its digest is taken over."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def chained(before: str, record: bytes) -> str:
    """Digest of a record behind the one with digest `before`, both in hex; "" before the first."""
    return hashlib.sha256(bytes.fromhex(before) + record).hexdigest()


class AuditLog:
    """Appends to and reads the chain of one deployment. Every method raises StateUnavailable when the server is away.

    Args:
        client: of the state server.
        keep_days: how long records are kept.
    """

    def __init__(self, client: Client, keep_days: int) -> None:
        self._client = client
        self._keep_ms = keep_days * _DAY_MS
        self._line = asyncio.Lock()
        self._known = Head(0, "")

    async def append(self, record: Mapping[str, Any]) -> int:
        """Chains a record to the end and returns its number, which is written into it as `number`.

        No two records may say the same; a time and a request id in them see to that.

        Raises:
            StateUnavailable: it may or may not be written; the caller must not do what it was to record.
        """
        async with self._line:
            for _ in range(ATTEMPTS):
                number = self._known.number + 1
                data = canonical({**record, "number": number})
                digest = chained(self._known.digest, data)
                args: list[str | int | bytes] = [
                    self._known.digest, digest, data, number, self._keep_ms, TRIMMED_AT_ONCE
                ]  # fmt: skip
                with reachable("audit log"):
                    done, found, end = await run_script(self._client, "audit", [AUDIT, AUDIT_CHAIN], args)
                if int(found) < self._known.number:
                    log.error("the audit log ends at record %d, and %s was there before", int(found), self._known)
                self._known = Head(int(found), end.decode())
                if done:
                    return number
                await asyncio.sleep(random.uniform(0, 0.005))
        raise StateUnavailable("audit log: too many others write at the same time")

    async def ends(self) -> tuple[Head, Head]:
        """(anchor, head): the last record that was trimmed, and the last one there is."""
        with reachable("audit log"):
            found: Any = await self._client.hmget(AUDIT_CHAIN, ["anchor_number", "anchor_digest", "number", "digest"])
        anchor_number, anchor_digest, number, digest = (value.decode() if value else "" for value in found)
        return Head(int(anchor_number or 0), anchor_digest), Head(int(number or 0), digest)

    async def head(self) -> Head:
        """The end of the chain."""
        return (await self.ends())[1]

    async def read(self, after: str = "0-0", count: int = _PAGE) -> list[Link]:
        """Records behind a place in the stream, oldest first."""
        with reachable("audit log"):
            found: Any = await self._client.xrange(AUDIT, min=next_id(after), count=count)
        return [_link(entry) for entry in found]

    async def newest(self, before: str = "", count: int = _PAGE) -> list[Link]:
        """Records in front of a place in the stream, newest first."""
        if before and parse_id(before) == (0, 0):
            return []  # the server takes that for no id
        with reachable("audit log"):
            found: Any = await self._client.xrevrange(AUDIT, max=f"({before}" if before else "+", count=count)
        return [_link(entry) for entry in found]

    async def walk(self) -> AsyncIterator[Link]:
        """All records that were there when it began or came meanwhile, oldest first, a page at a time."""
        place = "0-0"
        while page := await self.read(place):
            for link in page:
                yield link
            place = page[-1].place


def _link(entry: tuple[bytes, dict[bytes, bytes]]) -> Link:
    place, fields = entry
    return Link(place.decode(), fields.get(b"r", b""), fields.get(b"d", b"").decode("ascii", "replace"))
