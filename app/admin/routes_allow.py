"""Routes over the allow-list: keys and organisations about which policy does nothing. They are judged all the same."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from app.admin import views_orders
from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models_control import MAX_ALLOW_DAYS, SUBJECT, AllowIn, AllowList, AllowOut
from app.admin.models_orders import SECOND_PERSON_ABOVE, BulkOut, ReasonQuery, Subjects
from app.admin.ordering import now_us
from app.admin.permissions import permit
from app.admin.views import micros, moment
from app.errors import BadInput
from app.state.control import AllowEntry
from detectors.contract import Level

_DAY_US = 86_400_000_000
_NONE = "There is no entry about this subject."
_EXAMPLE = {"owner": "sales, EMEA", "reason": "contract 4711 covers evaluation", "expires": "2027-06-30T00:00:00Z"}

SubjectPath = Annotated[str, Path(pattern=SUBJECT, description="key: and a key id, or org: and an organisation")]


def router(acting: Acting, auditor: Auditor) -> APIRouter:
    """The allow-list's routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["allow-list"])

    @routes.get("/allow", dependencies=[permit("allow.read")])
    async def list_allowed() -> AllowList:
        """All entries, with who answers for each and until when it counts."""
        async with answered():
            found = await acting.store.allow_list()
        return AllowList(entries=[_out(one) for one in found])

    @routes.get("/allow/{subject}", dependencies=[permit("allow.read")])
    async def get_allowed(subject: SubjectPath) -> AllowOut:
        """One entry."""
        async with answered():
            found = await acting.store.allow_get(subject)
        if found is None:
            raise HTTPException(404, _NONE)
        return _out(found)

    @routes.put(
        "/allow/{subject}",
        dependencies=[permit("allow.write")],
        response_model=AllowOut,
        responses={202: {"model": BulkOut, "description": "More than 100 flagged keys: it waits for a second person"}},
        openapi_extra=described(AllowIn, example=_EXAMPLE),
    )
    async def put_allowed(subject: SubjectPath, request: Request, response: Response, caller: CallerDep) -> Any:
        """Let policy do nothing about a key or an organisation until a day; a person's order still counts.

        Where more than 100 of an organisation's keys are flagged it becomes a proposal, answered with 202, which another
        person has to approve.
        """
        asked = await read_body(request, AllowIn)
        at_us = now_us()
        expires_us = micros(asked.expires) or 0
        if not at_us < expires_us <= at_us + MAX_ALLOW_DAYS * _DAY_US:
            raise BadInput(f"body.expires: must be in the future, and at most {MAX_ALLOW_DAYS} days from now")
        entry = AllowEntry(
            subject=subject,
            owner=asked.owner,
            reason=asked.reason,
            expires_us=expires_us,
            by=caller.name,
            created_us=at_us,
        )
        async with acting.patiently():
            before = await acting.store.allow_get(subject)
            flagged = await _flagged(acting, subject)
        second = len(flagged) > SECOND_PERSON_ABOVE
        planned = acting.bulks.plan_allow(entry, flagged, caller) if second else None
        await auditor.record(
            caller,
            request,
            "allow.put" if planned is None else "allow.propose",
            subject,
            reason=asked.reason,
            before=None if before is None else _out(before).model_dump(mode="json"),
            after={**_out(entry).model_dump(mode="json"), "flagged_keys": len(flagged)},
        )
        async with answered():
            if planned is None:
                await acting.store.allow_put(entry)
                return _out(entry)
            await acting.bulks.keep(planned, flagged)
        response.status_code = 202
        return Response(views_orders.bulk(planned).model_dump_json(), status_code=202, media_type="application/json")

    @routes.delete("/allow/{subject}", status_code=204, response_class=Response, dependencies=[permit("allow.write")])
    async def delete_allowed(
        subject: SubjectPath, request: Request, query: Annotated[ReasonQuery, Query()], caller: CallerDep
    ) -> None:
        """Take an entry off the list: with the next verdict policy acts again."""
        async with answered():
            before = await acting.store.allow_get(subject)
        if before is None:
            raise HTTPException(404, _NONE)
        shown = _out(before).model_dump(mode="json")
        await auditor.record(caller, request, "allow.delete", subject, reason=query.reason, before=shown)
        async with answered():
            await acting.store.allow_delete(subject)

    return routes


def _out(found: AllowEntry) -> AllowOut:
    return AllowOut(
        subject=found.subject,
        owner=found.owner,
        reason=found.reason,
        expires=moment(found.expires_us),
        by=found.by,
        created=moment(found.created_us),
        active=found.holds(now_us()),
    )


async def _flagged(acting: Acting, subject: str) -> list[str]:
    """Keys of an organisation that are suspect or worse; a single key needs no second person."""
    kind, _, name = subject.partition(":")
    if kind == "key":
        return []
    found = await acting.finder.look(await acting.finder.key_ids(Subjects(org_id=name)))
    return [one.key_id for one in found if one.fact.level >= Level.SUSPECT]
