"""Orders about many keys: proposals that wait for a second person, and how far one that is carried out has come.

The keys are fixed when it is proposed and stored packed, 16 bytes each. Every change of status is one script that names the
status before, so two approvers cannot both win; whoever carries one out holds a lease, so a crash is taken up by another
process and two never work on the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.errors import BadInput
from app.state.calls import Client, reachable, run_script
from app.state.keys import BULKS, BULKS_RUNNING, bulk, bulk_keys

MAX_BULKS = 2_000
"""Records at a time; at most 800 kB each."""

LEASE_MS = 15_000
"""Whoever carries an order out says so after every slice; after so long without a word another may go on."""

_ID_BYTES = 16


class Terms(msgspec.Struct, frozen=True):
    """What was asked for, and by whom. Times are unix µs.

    Attributes:
        subjects: as asked for: {"match": …}, {"org_id": …}, or {"keys": how many}.
        keys: how many it is about.
        since_us: when it was proposed.
        expires_us: until when it can be approved.
        second: another person must approve it.
    """

    id: str
    subjects: dict[str, Any]
    action: str
    factor: float
    requests_per_min: float | None
    ttl_sec: int
    reason_code: str
    reason: str
    token_id: str
    by: str
    keys: int
    since_us: int
    expires_us: int
    second: bool


class Bulk(msgspec.Struct, frozen=True):
    """An order about many keys as it is stored.

    Attributes:
        status: proposed, refused, applying, done, undoing or undone.
        done: keys that were gone through; skipped: those of them about which nothing was done.
        decided_us, decided_by, decision: the second person, or who undid it; 0 and "" before.
        start_us: when it began to be carried out: every order of it has this time.
    """

    terms: Terms
    status: str
    done: int = 0
    skipped: int = 0
    decided_us: int = 0
    decided_by: str = ""
    decision: str = ""
    start_us: int = 0


_terms = msgspec.json.Decoder(Terms).decode


class BulkStore:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, found: Bulk, key_ids: Sequence[str], life_ms: int) -> None:
        """Store a new one.

        Raises:
            BadInput: there are too many already.
        """
        packed = b"".join(bytes.fromhex(key_id) for key_id in key_ids)
        fields = {**_fields(found), "terms": msgspec.json.encode(found.terms)}
        if await self._run(found.terms.id, "create", life_ms, [MAX_BULKS, packed], fields) != 1:
            raise BadInput(f"there are {MAX_BULKS:,} bulk orders already; wait until some have ended")

    async def get(self, bulk_id: str) -> Bulk | None:
        """One; None when there is none, or its record has ended."""
        with reachable("bulk orders"):
            found: Any = await self._client.hgetall(bulk(bulk_id))
        return _bulk(found)

    async def newest(self, count: int) -> list[Bulk]:
        """The newest so many."""
        with reachable("bulk orders"):
            names: Any = await self._client.zrange(BULKS, 0, -1)
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(bulk(name.decode()))
            answers = await pipe.execute() if names else []
        found = [one for answer in answers if (one := _bulk(answer)) is not None]
        return sorted(found, key=lambda one: one.terms.since_us, reverse=True)[:count]

    async def running(self) -> list[str]:
        """Ids of those that are being carried out, or wait for it."""
        with reachable("bulk orders"):
            found: Any = await self._client.smembers(BULKS_RUNNING)
        return sorted(name.decode() for name in found)

    async def members(self, bulk_id: str, first: int = 0, count: int | None = None) -> list[str]:
        """Its key ids in order, from the `first` on."""
        last = -1 if count is None else (first + count) * _ID_BYTES - 1
        with reachable("bulk orders"):
            data: Any = await self._client.getrange(bulk_keys(bulk_id), first * _ID_BYTES, last)
        return [data[at : at + _ID_BYTES].hex() for at in range(0, len(data), _ID_BYTES)]

    async def move(self, found: Bulk, was: str, life_ms: int) -> bool:
        """Store a new status; false when its status is not `was` any more: somebody else was faster."""
        return await self._run(found.terms.id, "move", life_ms, [was], _fields(found)) == 1

    async def take(self, bulk_id: str, who: str) -> bool:
        """Become the one who carries it out; false while another one does."""
        return await self._run(bulk_id, "take", 0, [who, LEASE_MS], {}) == 1

    async def step(self, found: Bulk, was: str, who: str, life_ms: int) -> bool:
        """Say how far it has come; false when it is in other hands, or has another status than `was`."""
        return await self._run(found.terms.id, "step", life_ms, [who, LEASE_MS, was], _fields(found)) == 1

    async def _run(
        self, bulk_id: str, what: str, life_ms: int, args: list[str | int | bytes], fields: Mapping[str, str | int | bytes]
    ) -> int:
        keys = [bulk(bulk_id), bulk_keys(bulk_id), BULKS, BULKS_RUNNING]
        flat = [part for pair in fields.items() for part in pair]
        with reachable("bulk orders"):
            return int(await run_script(self._client, "bulk", keys, [what, bulk_id, life_ms, *args, *flat]))


def _fields(found: Bulk) -> dict[str, str | int | bytes]:
    """Everything but the terms, which never change."""
    return {
        "status": found.status,
        "done": found.done,
        "skipped": found.skipped,
        "decided_us": found.decided_us,
        "decided_by": found.decided_by,
        "decision": found.decision,
        "start_us": found.start_us,
    }


def _bulk(found: Mapping[bytes, bytes]) -> Bulk | None:
    try:
        return Bulk(
            terms=_terms(found[b"terms"]),
            status=found[b"status"].decode(),
            done=int(found[b"done"]),
            skipped=int(found[b"skipped"]),
            decided_us=int(found[b"decided_us"]),
            decided_by=found[b"decided_by"].decode(),
            decision=found[b"decision"].decode(),
            start_us=int(found[b"start_us"]),
        )
    except (KeyError, ValueError, msgspec.DecodeError):  # none, or of another release
        return None
