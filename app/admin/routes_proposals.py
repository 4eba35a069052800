"""Routes over orders about several keys: what waits for a second person, approving, refusing, and how far it has come."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request

from app.admin import views_orders
from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import Caller, CallerDep
from app.admin.deadline import answered
from app.admin.models_orders import REF, SHOWN, BulkDetail, BulkList, BulkOut, ChangedSet, DecisionIn, ProposalQuery
from app.admin.ordering import now_us
from app.admin.permissions import Permission, allowed, permit
from app.admin.preview import effect
from app.admin.proposals import asked_again
from app.state.bulks import Bulk

BulkId = Annotated[str, Path(pattern=REF, description="id of a bulk order, as it was answered when it was made")]

_NONE = "There is no bulk order of this id, or it is forgotten."
_EXAMPLE = {"reason": "looked at ten of them, all are one campaign"}


def router(acting: Acting, auditor: Auditor) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["orders"])

    @routes.get("/proposals", dependencies=[permit("keys.read")])
    async def list_proposals(query: Annotated[ProposalQuery, Query()]) -> BulkList:
        """Orders about several keys, the newest first: proposed ones, and those that were carried out."""
        async with answered():
            found = await acting.bulks.newest(query.limit)
        return BulkList(proposals=[views_orders.bulk(one) for one in found])

    @routes.get("/proposals/{bulk_id}", dependencies=[permit("keys.read")])
    async def get_proposal(bulk_id: BulkId) -> BulkDetail:
        """One of them: how far it has come, or, while it waits, what it would touch now and how its keys have changed."""
        async with acting.patiently():
            found = await _get(acting, bulk_id)
            if found.status != "proposed":
                return views_orders.bulk_detail(found, None, None)
            members = await acting.bulks.members(bulk_id)
            changed = await _changed(acting, found, members)
            subjects = await acting.finder.look(members)
            action = views_orders.bulk_action(found)
            touched = await effect(subjects, action, acting.traffic, acting.store, now_us())
        return views_orders.bulk_detail(found, changed, touched)

    @routes.post(
        "/proposals/{bulk_id}:approve",
        status_code=202,
        dependencies=[permit("orders.approve")],
        openapi_extra=described(DecisionIn, example=_EXAMPLE),
    )
    async def approve_proposal(bulk_id: BulkId, request: Request, caller: CallerDep) -> BulkDetail:
        """Approve what another person proposed: it is carried out from now on, in slices.

        Nothing is done about keys that do not match any more, nor about those that match only since.
        """
        asked = await read_body(request, DecisionIn)
        async with acting.patiently():
            found = await _open(acting, bulk_id)
            _check_second(found, caller)
            changed = await _changed(acting, found, await acting.bulks.members(bulk_id))
        after = {"keys": found.terms.keys, "action": found.terms.action, "proposed_by": found.terms.by}
        await auditor.record(caller, request, "proposal.approve", f"bulk:{bulk_id}", reason=asked.reason, after=after)
        async with answered():
            approved = await acting.bulks.decide(found, "applying", caller, asked.reason)
        return views_orders.bulk_detail(approved, changed, None)

    @routes.post(
        "/proposals/{bulk_id}:refuse",
        dependencies=[permit("orders.approve")],
        openapi_extra=described(DecisionIn, example=_EXAMPLE),
    )
    async def refuse_proposal(bulk_id: BulkId, request: Request, caller: CallerDep) -> BulkOut:
        """Refuse what was proposed: nothing is done."""
        asked = await read_body(request, DecisionIn)
        async with answered():
            found = await _open(acting, bulk_id)
        await auditor.record(caller, request, "proposal.refuse", f"bulk:{bulk_id}", reason=asked.reason)
        async with answered():
            return views_orders.bulk(await acting.bulks.decide(found, "refused", caller, asked.reason))

    return routes


async def _get(acting: Acting, bulk_id: str) -> Bulk:
    found = await acting.bulks.get(bulk_id)
    if found is None:
        raise HTTPException(404, _NONE)
    return found


async def _open(acting: Acting, bulk_id: str) -> Bulk:
    found = await _get(acting, bulk_id)
    if found.status == "expired":
        raise HTTPException(409, "The proposal has expired; what it is about may have changed, so propose it again.")
    if found.status != "proposed":
        raise HTTPException(409, f"The proposal is {found.status} already.")
    return found


def _check_second(found: Bulk, caller: Caller) -> None:
    """The approver is another person, with whatever else the action takes."""
    if caller.token_id == found.terms.token_id or caller.is_named(found.terms.by):
        raise HTTPException(403, "Another person than the one who proposed it has to approve it.")
    extra: dict[str, Permission] = {"suspend": "orders.suspend", "allow": "allow.write"}
    needed = extra.get(found.terms.action)
    if needed is not None and not allowed(caller.role, needed):
        raise HTTPException(403, f"The role {caller.role} does not have the permission {needed}.")


async def _changed(acting: Acting, found: Bulk, members: list[str]) -> ChangedSet | None:
    """How the keys that match differ from those that were proposed; None when they were named."""
    subjects = asked_again(found)
    if subjects is None:
        return None
    proposed, now = set(members), set(await acting.finder.key_ids(subjects))
    gone, new = sorted(proposed - now), sorted(now - proposed)
    return ChangedSet(gone=len(gone), new=len(new), gone_examples=gone[:SHOWN], new_examples=new[:SHOWN])
