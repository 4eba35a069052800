"""What the order routes do once it is clear what is asked: give an order about one key or several, take a bulk one back."""

from __future__ import annotations

from fastapi import HTTPException, Request, Response

from app.admin import views_orders
from app.admin.acting import RESOLVE_SEC, Acting
from app.admin.auditing import Auditor
from app.admin.caller import Caller
from app.admin.deadline import answered
from app.admin.models_orders import BulkOut, OrderIn, OrderOut, PlacedOut, UndoneOut
from app.admin.ordering import Wanted, now_us
from app.admin.subjects import Subject
from app.state.order_records import OrderRecord

KEYS_PER_SEC = 2_000
"""And as long as this for giving or undoing orders about several keys at once."""

GONE = "No order stands or stood under this reference within the last week."


async def act(
    acting: Acting, auditor: Auditor, caller: Caller, request: Request, asked: OrderIn
) -> tuple[int, PlacedOut | BulkOut]:
    """(status, what was done): one key at once, several as a bulk order, many as a proposal.

    Raises:
        BadInput: a key is not known, or the subjects stand for too many; nothing was done.
        StateUnavailable: nothing was done; or, once a bulk order is stored, it is carried out when the server is back.
    """
    async with acting.patiently():
        subjects = await acting.finder.find(asked.subjects)
    key_ids = [one.key_id for one in subjects]
    terms = asked.model_dump(mode="json", exclude={"subjects", "reason"})
    if len(subjects) == 1:
        await auditor.record(
            caller,
            request,
            "order.give",
            f"key:{key_ids[0]}",
            reason=asked.reason,
            before=_before(subjects[0]),
            after=terms,
        )
        start_us = now_us()
        async with answered():
            records = await acting.ordering.give(subjects, _wanted(asked, caller, start_us))
            told = await _told(acting, records)
        return 201, PlacedOut(keys=1, bulk=None, orders=told)
    planned = acting.bulks.plan(asked, key_ids, caller)
    what = "order.propose" if planned.terms.second else "order.give"
    after = terms | {"keys": len(key_ids), "subjects": planned.terms.subjects, "first_keys": key_ids[:20]}
    await auditor.record(caller, request, what, f"bulk:{planned.terms.id}", reason=asked.reason, after=after)
    async with answered():
        await acting.bulks.keep(planned, key_ids)
    if planned.terms.second:
        return 202, views_orders.bulk(planned)
    async with answered(len(key_ids) / KEYS_PER_SEC + RESOLVE_SEC):
        await acting.bulks.finish(planned.terms.id)
        stands = await acting.orders.get_many(key_ids)
        records_of = await acting.records.get_many([one.ref for one in stands.values()])
        mine = [record for record in records_of.values() if record.bulk == planned.terms.id]
        told = await _told(acting, mine)
    return 201, PlacedOut(keys=len(mine), bulk=planned.terms.id, orders=told)


async def undo_bulk(
    acting: Acting, auditor: Auditor, caller: Caller, request: Request, response: Response, ref: str, note: str
) -> UndoneOut:
    """Takes all of a bulk order back, or withdraws a proposal; many keys are gone through behind the answer.

    Raises:
        HTTPException: 404 when there is none, 409 when there is nothing left to take back.
    """
    async with answered():
        found = await acting.bulks.get(ref)
    if found is None:
        raise HTTPException(404, GONE)
    keys = found.terms.keys
    if found.status not in ("proposed", "applying", "done"):
        raise HTTPException(409, f"This bulk order is {found.status}; nothing is done.")
    if found.terms.action == "allow" and found.status != "proposed":
        raise HTTPException(409, f"End it with DELETE /v1/allow/{found.terms.subjects['allow']}; nothing is done.")
    withdrawn = found.status == "proposed"
    await auditor.record(
        caller, request, "order.withdraw" if withdrawn else "order.undo", f"bulk:{ref}", reason=note, before={"keys": keys}
    )
    async with answered():
        await acting.bulks.decide(found, "refused" if withdrawn else "undoing", caller, note or "taken back")
    if withdrawn:
        return UndoneOut(ref=ref, status="withdrawn", keys=keys, reinstated=None)
    if found.terms.second:
        response.status_code = 202
        return UndoneOut(ref=ref, status="undoing", keys=keys, reinstated=None)
    async with answered(keys / KEYS_PER_SEC + RESOLVE_SEC):
        await acting.bulks.finish(ref)
    return UndoneOut(ref=ref, status="undone", keys=keys, reinstated=None)


def _wanted(asked: OrderIn, caller: Caller, start_us: int) -> Wanted:
    return Wanted(
        action=asked.action,
        factor=asked.factor,
        requests_per_min=asked.requests_per_min,
        ttl_sec=asked.ttl_sec,
        reason_code=asked.reason_code,
        reason=asked.reason,
        by=caller.name,
        start_us=start_us,
    )


def _before(one: Subject) -> dict[str, object]:
    return {"asked": one.fact.verdict, "order": None if one.order is None else one.order.ref}


async def _told(acting: Acting, records: list[OrderRecord]) -> list[OrderOut]:
    beneath = await acting.records.beneath(records, now_us())
    return [
        views_orders.order(one.key_id, one.order, one, standing=True, beneath=beneath.get(one.order.ref)) for one in records
    ]
