"""Routes about campaigns: groups of keys that act as one, what ties them, and one action about all of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response

from app.admin import views_campaigns
from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import Caller, CallerDep
from app.admin.campaigning import UNKNOWN, act_out, head_of, living, preview, take, take_back
from app.admin.deadline import answered
from app.admin.idempotency import once
from app.admin.models import KEY_ID
from app.admin.models_campaigns import (
    CAMPAIGN_ID,
    CampaignActed,
    CampaignActIn,
    CampaignDetail,
    CampaignEffect,
    CampaignList,
    CampaignPreviewIn,
    CampaignQuery,
    MemberList,
    MemberQuery,
    ShareDecided,
)
from app.admin.models_orders import IDEMPOTENCY_KEY, DecisionIn, ReasonQuery
from app.admin.ordering import now_us
from app.admin.permissions import allowed, permit
from app.enforcement.campaigns import alive, excuse
from app.errors import BadInput
from app.state.campaigns import PAGE_MEMBERS
from app.worker.inherit import allowed_subjects
from detectors.campaign.contract import Member
from detectors.contract import Level

_EXAMPLE = {
    "action": "throttle",
    "mode": "real",
    "factor": 0.1,
    "ttl_sec": 86400,
    "reason_code": "extraction",
    "reason": "one operation, seen by the on-call analyst",
}

CampaignId = Annotated[str, Path(pattern=CAMPAIGN_ID, description="id of the campaign")]
KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]
IdempotencyKey = Annotated[
    str | None, Header(pattern=IDEMPOTENCY_KEY, description="a name for this request, as for POST /v1/orders")
]


def router(acting: Acting, auditor: Auditor) -> APIRouter:
    """The campaign routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["campaigns"])
    store, acts = acting.campaigns, acting.inheritance.acts

    # Before the campaign's own address: one with a verb looks like an id.
    @routes.post(
        "/campaigns/{campaign_id}:preview",
        dependencies=[permit("orders.write")],
        openapi_extra=described(CampaignPreviewIn, example={"action": "throttle"}),
    )
    async def preview_campaign(campaign_id: CampaignId, request: Request) -> CampaignEffect:
        """What an action about all members would touch, and who is left out. Does nothing."""
        asked = await read_body(request, CampaignPreviewIn)
        async with acting.patiently():
            return await preview(acting, await living(acting, campaign_id), asked.action)

    @routes.post(
        "/campaigns/{campaign_id}:act",
        status_code=201,
        dependencies=[permit("orders.write")],
        response_model=CampaignActed,
        responses={202: {"model": CampaignActed, "description": "More than 100 keys: it waits for a second person"}},
        openapi_extra=described(CampaignActIn, example=_EXAMPLE),
    )
    async def act_about_campaign(
        campaign_id: CampaignId, request: Request, caller: CallerDep, idempotency_key: IdempotencyKey = None
    ) -> Any:
        """Act about all members, and about those who join while it stands, until it ends by itself or is undone.

        Members on the allow-list or with a contracted use are left out. In mode real it is a bulk order: about more than
        100 keys it becomes a proposal, answered with 202, which another person has to approve. In shadow nothing is done.
        """
        asked = await read_body(request, CampaignActIn)
        if asked.action == "suspend" and not allowed(caller.role, "orders.suspend"):
            raise HTTPException(403, f"The role {caller.role} does not have the permission orders.suspend.")
        # The name of a request is for one campaign: the same body about another is another request.
        body = campaign_id.encode() + await request.body()
        async with once(acting.replies, caller, idempotency_key, body) as reply:
            if reply.repeated is None:
                status, made = await take(acting, auditor, caller, request, campaign_id, asked)
                await reply.keep(status, made)
        return reply.answer()

    @routes.delete(
        "/campaigns/{campaign_id}:act",
        dependencies=[permit("orders.write")],
        responses={202: {"model": CampaignActed, "description": "More than 100 keys: it is being taken back"}},
    )
    async def undo_campaign(
        campaign_id: CampaignId,
        request: Request,
        response: Response,
        query: Annotated[ReasonQuery, Query()],
        caller: CallerDep,
    ) -> CampaignActed:
        """Take the action back about every key that has a share in it; what stood before about each is done again.

        About more than 100 keys it goes on behind the answer, which is then 202; the action's `status` says when it ended.
        """
        response.status_code, made = await take_back(acting, auditor, caller, request, campaign_id, query.reason)
        return made

    @routes.post(
        "/campaigns/{campaign_id}/members/{key_id}:confirm",
        dependencies=[permit("orders.write")],
        openapi_extra=described(DecisionIn),
    )
    async def confirm_member(campaign_id: CampaignId, key_id: KeyId, request: Request, caller: CallerDep) -> ShareDecided:
        """The action is real about this key from now on, not only when its time in shadow is over."""
        return await _decide(acting, auditor, caller, request, campaign_id, key_id, confirm=True)

    @routes.post(
        "/campaigns/{campaign_id}/members/{key_id}:lift",
        dependencies=[permit("orders.write")],
        openapi_extra=described(DecisionIn),
    )
    async def lift_member(campaign_id: CampaignId, key_id: KeyId, request: Request, caller: CallerDep) -> ShareDecided:
        """The action is not about this key, for as long as it stands."""
        return await _decide(acting, auditor, caller, request, campaign_id, key_id, confirm=False)

    @routes.get("/campaigns", dependencies=[permit("keys.read")])
    async def list_campaigns(query: Annotated[CampaignQuery, Query()]) -> CampaignList:
        """Campaigns without their members, the highest levels and scores first."""
        first = _position(query.cursor)
        async with answered():
            heads = [
                one
                for one in await store.heads()
                if one.campaign.level >= Level[query.at_least.upper()] and (query.ended or alive(one.campaign))
            ]
            heads.sort(key=lambda one: (-one.campaign.level, -one.campaign.score, one.campaign.id))
            page = heads[first : first + query.limit]
            newest = {act.campaign: act for act in await acts.all()}
            told = {
                one.campaign.id: await act_out(acting, newest[one.campaign.id]) for one in page if one.campaign.id in newest
            }
        after = first + len(page)
        return CampaignList(
            campaigns=[views_campaigns.head(one, told.get(one.campaign.id)) for one in page],
            next_cursor=str(after) if after < len(heads) else None,
        )

    @routes.get("/campaigns/{campaign_id}", dependencies=[permit("keys.read")])
    async def get_campaign(campaign_id: CampaignId) -> CampaignDetail:
        """One campaign: evidence with how common the same is among honest keys, timeline, traffic, template, action.

        One that was merged into another says so in `merged_into`.
        """
        async with acting.patiently():
            found = await head_of(acting, campaign_id)
            members = [one for page in range(found.pages) for one in await store.members(campaign_id, page)]
            act = await acts.of(campaign_id)
            told = None if act is None else await act_out(acting, act)
            traffic = await acting.traffic.share(one.key_id for one in members)
        return views_campaigns.detail(found, told, traffic)

    @routes.get("/campaigns/{campaign_id}/members", dependencies=[permit("keys.read")])
    async def list_members(campaign_id: CampaignId, query: Annotated[MemberQuery, Query()]) -> MemberList:
        """The keys of a campaign, the strongest first, with what ties each to the others and its share in what is done."""
        first = _position(query.cursor)
        async with answered():
            found = await head_of(acting, campaign_id)
            page = await _members(acting, campaign_id, first, query.limit)
            act = await acts.of(campaign_id)
            shares, start_us = {}, 0
            if act is not None and not act.ended_us:
                shares = await acts.shares_of(act.id, [one.key_id for one in page])
                start_us = await acting.inheritance.start(act)
        parts = {key_id: views_campaigns.share(one, key_id, start_us) for key_id, one in shares.items()}
        after = first + len(page)
        return MemberList(
            campaign=campaign_id,
            members=[views_campaigns.member(one, parts.get(one.key_id)) for one in page],
            next_cursor=str(after) if page and after < found.size else None,
        )

    return routes


