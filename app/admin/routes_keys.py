"""Routes over keys and organisations: look at them, lift what is done about a key."""

from __future__ import annotations

import logging
import time
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from app.admin import views, views_campaigns, views_keys
from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.casebook import Casebook
from app.admin.deadline import answered
from app.admin.lifting import Lifting
from app.admin.models import KEY_ID, NAME
from app.admin.models_keys import (
    HoldOut,
    KeyCampaign,
    KeyDetail,
    KeyList,
    KeyQuery,
    LiftIn,
    OrgDetail,
    Timeline,
)
from app.admin.permissions import allowed, permit
from app.admin.routes_intel_hits import shown_by
from app.admin.searching import Search
from app.state.intel_hits import Hits
from app.state.intel_indicators import Indicators
from detectors.analysis import EntityState
from detectors.model import Model

log = logging.getLogger(__name__)

KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]
OrgId = Annotated[str, Path(pattern=NAME, description="organisation id, as in the accounts")]


_NEVER_SEEN = "This key was never seen, or is forgotten after 30 idle days."


def router(
    casebook: Casebook, lifting: Lifting, auditor: Auditor, model: Model | None, hits: Hits, indicators: Indicators
) -> APIRouter:
    """The routes over one deployment's state."""
    routes = APIRouter(prefix="/v1")
    acting = casebook.acting
    reader, accounts, settings = acting.reader, acting.accounts, acting.settings
    marks = reader.marks()
    search = Search(reader, accounts, settings.state.partitions, settings.identity.default_plan)

    @routes.get("/keys", tags=["keys"], dependencies=[permit("keys.read")])
    async def list_keys(query: Annotated[KeyQuery, Query()]) -> KeyList:
        """Keys by level, or by time last seen when no level is asked for, or by id when a beginning of ids is.

        Every condition narrows the list and none changes its order.
        """
        async with answered():
            found, cursor = await search.page(query)
        keys = [views.key_item(one.row, one.account, one.plan, one.action) for one in found]
        return KeyList(keys=keys, next_cursor=cursor or None)

    @routes.get("/keys/{key_id}", tags=["keys"], dependencies=[permit("keys.read")])
    async def get_key(key_id: KeyId, caller: CallerDep) -> KeyDetail:
        """One key: verdict and reasons, action in force and by whom, profile, every feature with its place among the peers.

        With what speaks for the key, and the references of its flags and appeals.
        """
        now_us = time.time_ns() // 1000
        async with answered():
            stored = await reader.key_state(key_id)
            if stored is None:
                raise HTTPException(404, _NEVER_SEEN)
            account = await accounts.get(key_id)
            org_id = "" if account is None else account.org_id
            record = None if stored.order is None else await acting.records.get(stored.order.ref)
            beneath = {} if record is None else await acting.records.beneath([record], now_us)
            page = views_keys.Page(
                stored=stored,
                record=record,
                beneath=None if record is None else beneath.get(record.order.ref),
                state=_decoded(stored.state),
                account=account,
                gateways=await reader.gateways(),
                policy=acting.control.policy,
                allowed=await casebook.allowance(key_id, org_id, now_us),
                flags=await casebook.flags.of_key(key_id),
                appeals=await casebook.appeals.of_key(key_id),
                labels=await casebook.labels.of_key(key_id),
                now_us=now_us,
                campaign=await _campaign(acting, key_id),
                marked=await marks.of_key(key_id) if allowed(caller.role, "watermark.read") else (),
                shared=await shown_by(hits, indicators, key_id) if allowed(caller.role, "intel.read") else None,
            )
        return views_keys.detail(page, model)

    @routes.get("/keys/{key_id}/timeline", tags=["keys"], dependencies=[permit("keys.read")])
    async def get_timeline(key_id: KeyId) -> Timeline:
        """The key's changes of level, and what people did about it, newest first."""
        async with answered():
            changes = await reader.timeline(key_id)
            known = bool(changes) or await reader.find(key_id) is not None
        if not known:
            raise HTTPException(404, _NEVER_SEEN)
        return Timeline(key_id=key_id, changes=[views.timeline_item(item) for item in changes])

    @routes.post(
        "/keys/{key_id}:lift",
        tags=["keys"],
        dependencies=[permit("orders.write")],
        openapi_extra=described(LiftIn),
    )
    async def lift_action(key_id: KeyId, request: Request, caller: CallerDep) -> HoldOut:
        """Do nothing about the key for a time, from its next request on, whatever its level, which goes on being judged.

        It replaces a person's order that stands, and another lift, for good.
        """
        asked = await read_body(request, LiftIn)
        after = {"action": "observe", "hours": asked.hours}
        await auditor.record(caller, request, "key.lift", f"key:{key_id}", reason=asked.reason, after=after)
        async with answered():
            hold = views.hold(await lifting.lift(key_id, asked.reason, asked.hours, caller.name))
        if hold is None:
            raise HTTPException(404, _NEVER_SEEN)
        return hold

    @routes.delete(
        "/keys/{key_id}:lift",
        tags=["keys"],
        status_code=204,
        response_class=Response,
        dependencies=[permit("orders.write")],
    )
    async def end_lift(key_id: KeyId, request: Request, caller: CallerDep) -> None:
        """Take a lift back before its time: what policy asks for is done again, from the key's next request on."""
        await auditor.record(caller, request, "key.end_lift", f"key:{key_id}")
        async with answered():
            ended = await lifting.undo(key_id, caller.name)
        if not ended:
            raise HTTPException(404, _NEVER_SEEN if ended is None else "Nothing is lifted about this key.")

    @routes.get("/orgs/{org_id}", tags=["keys"], dependencies=[permit("keys.read")])
    async def get_org(org_id: OrgId) -> OrgDetail:
        """One organisation: what its keys do together."""
        async with answered():
            stored = await reader.org_state(org_id)
        state = _decoded(stored)
        if state is None:
            raise HTTPException(404, "No key of this organisation was ever seen, or all are forgotten.")
        return OrgDetail(
            org_id=org_id,
            verdict=None if state.verdict is None else views.verdict(state.verdict),
            profile=views.profile(state.profile, model),
            features=views.feature_list(state.profile, model),
        )

    return routes


async def _campaign(acting: Acting, key_id: str) -> KeyCampaign | None:
    """The campaign that a key belongs to, and why."""
    name = (await acting.campaigns.of_keys([key_id])).get(key_id)
    found = None if name is None else await acting.campaigns.read(name)
    return None if found is None else views_campaigns.of_key(found, key_id)


def _decoded(data: bytes | None) -> EntityState | None:
    """The state; None where there is none, or another release wrote it: the worker starts such an entity anew."""
    if data is None:
        return None
    try:
        return EntityState.from_bytes(data)
    except Exception as error:
        log.warning("a stored state does not decode: %s", type(error).__name__)
        return None
