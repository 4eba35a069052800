"""Routes over plans: what each allows, and who is on it. A change is in force within a second, without a restart."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models import NAME
from app.admin.models_control import PlanDetail, PlanList, PlanOut
from app.admin.models_orders import SHOWN, ReasonQuery
from app.admin.permissions import permit
from app.enforcement.policy_text import parse_plans
from app.errors import Conflict
from app.settings import PlanLimits
from app.state.control import ControlDoc

PlanName = Annotated[str, Path(pattern=NAME, description="name of a plan, as accounts have it")]

_NONE = "No plan of this name is listed; its keys have the limits of `default`."
_EXAMPLE = {"key": {"requests_per_min": 600, "output_tokens_per_min": 100000}, "org": {"tokens_per_day": 50000000}}


def router(acting: Acting, auditor: Auditor) -> APIRouter:
    """The plan routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["plans"])

    @routes.get("/plans", dependencies=[permit("plans.read")])
    async def list_plans() -> PlanList:
        """All plans with limits of their own; a plan that is not listed has those of `default`."""
        async with answered():
            doc = await acting.store.get()
        found = _plans(acting, doc)
        return PlanList(version=doc.version, plans=[found[name] for name in sorted(found)])

    @routes.get("/plans/{name}", dependencies=[permit("plans.read")])
    async def get_plan(name: PlanName) -> PlanDetail:
        """One plan, and how many accounts a change of it would touch."""
        async with answered():
            found = _plans(acting, await acting.store.get())
        if name not in found:
            raise HTTPException(404, _NONE)
        async with acting.patiently():
            key_ids, orgs = await _on_it(acting, name, set(found))
        return PlanDetail(
            **dict(found[name]), accounts=len(key_ids), organisations=len(orgs), examples=sorted(key_ids)[:SHOWN]
        )

    @routes.put(
        "/plans/{name}",
        dependencies=[permit("plans.write")],
        openapi_extra=described(PlanLimits, example=_EXAMPLE),
    )
    async def put_plan(
        name: PlanName, request: Request, query: Annotated[ReasonQuery, Query()], caller: CallerDep
    ) -> PlanOut:
        """Make a plan, or replace the whole of it; a budget that is not given is none. It wins over the settings' plan."""
        limits = await read_body(request, PlanLimits)
        async with answered():
            doc = await acting.store.get()
        before = _plans(acting, doc).get(name)
        await auditor.record(
            caller,
            request,
            "plan.put",
            f"plan:{name}",
            reason=query.reason,
            before=None if before is None else before.limits.model_dump(mode="json"),
            after=limits.model_dump(mode="json"),
        )
        await _store(acting, doc, {**_stored(doc), name: limits})
        return PlanOut(name=name, source="state", limits=limits)

    @routes.delete("/plans/{name}", status_code=204, response_class=Response, dependencies=[permit("plans.write")])
    async def delete_plan(
        name: PlanName, request: Request, query: Annotated[ReasonQuery, Query()], caller: CallerDep
    ) -> None:
        """Forget what this API set: the settings' plan of that name is in force again, or else `default`."""
        async with answered():
            doc = await acting.store.get()
        stored = _stored(doc)
        if name not in stored:
            raise HTTPException(404, "This API has not set the plan; what the settings say is changed there.")
        before = stored[name].model_dump(mode="json")
        await auditor.record(caller, request, "plan.delete", f"plan:{name}", reason=query.reason, before=before)
        await _store(acting, doc, {other: limits for other, limits in stored.items() if other != name})

    return routes


def _stored(doc: ControlDoc) -> dict[str, PlanLimits]:
    return parse_plans(doc.plans_json, "the stored plans")


def _plans(acting: Acting, doc: ControlDoc) -> dict[str, PlanOut]:
    """Every listed plan; what is stored wins."""
    both: tuple[tuple[Literal["settings", "state"], dict[str, PlanLimits]], ...] = (
        ("settings", acting.settings.limits.plans),
        ("state", _stored(doc)),
    )
    return {
        name: PlanOut(name=name, source=source, limits=limits) for source, plans in both for name, limits in plans.items()
    }


async def _store(acting: Acting, doc: ControlDoc, plans: dict[str, PlanLimits]) -> None:
    """Raises Conflict when somebody changed plans or policy meanwhile."""
    text = orjson.dumps({name: limits.model_dump(mode="json") for name, limits in plans.items()}).decode() if plans else ""
    async with answered():
        try:
            await acting.store.set_plans(text, doc.version)
        except Conflict:
            raise Conflict("plans or policy were changed by another person in this moment; try again") from None


async def _on_it(acting: Acting, name: str, listed: set[str]) -> tuple[set[str], set[str]]:
    """(key ids, organisations) of the accounts that have this plan's limits."""
    key_ids: set[str] = set()
    orgs: set[str] = set()
    cursor = 0
    while True:
        cursor, found = await acting.accounts.scan(cursor)
        for key_id, account in found.items():
            plan = account.plan or acting.settings.identity.default_plan
            if plan == name or (name == "default" and plan not in listed):
                key_ids.add(key_id)
                orgs |= {account.org_id} - {""}
        if not cursor:
            return key_ids, orgs
