"""What the routes about campaigns do: whom an action would be about, taking it, taking it back.

An action about a campaign is a bulk order about its members of that moment (`app.admin.proposals`), with the roles, the
second person and the limits of one, and a record by which those who join later get their share (`app.worker.inherit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import HTTPException, Request
from msgspec import structs

from app.admin import views_campaigns
from app.admin.acting import Acting
from app.admin.auditing import Auditor
from app.admin.caller import Caller
from app.admin.deadline import answered
from app.admin.giving import KEYS_PER_SEC
from app.admin.models_campaigns import ActOut, CampaignActed, CampaignActIn, CampaignEffect
from app.admin.models_orders import SECOND_PERSON_ABOVE, OrderAction, OrderIn, Subjects
from app.admin.ordering import now_us
from app.admin.preview import effect
from app.admin.subjects import Subject
from app.enforcement.campaigns import alive, excuse
from app.errors import BadInput
from app.state.campaign_acts import Act, Share
from app.state.campaigns import Head
from app.worker.inherit import allowed_subjects, new_id
from detectors.campaign.contract import Campaign

UNKNOWN = "No campaign has this id, or it ended more than 90 days ago."


@dataclass(frozen=True, slots=True)
class Whom:
    """Members by what an action does about them.

    Attributes:
        subjects: those that it is about.
        allowed, contract: how many are left out, and by what.
        unknown: members that are forgotten and have no account.
    """

    subjects: Sequence[Subject]
    allowed: int
    contract: int
    unknown: int

    @property
    def left_out(self) -> int:
        """How many an action is not about although they could be acted about."""
        return self.allowed + self.contract


async def head_of(acting: Acting, campaign_id: str) -> Head:
    """A campaign without its members; 404 where there is none."""
    found = await acting.campaigns.head(campaign_id)
    if found is None:
        raise HTTPException(404, UNKNOWN)
    return found


async def living(acting: Acting, campaign_id: str) -> Campaign:
    """A campaign with its members; 404 where there is none, 409 where nobody belongs to it, with where its keys went."""
    found = await acting.campaigns.read(campaign_id)
    if found is None:
        raise HTTPException(404, UNKNOWN)
    if found.merged_into:
        raise HTTPException(409, f"This campaign was merged into {found.merged_into}; act about that one.")
    if not alive(found) or not found.members:
        raise HTTPException(409, "No key belongs to this campaign any more; nothing is done.")
    return found


async def whom(acting: Acting, campaign: Campaign) -> Whom:
    """The members, those left out counted."""
    allowed = await allowed_subjects(acting.store)
    subjects = await acting.finder.look(sorted(member.key_id for member in campaign.members))
    known = [one for one in subjects if one.fact.partition is not None or one.account is not None]
    excuses = {one.key_id: excuse(one.key_id, one.account, allowed) for one in known}
    return Whom(
        [one for one in known if not excuses[one.key_id]],
        sum(found == "allow_list" for found in excuses.values()),
        sum(found == "contract" for found in excuses.values()),
        len(subjects) - len(known),
    )


async def preview(acting: Acting, campaign: Campaign, action: OrderAction) -> CampaignEffect:
    """What an action would touch."""
    found = await whom(acting, campaign)
    made = await effect(found.subjects, action, acting.traffic, acting.store, now_us())
    traffic = f"{made.traffic.requests_share:.2%}" if made.traffic.known else "an unknown share"
    sentence = (
        f"It would affect {made.keys:,} of {len(campaign.members):,} keys, {made.organisations:,} organisations, {traffic} "
        f"of the last day's traffic; {found.allowed:,} on the allow-list and {found.contract:,} under contract are left "
        f"out; {made.ordered:,} have an order already."
    )
    return CampaignEffect(
        **made.model_dump(),
        campaign=campaign.id,
        members=len(campaign.members),
        left_out_allowed=found.allowed,
        left_out_contract=found.contract,
        unknown=found.unknown,
        sentence=sentence,
    )


async def act_out(acting: Acting, found: Act) -> ActOut:
    """An action as it is now."""
    bulk = await acting.bulks.get(found.bulk) if found.bulk else None
    left = await acting.inheritance.acts.count(found.id) if found.ended_us and found.mode == "real" else 0
    return views_campaigns.act(found, bulk, now_us(), left)


async def take(
    acting: Acting, auditor: Auditor, caller: Caller, request: Request, campaign_id: str, asked: CampaignActIn
) -> tuple[int, CampaignActed]:
    """(status, what was done): shadow is known at once, few keys are acted about at once, many are proposed.

    Raises:
        HTTPException: 404 and 409 as `living`; 409 too while another action stands, or is being taken back.
        BadInput: every member is left out.
    """
    async with acting.patiently():
        campaign = await living(acting, campaign_id)
        before = await acting.inheritance.acts.of(campaign_id)
        standing = None if before is None else await act_out(acting, before)
        found = await whom(acting, campaign)
    if standing is not None and standing.status == "ending":
        raise HTTPException(
            409, f"{standing.action} about this campaign is still being taken back; wait until it has ended."
        )
    if before is not None and standing is not None and standing.status != "ended" and before.mode == "real":
        raise HTTPException(409, f"{before.action} by {before.by} is {standing.status} about this campaign; undo it first.")
    if not found.subjects:
        raise BadInput("every member is on the allow-list, under contract or forgotten; nothing is done")
    key_ids = [one.key_id for one in found.subjects]
    terms = asked.model_dump(mode="json", exclude={"mode", "reason"})
    order = OrderIn.model_construct(
        **(asked.model_dump(exclude={"mode"}) | {"subjects": Subjects.model_construct(keys=key_ids)})
    )
    planned = acting.bulks.plan(order, key_ids, caller)
    planned = structs.replace(planned, terms=structs.replace(planned.terms, subjects={"campaign": campaign_id}))
    real = asked.mode == "real"
    second = real and planned.terms.second
    at_us = planned.start_us or now_us()
    new = Act(
        id=new_id(),
        campaign=campaign_id,
        action=asked.action,
        factor=asked.factor,
        requests_per_min=asked.requests_per_min,
        ttl_sec=asked.ttl_sec,
        reason_code=asked.reason_code,
        reason=asked.reason,
        by=caller.name,
        mode=asked.mode,
        level=campaign.level.name.lower(),
        since_us=at_us,
        bulk=planned.terms.id if real else "",
    )
    after = terms | {"mode": asked.mode, "keys": len(key_ids), "left_out": found.left_out, "bulk": new.bulk}
    what = "campaign.propose" if second else "campaign.act"
    await auditor.record(caller, request, what, f"campaign:{campaign_id}", reason=asked.reason, after=after)
    async with answered(len(key_ids) / KEYS_PER_SEC):
        if before is not None and not before.ended_us:
            await acting.inheritance.end(before, caller.name, "another action was taken", at_us)
        await acting.inheritance.acts.put(new)
        state = Share("real" if real else "shadow", at_us)
        await acting.inheritance.acts.put_shares(new, dict.fromkeys(key_ids, state))
        if real:
            await acting.bulks.keep(planned, key_ids)
    if real and not second:
        async with acting.patiently(len(key_ids) / KEYS_PER_SEC):
            await acting.bulks.finish(planned.terms.id)
    async with answered():
        told = await act_out(acting, new)
    status = 202 if second else 201
    return status, CampaignActed(campaign=campaign_id, act=told, keys=len(key_ids), left_out=found.left_out)


async def take_back(
    acting: Acting, auditor: Auditor, caller: Caller, request: Request, campaign_id: str, note: str
) -> tuple[int, CampaignActed]:
    """(status, what was done): the action about a campaign ends, with the orders of all who have a share in it.

    Many keys are gone through behind the answer. What a stop breaks off there, the bulk order's next process and the worker
    that links finish.

    Raises:
        HTTPException: 404 where there is none; 409 where it has ended.
    """
    async with acting.patiently():
        found = await acting.inheritance.acts.of(campaign_id)
        if found is None:
            raise HTTPException(404, "Nothing is or was done about a campaign of this id as a whole.")
        if found.ended_us:
            raise HTTPException(409, "Nothing is done about this campaign any more.")
        shares = await acting.inheritance.acts.shares(found.id)
        bulk = await acting.bulks.get(found.bulk) if found.bulk else None
    await auditor.record(
        caller,
        request,
        "campaign.undo",
        f"campaign:{campaign_id}",
        reason=note,
        before={"act": found.id, "action": found.action, "mode": found.mode, "bulk": found.bulk, "keys": len(shares)},
    )
    many = found.mode == "real" and len(shares) > SECOND_PERSON_ABOVE
    note, at_us = note or "taken back", now_us()
    async with acting.patiently(0.0 if many else len(shares) / KEYS_PER_SEC):
        if bulk is not None and bulk.status in ("proposed", "applying", "done"):
            status = "refused" if bulk.status == "proposed" else "undoing"
            await acting.bulks.decide(bulk, status, caller, note)
        ended = structs.replace(found, ended_us=at_us, ended_by=caller.name)
        if many:
            await acting.inheritance.acts.put(ended)
            told = await act_out(acting, ended)
            acting.behind(_end(acting, ended, note, at_us), f"the undo about campaign {campaign_id}")
        else:
            await _end(acting, found, note, at_us, caller.name)
            told = await act_out(acting, ended)
    return 202 if many else 200, CampaignActed(campaign=campaign_id, act=told, keys=len(shares), left_out=0)


async def _end(acting: Acting, act: Act, note: str, at_us: int, by: str = "") -> None:
    """Those that the bulk order was about first, then those who joined; who has ended it is kept where it is known."""
    if act.bulk:
        await acting.bulks.finish(act.bulk)
    await acting.inheritance.end(act, by or act.ended_by, note, at_us)
