"""What a decision about an appeal does: it is stored once, becomes a label, and may release the key in the same call.

The three steps are repeatable: after a failure between them the same person sends the same decision again, and what was
done is recognised and left alone.
"""

from __future__ import annotations

import time

import msgspec

from app.admin.casebook import Case, Casebook
from app.admin.models_appeals import DecideIn
from app.admin.ordering import Wanted
from app.errors import BadInput, Conflict
from app.state.appeals import Appeal, Words, new_id
from app.state.keys import FLAG_TTL_SEC
from app.state.labels import Label
from app.telemetry import metrics

ABOUT_USE = frozenset(("extraction", "terms", "investigation"))
"""Reason codes of orders that are about how a key is used; an upheld appeal about another says nothing about that."""

WINDOW_US = 7 * 86_400_000_000
"""A finding looks back as far as features do."""


def filed(case: Case, now_us: int) -> Appeal:
    """A new appeal about an action."""
    order = case.order
    return Appeal(
        id=new_id(),
        ref=case.ref,
        key_id=case.key_id,
        at_us=now_us,
        by_person=order is not None,
        action=case.action,
        level=case.level,
        flagged_us=case.began_us,
        placed_by="" if order is None else order.by,
        about_use=order is None or order.reason_code in ABOUT_USE,
    )


def decided(found: Appeal, asked: DecideIn, by: str, now_us: int) -> Appeal:
    """The appeal with the decision in it."""
    default = {"overturned": "benign", "upheld": "abusive" if found.about_use else "none"}.get(asked.outcome, "none")
    label = asked.label or default
    return msgspec.structs.replace(
        found,
        outcome=asked.outcome,
        decided_us=now_us,
        decided_by=by,
        note=asked.note,
        label="" if label == "none" else label,
        release=asked.release,
        hours=asked.hours,
    )


def is_repeat(found: Appeal, asked: DecideIn, by: str) -> bool:
    """It was decided so already, by the same person: what may be missing behind it is done again."""
    again = decided(found, asked, by, found.decided_us)
    return not found.is_open and again == found


class Appealing:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, casebook: Casebook) -> None:
        self._casebook = casebook

    async def file(self, found: Appeal, words: Words) -> None:
        """Stores a new appeal.

        Raises:
            Conflict: one about its action is open.
            BadInput: too many are.
        """
        await self._casebook.appeals.file(found, words)
        if found.by_person:
            await self._casebook.acting.records.keep(found.ref, FLAG_TTL_SEC)
        await self._casebook.clock.look()

    async def decide(self, before: Appeal, after: Appeal) -> None:
        """Stores the decision, keeps its label and releases the key, if that was asked for.

        An order that is overturned ends for good, whatever release was asked for, and no undoing brings it back.

        Raises:
            Conflict: somebody else was faster; nothing was done.
        """
        if before != after:
            if not await self._casebook.appeals.decide(before, after):
                raise Conflict("the appeal was decided by somebody else this moment; nothing was done")
            metrics.APPEAL_OUTCOMES.labels(outcome=after.outcome).inc()
        label = label_of(after)
        if label is not None:
            await self._casebook.labels.add(label)
        await self._release(after)
        await self._casebook.clock.look()

    async def check_release(self, found: Appeal, asked: DecideIn) -> None:
        """Refuses what cannot be released.

        Raises:
            BadInput: no person's order stands under the reference.
        """
        if asked.release == "end":
            standing = (await self._casebook.acting.orders.get_many([found.key_id])).get(found.key_id)
            if standing is None or standing.ref != found.ref:
                raise BadInput(
                    "body.release: no person's order stands under this reference; observe lifts what policy does"
                )

    async def _release(self, found: Appeal) -> None:
        acting = self._casebook.acting
        overturned = found.by_person and found.outcome == "overturned"
        if overturned:
            (subject,) = await acting.finder.look([found.key_id])
            await acting.ordering.overturn(subject, found.ref, found.note, found.decided_by)
        if found.release == "none" or (found.release == "end" and overturned):
            return
        subjects = await acting.finder.look([found.key_id])
        if found.release == "end":
            await acting.ordering.undo(subjects, [found.ref], found.note, found.decided_by)
            return
        wanted = Wanted(
            action="observe",
            factor=1.0,
            requests_per_min=None,
            ttl_sec=found.release_sec,
            reason_code="appeal",
            reason=found.note,
            by=found.decided_by,
            start_us=found.decided_us,
        )
        await acting.ordering.give(subjects, wanted)


def label_of(found: Appeal) -> Label | None:
    """What a decision says about the key; the same for the same decision. None where it says nothing."""
    if found.label != "benign" and found.label != "abusive":
        return None
    return Label(
        key_id=found.key_id,
        label="benign" if found.label == "benign" else "abusive",
        source="appeal",
        weight=1.0,
        from_us=max(0, found.flagged_us - WINDOW_US),
        until_us=found.at_us,
        at_us=found.decided_us,
        by=found.decided_by,
        ref=found.id,
    )


def now_us() -> int:
    """Wall clock, unix µs."""
    return time.time_ns() // 1000
