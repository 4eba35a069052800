"""Orders about several keys: proposed, approved by a second person where they are many, carried out in slices, undone.

One process carries a bulk order out at a time; it says after every slice how far it has come. When it dies, another admin
process, or the same one after its start, goes on behind the last slice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Sequence
from typing import Any

from msgspec import structs

from app.admin.caller import Caller
from app.admin.models_orders import SECOND_PERSON_ABOVE, KeyMatch, OrderIn, Subjects
from app.admin.ordering import Ordering, Wanted, now_us
from app.admin.subjects import Finder, Subject
from app.enforcement.campaigns import excuse
from app.enforcement.policy import reference
from app.errors import BadInput, Conflict, StateUnavailable
from app.state.bulks import Bulk, BulkStore, Terms
from app.state.control import AllowEntry, ControlStore
from app.state.waiting import end
from detectors.contract import Level

log = logging.getLogger(__name__)

PROPOSAL_SEC = 86_400
"""How long a proposal can be approved: the next shift may, next week's may not, for the keys will be others."""

KEPT_SEC = 7 * 86_400
"""How long a bulk order can be looked up after the end of what it ordered."""

SLICE = 50
"""Keys between two reports of how far it has come: a fraction of a second of work."""

LOOK_SEC = 2.0
"""How often a process looks for bulk orders that nobody carries out."""

WAIT_SEC = 0.05
"""Between two looks at one that somebody else carries out."""

RUNNING = {"applying": "done", "undoing": "undone"}
"""Status while it is carried out → status then."""


class Bulks:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, store: BulkStore, control: ControlStore, finder: Finder, ordering: Ordering) -> None:
        self._store = store
        self._control = control
        self._finder = finder
        self._ordering = ordering
        self._who = secrets.token_hex(8)
        self._mine: set[str] = set()  # what this process carries out at this moment
        self._fault = ""  # why one waits, as it was told
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to carry out what is approved, also what another process left."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; what is not carried out is taken up by another process, or at the next start."""
        if self._task is not None:
            await end(self._task)

    def plan(self, asked: OrderIn, key_ids: Sequence[str], caller: Caller) -> Bulk:
        """The bulk order that this would be; nothing is stored."""
        at_us = now_us()
        subjects: dict[str, Any] = asked.subjects.model_dump(mode="json", exclude_none=True)
        second = len(key_ids) > SECOND_PERSON_ABOVE
        terms = Terms(
            id=f"bulk-{secrets.token_hex(8)}",
            subjects={"keys": len(key_ids)} if asked.subjects.keys is not None else subjects,
            action=asked.action,
            factor=asked.factor,
            requests_per_min=asked.requests_per_min,
            ttl_sec=asked.ttl_sec,
            reason_code=asked.reason_code,
            reason=asked.reason,
            token_id=caller.token_id,
            by=caller.name,
            keys=len(key_ids),
            since_us=at_us,
            expires_us=at_us + PROPOSAL_SEC * 1_000_000,
            second=second,
        )
        return Bulk(terms, "proposed") if second else Bulk(terms, "applying", start_us=at_us)

    def plan_allow(self, entry: AllowEntry, flagged: Sequence[str], caller: Caller) -> Bulk:
        """The same for an entry of the allow-list about many flagged keys."""
        kept = {"allow": entry.subject, "owner": entry.owner, "expires_us": entry.expires_us}
        terms = Terms(
            id=f"bulk-{secrets.token_hex(8)}",
            subjects=kept,
            action="allow",
            factor=1.0,
            requests_per_min=None,
            ttl_sec=max(1, (entry.expires_us - entry.created_us) // 1_000_000),
            reason_code="agreement",
            reason=entry.reason,
            token_id=caller.token_id,
            by=caller.name,
            keys=len(flagged),
            since_us=entry.created_us,
            expires_us=entry.created_us + PROPOSAL_SEC * 1_000_000,
            second=True,
        )
        return Bulk(terms, "proposed")

    async def keep(self, found: Bulk, key_ids: Sequence[str]) -> None:
        """Store it. One that needs nobody's approval is carried out from now on."""
        await self._store.create(found, key_ids, _life_ms(found))
        self._wake.set()

    async def get(self, bulk_id: str) -> Bulk | None:
        """One, with the status it has now."""
        found = await self._store.get(bulk_id)
        return None if found is None else current(found)

    async def newest(self, count: int) -> list[Bulk]:
        """The newest so many."""
        return [current(found) for found in await self._store.newest(count)]

    async def members(self, bulk_id: str) -> list[str]:
        """Its keys."""
        return await self._store.members(bulk_id)

    async def decide(self, found: Bulk, status: str, caller: Caller, reason: str) -> Bulk:
        """Approve ("applying"), refuse ("refused") or undo ("undoing") it.

        Raises:
            Conflict: it has another status meanwhile; nothing was done.
        """
        at_us = now_us()
        start_us = at_us if status == "applying" else found.start_us
        new = structs.replace(
            found,
            status=status,
            done=0,
            skipped=0,
            decided_us=at_us,
            decided_by=caller.name,
            decision=reason,
            start_us=start_us,
        )
        if not await self._store.move(new, found.status, _life_ms(new)):
            raise Conflict("another person has decided about it meanwhile; look at it again")
        self._wake.set()
        return new

    async def finish(self, bulk_id: str) -> Bulk | None:
        """Wait until it is carried out, by whoever does so."""
        while True:
            found = await self._store.get(bulk_id)
            if found is None or found.status not in RUNNING:
                return found
            if not await self._carry_out(found):
                await asyncio.sleep(WAIT_SEC)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                for bulk_id in await self._store.running():
                    found = await self._store.get(bulk_id)
                    if found is not None:
                        await self._carry_out(found)
                self._fault = ""
            except StateUnavailable as error:
                self._waits(str(error), logging.WARNING)
            except BadInput as error:  # too many orders stand: it goes on when some have ended
                self._waits(str(error), logging.ERROR)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_SEC)

    def _waits(self, fault: str, level: int) -> None:
        """Said once, not every two seconds."""
        if not self._fault:
            log.log(level, "bulk orders wait: %s", fault)
        self._fault = fault

    async def _carry_out(self, found: Bulk) -> bool:
        """To the end, where nobody else does; false when another one does."""
        bulk_id = found.terms.id
        if bulk_id in self._mine or not await self._store.take(bulk_id, self._who):
            return False
        self._mine.add(bulk_id)
        try:
            await self._go_on(found)
        finally:
            self._mine.discard(bulk_id)
        return True

    async def _go_on(self, found: Bulk) -> None:
        bulk_id, was = found.terms.id, found.status
        again = await self._store.get(bulk_id)  # the one before may have come further
        if again is None or again.status != was or was not in RUNNING:
            return
        found = again
        if found.terms.action == "allow":
            await self._control.allow_put(entry_of(found))
            found = structs.replace(found, done=found.terms.keys)
        while found.done < found.terms.keys:
            if was == "applying" and _over(found):  # nobody carried it out in time: what is left would have ended already
                left = found.terms.keys - found.done
                found = structs.replace(found, done=found.terms.keys, skipped=found.skipped + left)
                break
            part = await self._store.members(bulk_id, found.done, SLICE)
            if not part:
                break
            acted = await self._slice(found, part)
            found = structs.replace(found, done=found.done + len(part), skipped=found.skipped + len(part) - acted)
            if not await self._store.step(found, was, self._who, _life_ms(found)):
                return  # undone meanwhile, or in other hands
        await self._store.step(structs.replace(found, status=RUNNING[was]), was, self._who, _life_ms(found))

    async def _slice(self, found: Bulk, key_ids: Sequence[str]) -> int:
        """How many of the keys something was done about."""
        subjects = await self._finder.look(key_ids)
        if found.status == "undoing":
            refs = [reference(one.key_id, found.start_us) for one in subjects]
            return await self._ordering.undo(subjects, refs, found.decision, found.decided_by)
        fitting = [one for one in subjects if fits(one, found.terms.subjects)]
        if "campaign" in found.terms.subjects:  # approved perhaps a day later: who is excused by now is left out
            allowed = {entry.subject for entry in await self._control.allow_list() if entry.holds(now_us())}
            fitting = [one for one in fitting if not excuse(one.key_id, one.account, allowed)]
        await self._ordering.give(fitting, wanted(found))
        return len(fitting)