async def _members(acting: Acting, campaign_id: str, first: int, count: int) -> list[Member]:
    """Members from the `first` on; they are stored in pages of their own size."""
    found: list[Member] = []
    start = first
    while len(found) < count:
        number, skip = divmod(start, PAGE_MEMBERS)
        page = (await acting.campaigns.members(campaign_id, number))[skip:]
        if not page:
            break
        found += page
        start += len(page)
    return found[:count]


async def _decide(
    acting: Acting, auditor: Auditor, caller: Caller, request: Request, campaign_id: str, key_id: str, *, confirm: bool
) -> ShareDecided:
    asked = await read_body(request, DecisionIn)
    inheritance = acting.inheritance
    async with answered():
        act = await inheritance.acts.of(campaign_id)
        if act is None:
            raise HTTPException(404, UNKNOWN if await acting.campaigns.head(campaign_id) is None else "Nothing is done.")
        share = (await inheritance.acts.shares_of(act.id, [key_id])).get(key_id)
        if share is None:
            raise HTTPException(404, "This key has no share in what is done about the campaign.")
        if (await act_out(acting, act)).status != "standing":
            raise HTTPException(409, "The action about this campaign does not stand; nothing is done.")
        if confirm and act.mode == "shadow":
            raise HTTPException(409, "The action is in shadow for all members; take it in mode real.")
        (subject,) = await acting.finder.look([key_id])
        out = excuse(key_id, subject.account, await allowed_subjects(acting.store))
        if confirm and out:
            raise HTTPException(409, "This key is on the allow-list or under contract; nothing is done about it.")
    if confirm and act.action == "suspend" and not allowed(caller.role, "orders.suspend"):
        raise HTTPException(403, f"The role {caller.role} does not have the permission orders.suspend.")
    what = "campaign.confirm" if confirm else "campaign.lift"
    await auditor.record(caller, request, what, f"key:{key_id}", reason=asked.reason, after={"campaign": campaign_id})
    async with answered():
        new = await inheritance.decide(act, key_id, share, confirm, caller.name, asked.reason, now_us())
        start_us = await inheritance.start(act)
    return ShareDecided(campaign=campaign_id, key_id=key_id, share=views_campaigns.share(new, key_id, start_us))


def _position(cursor: str) -> int:
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise BadInput("query.cursor: must be the next_cursor of a page of this list")
    return int(cursor or 0)
