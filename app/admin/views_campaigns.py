"""Campaigns → the JSON of the API. Pure."""

from __future__ import annotations

from app.admin.models_campaigns import (
    ActOut,
    CampaignDetail,
    CampaignHead,
    EvidenceOut,
    MemberOut,
    ShareOut,
    TurnOut,
)
from app.admin.models_keys import KeyCampaign
from app.admin.models_orders import TrafficShare
from app.admin.views import moment
from app.enforcement.policy import reference
from app.state.bulks import Bulk
from app.state.campaign_acts import Act, Share
from app.state.campaigns import Head
from detectors.campaign.contract import Campaign, Member


def act(found: Act, bulk: Bulk | None, now_us: int, left: int = 0) -> ActOut:
    """An action.

    Args:
        bulk: the bulk order that carries it out, as it is now.
        left: keys that still have a share in one that has ended.
    """
    start_us = found.since_us if bulk is None or not bulk.start_us else bulk.start_us
    until_us = start_us + found.ttl_sec * 1_000_000
    over = bool(found.ended_us) or now_us >= until_us
    if found.bulk and bulk is not None:
        over = over or bulk.status not in ("proposed", "applying", "done")
    proposed = bulk is not None and bulk.status == "proposed"
    ending = left > 0 or (bulk is not None and bulk.status == "undoing")
    return ActOut(
        id=found.id,
        action=found.action,
        mode=found.mode,
        status="ending" if ending else "ended" if over else "proposed" if proposed else "standing",
        since=moment(start_us),
        until=moment(until_us),
        by=found.by,
        reason_code=found.reason_code,
        reason=found.reason,
        bulk=found.bulk or None,
        ended=moment(found.ended_us) if found.ended_us else None,
        ended_by=found.ended_by or None,
    )


def head(found: Head, acted: ActOut | None) -> CampaignHead:
    """A campaign without its members."""
    return CampaignHead(**_fields(found, acted))


def detail(found: Head, acted: ActOut | None, traffic: TrafficShare) -> CampaignDetail:
    """One campaign with all that ties its keys."""
    one = found.campaign
    return CampaignDetail(
        **_fields(found, acted),
        evidence=[
            EvidenceOut(
                channel=item.channel,
                kind=item.kind,
                nats=item.nats,
                share=item.share,
                honest=item.honest,
                text=item.text,
            )
            for item in one.evidence
        ],
        timeline=[
            TurnOut(
                at=moment(turn.at_us),
                what=turn.what,
                keys=turn.keys,
                other=turn.other or None,
                level=turn.level or None,
            )
            for turn in reversed(one.history)
        ],
        traffic=traffic,
        template=[[run[at : at + 2].hex() for at in range(0, len(run), 2)] for run in one.template],
    )


def share(found: Share, key_id: str, start_us: int) -> ShareOut:
    """A key's part in an action whose orders begin at `start_us`."""
    return ShareOut(
        state=found.state,
        real_at=moment(found.real_us) if found.state == "shadow" and found.real_us else None,
        by=found.by or None,
        ref=reference(key_id, start_us) if found.state == "real" else None,
    )


def member(found: Member, part: ShareOut | None) -> MemberOut:
    """A key in a campaign."""
    return MemberOut(
        key_id=found.key_id,
        org=found.org,
        joined=moment(found.joined_us),
        strength=found.strength,
        channels=list(found.channels),
        requests=found.requests,
        leaked=found.leaked,
        share=part,
    )


def of_key(found: Campaign, key_id: str) -> KeyCampaign | None:
    """The campaign that a key belongs to, and why; None where it is no member."""
    for one in found.members:
        if one.key_id == key_id:
            return KeyCampaign(
                id=found.id,
                level=found.level.name.lower(),
                score=found.score,
                keys=len(found.members),
                strength=one.strength,
                channels=list(one.channels),
                joined=moment(one.joined_us),
            )
    return None


def _fields(found: Head, acted: ActOut | None) -> dict[str, object]:
    one = found.campaign
    return {
        "id": one.id,
        "level": one.level.name.lower(),
        "score": one.score,
        "kinds": list(one.kinds),
        "keys": found.size,
        "organisations": one.organisations,
        "requests": one.requests,
        "leaked": one.leaked,
        "first": moment(one.first_us),
        "flagged": None if one.flagged_us is None else moment(one.flagged_us),
        "since": moment(one.since_us),
        "changed": moment(one.at_us),
        "merged_into": one.merged_into or None,
        "closed": one.closed,
        "act": acted,
    }
