"""Giving orders about keys and undoing them, a slice of keys at a time. Doing either twice has the effect of doing it once.

Every order of a bulk has the time at which that began, so its reference, beginning and end are the same whoever carries it
out and however often: what was done before a crash is recognised and left alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.admin.models_orders import OrderAction
from app.admin.subjects import Finder, Subject
from app.enforcement import timeline
from app.enforcement.policy import reference
from app.state.order_records import OrderRecord, OrderRecords
from app.state.orders import Order, Orders
from detectors.analysis import stored_verdict
from detectors.contract import Verdict
from detectors.profile import BadProfile


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be done about each key.

    Attributes:
        start_us: since when, unix µs.
        by: name of the person.
        bulk: id of the bulk order; "" for a single key.
    """

    action: OrderAction
    factor: float
    requests_per_min: float | None
    ttl_sec: int
    reason_code: str
    reason: str
    by: str
    start_us: int
    bulk: str = ""


class Ordering:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, finder: Finder, orders: Orders, records: OrderRecords) -> None:
        self._finder = finder
        self._orders = orders
        self._records = records

    async def give(self, subjects: Sequence[Subject], wanted: Wanted) -> list[OrderRecord]:
        """The order stands about each key from its next request on, in place of one that stood before.

        Returns:
            A record for each key, in their order.

        Raises:
            BadInput: too many orders stand already; those placed up to then stand.
        """
        verdicts = await self._verdicts(subjects)
        made: list[OrderRecord] = []
        new: list[tuple[Subject, OrderRecord]] = []
        for one in subjects:
            order = _order(one, wanted)
            if one.order is not None and one.order.ref == order.ref:
                made.append(OrderRecord(one.key_id, order, bulk=wanted.bulk))
                continue  # carried out before
            made.append(OrderRecord(one.key_id, order, one.order, wanted.bulk))
            new.append((one, made[-1]))
        # The records come first: an order without one could not be undone to what stood before it.
        await self._records.put([record for _, record in new], now_us())
        await self._orders.place_many(
            [
                (one.key_id, self._finder.places(one), record.order, _given(verdicts.get(one.key_id), record.order))
                for one, record in new
            ]
        )
        return made

    async def undo(self, subjects: Sequence[Subject], refs: Sequence[str], note: str, by: str) -> int:
        """Put back, for each key, what stood before the order of that reference: another order, or what policy asks for.

        Keys about which another order stands, or none, are left alone. An order that was overturned never stands again.

        Args:
            subjects: the keys.
            refs: the order of each.
            note: why.
            by: name of the person.

        Returns:
            How many orders were ended.
        """
        standing = [(one, ref) for one, ref in zip(subjects, refs, strict=True) if one.order and one.order.ref == ref]
        verdicts = await self._verdicts([one for one, _ in standing])
        records = await self._records.get_many([ref for _, ref in standing])
        at_us = now_us()
        beneath = await self._records.beneath(records.values(), at_us)
        ends, places = [], []
        for one, ref in standing:
            before = beneath.get(ref)
            item = _ended(verdicts.get(one.key_id), ref, at_us, note, by)
            if before is not None:
                item |= {"action": before.action, "until_us": before.until_us}
                places.append((one.key_id, self._finder.places(one), before, item))
            else:
                ends.append((one.key_id, self._finder.places(one), item))
        await self._orders.place_many(places)
        return len(places) + await self._orders.end_many(ends)

    async def end_all(self, subject: Subject, note: str, by: str) -> bool:
        """The order about the key ends, and those beneath it never stand again: what policy asks for is done.

        Returns:
            False when the order that was seen to stand does so no more; nothing was done.
        """
        top = subject.order
        if top is None:
            return False
        verdicts = await self._verdicts([subject])
        item = _ended(verdicts.get(subject.key_id), top.ref, now_us(), note, by)
        return await self._orders.end(subject.key_id, self._finder.places(subject), item, ref=top.ref)

    async def stack(self, top: Order) -> list[Order]:
        """Orders that would stand again one after the other if each was undone, beneath one that stands."""
        found: list[Order] = []
        ref = top.ref
        while (record := await self._records.get(ref)) is not None:
            before = (await self._records.beneath([record], now_us())).get(ref)
            if before is None:
                break
            found.append(before)
            ref = before.ref
        return found

    async def overturn(self, subject: Subject, ref: str, note: str, by: str) -> None:
        """The order of that reference never stands again; where it stands it ends, as by `undo`."""
        record = await self._records.get(ref)
        if record is not None:
            await self._records.overturn(record)
        await self.undo([subject], [ref], note, by)

    async def _verdicts(self, subjects: Sequence[Subject]) -> dict[str, Verdict]:
        found = {}
        for key_id, data in (await self._finder.states(subjects)).items():
            try:
                verdict = stored_verdict(data, key_id, "key")
            except BadProfile:  # of another release: the timeline does without what was thought of the key
                continue
            if verdict is not None:
                found[key_id] = verdict
        return found


def _order(one: Subject, wanted: Wanted) -> Order:
    narrows = wanted.action != "observe"
    return Order(
        ref=reference(one.key_id, wanted.start_us),
        action=wanted.action,
        factor=wanted.factor if narrows else 1.0,
        requests_per_min=wanted.requests_per_min if narrows else None,
        level=one.fact.level.name.lower(),
        since_us=wanted.start_us,
        until_us=wanted.start_us + wanted.ttl_sec * 1_000_000,
        reason_code=wanted.reason_code,
        reason=wanted.reason,
        by=wanted.by,
    )


def _given(verdict: Verdict | None, order: Order) -> dict[str, object]:
    """The item of the key's timeline."""
    return timeline.item(
        verdict,
        what=timeline.LIFTED if order.action == "observe" else timeline.ORDERED,
        action=order.action,
        at_us=order.since_us,
        who="admin",
        by=order.by,
        note=order.reason,
        ref=order.ref,
        until_us=order.until_us,
    )


def _ended(verdict: Verdict | None, ref: str, at_us: int, note: str, by: str) -> dict[str, Any]:
    return timeline.item(verdict, what=timeline.ORDER_ENDED, action="", at_us=at_us, who="admin", by=by, note=note, ref=ref)


def now_us() -> int:
    """Wall clock, unix µs."""
    return time.time_ns() // 1000