def current(found: Bulk) -> Bulk:
    """As it is now: a proposal that nobody decided about in time has expired."""
    late = found.status == "proposed" and now_us() >= found.terms.expires_us
    return structs.replace(found, status="expired") if late else found


def fits(one: Subject, subjects: dict[str, Any]) -> bool:
    """The key is still one that the order is about. One that was named is, as long as it is known."""
    known = one.fact.partition is not None or one.account is not None
    if "org_id" in subjects:
        return known and one.org_id == subjects["org_id"]
    if "match" in subjects:
        match = KeyMatch.model_validate(subjects["match"])
        level = Level[match.at_least.upper()]
        return one.fact.level >= level and one.fact.score >= match.min_score and one.key_id.startswith(match.prefix or "")
    return known


def wanted(found: Bulk) -> Wanted:
    """What is done about each of its keys."""
    terms = found.terms
    return Wanted(
        action=terms.action,  # type: ignore[arg-type]  # as OrderIn took it
        factor=terms.factor,
        requests_per_min=terms.requests_per_min,
        ttl_sec=terms.ttl_sec,
        reason_code=terms.reason_code,
        reason=terms.reason,
        by=terms.by,
        start_us=found.start_us,
        bulk=terms.id,
    )


def entry_of(found: Bulk) -> AllowEntry:
    """The entry that an approved proposal puts on the allow-list."""
    kept, terms = found.terms.subjects, found.terms
    return AllowEntry(
        subject=kept["allow"],
        owner=kept["owner"],
        reason=terms.reason,
        expires_us=kept["expires_us"],
        by=terms.by,
        created_us=found.start_us,
    )


def asked_again(found: Bulk) -> Subjects | None:
    """The question that a proposal was made from; None when it named its keys."""
    subjects = found.terms.subjects
    return Subjects.model_validate(subjects) if "match" in subjects or "org_id" in subjects else None


def _over(found: Bulk) -> bool:
    """What it orders has ended, or is about to."""
    return now_us() >= found.start_us + (found.terms.ttl_sec - 1) * 1_000_000


def _life_ms(found: Bulk) -> int:
    """How long its record is kept from now on."""
    begins_us = max(found.terms.expires_us, found.start_us)
    left_us = begins_us + found.terms.ttl_sec * 1_000_000 - now_us()
    return max(0, left_us // 1000) + KEPT_SEC * 1000
