"""Appeals of customers and the labels that come of them. A customer's words go in and out here and nowhere else."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request

from app.admin import views_appeals, views_reasons
from app.admin.appealing import Appealing, decided, filed, is_repeat, now_us
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.casebook import Casebook
from app.admin.deadline import answered
from app.admin.models_appeals import (
    APPEAL_ID,
    AppealDetail,
    AppealIn,
    AppealList,
    AppealOut,
    AppealQuery,
    DecideIn,
    LabelIn,
    LabelList,
    LabelOut,
    LabelQuery,
)
from app.admin.permissions import permit
from app.admin.views import micros
from app.state.appeals import Appeal, Words
from app.state.labels import Label

AppealId = Annotated[str, Path(pattern=APPEAL_ID, description="reference of an appeal")]

_NO_CASE = "No action of this reference is known; flags and orders are forgotten after a time."
_NO_APPEAL = "There is no appeal of this reference, or it is forgotten."


def router(casebook: Casebook, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1")
    appealing = Appealing(casebook)
    sla_hours = casebook.acting.settings.admin.appeal_sla_hours

    # Before the appeals by id: an address with a verb looks like an id to them.
    @routes.post(
        "/appeals/{appeal_id}:decide",
        tags=["appeals"],
        dependencies=[permit("appeals.write")],
        openapi_extra=described(DecideIn),
    )
    async def decide_appeal(appeal_id: AppealId, request: Request, caller: CallerDep) -> AppealOut:
        """Decide an appeal, and release the key with the same call where that is asked for. It becomes a label.

        Not by the person who gave the order. After a failure the same call may be repeated by the same person.
        """
        asked = await read_body(request, DecideIn)
        async with answered():
            found = await casebook.appeals.get(appeal_id)
        if found is None:
            raise HTTPException(404, _NO_APPEAL)
        before, _ = found
        if before.placed_by and caller.is_named(before.placed_by):
            raise HTTPException(403, "Who gave an order does not decide the appeal about it; another person must.")
        if is_repeat(before, asked, caller.name):
            after = before
        elif before.is_open:
            async with answered():
                await appealing.check_release(before, asked)
            after = decided(before, asked, caller.name, now_us())
        else:
            raise HTTPException(409, "This appeal is decided already.")
        shown = {"outcome": after.outcome, "label": after.label, "release": after.release, "hours": after.hours}
        await auditor.record(
            caller,
            request,
            "appeal.decide",
            f"key:{after.key_id}",
            reason=asked.note,
            before={"id": before.id, "ref": before.ref, "outcome": before.outcome},
            after=shown,
        )
        async with answered():
            await appealing.decide(before, after)
        return views_appeals.appeal(after, now_us(), sla_hours)

    @routes.post(
        "/appeals",
        tags=["appeals"],
        status_code=201,
        dependencies=[permit("appeals.write")],
        openapi_extra=described(AppealIn),
    )
    async def file_appeal(request: Request, caller: CallerDep) -> AppealOut:
        """File a customer's objection to an action. One at a time for a reference.

        The customer's words are in no log and no audit record; they end after admin.appeal_text_days, or with the key's
        erasure.
        """
        asked = await read_body(request, AppealIn)
        async with answered():
            case = await casebook.find(asked.ref)
        if case is None:
            raise HTTPException(404, _NO_CASE)
        made = filed(case, now_us())
        after = {"id": made.id, "ref": made.ref, "chars": len(asked.text)}
        await auditor.record(caller, request, "appeal.file", f"key:{made.key_id}", after=after)
        async with answered():
            await appealing.file(made, Words(asked.contact, asked.text))
        return views_appeals.appeal(made, now_us(), sla_hours)

    @routes.get("/appeals", tags=["appeals"], dependencies=[permit("appeals.read")])
    async def list_appeals(query: Annotated[AppealQuery, Query()]) -> AppealList:
        """Appeals without the customers' words: open ones first, the longest waiting at the top."""
        async with answered():
            found, cursor = await _listed(casebook, query)
        at_us = now_us()
        return AppealList(
            appeals=[views_appeals.appeal(one, at_us, sla_hours) for one in found], next_cursor=cursor or None
        )

    @routes.get("/appeals/{appeal_id}", tags=["appeals"], dependencies=[permit("appeals.read")])
    async def get_appeal(appeal_id: AppealId) -> AppealDetail:
        """One appeal: the customer's words, and the internal statement of reasons of the action."""
        async with answered():
            found = await casebook.appeals.get(appeal_id)
            case = None if found is None else await casebook.find(found[0].ref)
        if found is None:
            raise HTTPException(404, _NO_APPEAL)
        told = None if case is None else views_reasons.statement(casebook.statement(case, "internal"))
        return views_appeals.detail(*found, told, now_us(), sla_hours)

    @routes.post(
        "/labels",
        tags=["labels"],
        status_code=201,
        dependencies=[permit("appeals.write")],
        openapi_extra=described(LabelIn),
    )
    async def add_label(request: Request, caller: CallerDep) -> LabelOut:
        """Say what was found out about a key, for fitting and judging models. It changes nothing about the key."""
        asked = await read_body(request, LabelIn)
        label = Label(
            key_id=asked.key_id,
            label=asked.label,
            source="analyst",
            weight=asked.weight,
            from_us=micros(asked.since) or 0,
            until_us=micros(asked.until) or 0,
            at_us=now_us(),
            by=caller.name,
            ref=asked.ref or "",
        )
        after = {"label": label.label, "weight": label.weight, "ref": label.ref}
        await auditor.record(caller, request, "label.add", f"key:{label.key_id}", reason=asked.reason, after=after)
        async with answered():
            await casebook.labels.add(label)
        return views_appeals.label(label)

    @routes.get("/labels", tags=["labels"], dependencies=[permit("appeals.read")])
    async def list_labels(query: Annotated[LabelQuery, Query()]) -> LabelList:
        """Labels, by key and then by time."""
        async with answered():
            if query.key_id is not None:
                found, cursor = await casebook.labels.of_key(query.key_id), ""
            else:
                found, cursor = await casebook.labels.page(query.cursor, query.limit)
        return LabelList(labels=[views_appeals.label(one) for one in found], next_cursor=cursor or None)

    return routes


async def _listed(casebook: Casebook, query: AppealQuery) -> tuple[list[Appeal], str]:
    """A page; the cursor says in which of the two lists it goes on, and where."""
    if query.key_id is not None:
        found = await casebook.appeals.of_key(query.key_id)
        wanted = [one for one in found if query.status is None or one.is_open is (query.status == "open")]
        return wanted, ""
    found, cursor = [], query.cursor
    if query.status != "decided" and not cursor.startswith("d:"):
        found, after = await casebook.appeals.open(cursor.removeprefix("o:"), query.limit)
        if after or query.status == "open":
            return found, f"o:{after}" if after else ""
        if len(found) == query.limit:
            return found, "d:"
        cursor = ""
    more, after = await casebook.appeals.decided(cursor.removeprefix("d:"), query.limit - len(found))
    return found + more, f"d:{after}" if after else ""
