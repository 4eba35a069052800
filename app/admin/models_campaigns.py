"""The JSON of campaigns: what ties their keys, how they came to be, and what is done about all of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.admin.models import Out
from app.admin.models_orders import (
    MAX_TTL_SEC,
    MIN_TTL_SEC,
    EffectOut,
    OrderAction,
    ReasonCode,
    ReasonText,
    TrafficShare,
)

CAMPAIGN_ID = r"^c-[0-9a-f]{12}$"

CampaignLevel = Literal["watch", "suspect", "confirmed"]
ActModeName = Literal["shadow", "real"]


class CampaignQuery(BaseModel):
    """Which campaigns are asked for."""

    model_config = ConfigDict(extra="forbid")

    at_least: CampaignLevel = Field("suspect", description="only at this level or a higher one")
    ended: bool = Field(False, description="also those that have ended, or were merged into another, within 90 days")
    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="campaigns in one page")
    cursor: Annotated[str, Field(max_length=32)] = Field("", description="next_cursor of the page before")


class MemberQuery(BaseModel):
    """Which members are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="members in one page")
    cursor: Annotated[str, Field(max_length=32)] = Field("", description="next_cursor of the page before")


class ActOut(Out):
    """What is, or was, done about a campaign as a whole."""

    id: str
    action: str
    mode: ActModeName = Field(description="shadow: nothing is done, it is only known whom it would be about")
    status: Literal["proposed", "standing", "ending", "ended"] = Field(
        description="ending: it is being taken back about one key after the other"
    )
    since: datetime
    until: datetime = Field(description="ends by itself then")
    by: str = Field(description="who took it; linker: policy did")
    reason_code: str
    reason: str
    bulk: str | None = Field(description="the bulk order that carries it out; null in shadow")
    ended: datetime | None
    ended_by: str | None


class CampaignHead(Out):
    """A campaign without its members."""

    id: str
    level: CampaignLevel | Literal["clear"]
    score: float
    kinds: list[str] = Field(description="independent kinds of evidence behind it, the weightiest first")
    keys: int
    organisations: int
    requests: int
    leaked: int = Field(description="different valuable responses that the members took, all together")
    first: datetime = Field(description="when it was formed; event time, as all times of a campaign")
    flagged: datetime | None = Field(description="when it first was suspect")
    since: datetime = Field(description="when its level began")
    changed: datetime
    merged_into: str | None = Field(description="the campaign that took this one in")
    closed: bool = Field(description="no key belongs to it any more")
    act: ActOut | None = Field(description="the newest action about it as a whole; null: there was none")


class CampaignList(Out):
    """Some campaigns, the highest levels and scores first."""

    campaigns: list[CampaignHead]
    next_cursor: str | None = Field(description="give it as `cursor` to get the next page; null on the last one")


class EvidenceOut(Out):
    """What one channel says."""

    channel: str
    kind: str = Field(description="channels of one kind are one piece of evidence")
    nats: float = Field(description="log-likelihood ratio of one operation against unrelated honest keys, capped")
    share: float = Field(description="of the members that show it")
    honest: float = Field(description="of honest keys that show the same")
    text: str


class TurnOut(Out):
    """One happening."""

    at: datetime
    what: Literal["formed", "joined", "left", "merged", "split", "level"]
    keys: int = Field(description="how many it concerned")
    other: str | None = Field(description="the other campaign of a merge or split")
    level: str | None = Field(description="the new level")


class CampaignDetail(CampaignHead):
    """One campaign."""

    evidence: list[EvidenceOut]
    timeline: list[TurnOut] = Field(description="newest first")
    traffic: TrafficShare = Field(description="what its keys did in the last day, of all")
    template: list[list[str]] = Field(
        description="constant words of the shared template as 16-bit hashes in hex, in runs; a slot lies between two runs"
    )


class ShareOut(Out):
    """A key's part in what is done about its campaign."""

    state: Literal["shadow", "real", "lifted"] = Field(
        description="shadow: nothing is done about the key yet; real: it was given an order; lifted: a person took it out"
    )
    real_at: datetime | None = Field(description="when a share in shadow becomes real by itself; null: never")
    by: str | None = Field(description="the person who lifted or confirmed it")
    ref: str | None = Field(description="reference of its order")


class MemberOut(Out):
    """A key in a campaign, and why."""

    key_id: str
    org: str = Field(description="its organisation, or the key itself")
    joined: datetime
    strength: float = Field(description="how surely it belongs, 0–1")
    channels: list[str] = Field(description="what ties it to other members, the strongest first")
    requests: int
    leaked: int
    share: ShareOut | None = Field(description="in the action that stands about the campaign; null: it has none")


class MemberList(Out):
    """Some members, the strongest first."""

    campaign: str
    members: list[MemberOut]
    next_cursor: str | None


class CampaignPreviewIn(BaseModel):
    """What is thought of doing about all members."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: OrderAction = Field(description="observe, throttle, cap, step_up or suspend")


class CampaignActIn(CampaignPreviewIn):
    """What to do about all members, why, and for how long."""

    mode: ActModeName = Field("shadow", description="shadow: only show whom it would be about; real: give the orders")
    factor: Annotated[float, Field(gt=0, le=1)] = Field(0.25, description="share of its budgets that a throttled key keeps")
    requests_per_min: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        20.0, description="ceiling for a throttled key whose plan has none; null: no ceiling"
    )
    ttl_sec: Annotated[int, Field(ge=MIN_TTL_SEC, le=MAX_TTL_SEC)] = Field(description="ends by itself after so long")
    reason_code: ReasonCode = Field(description="the kind of reason, from a fixed list")
    reason: ReasonText = Field(description="for the audit log and the keys' timelines; one line, no secrets")


class CampaignEffect(EffectOut):
    """What an action about a campaign would touch. The counts are of the keys that are not left out."""

    campaign: str
    members: int
    left_out_allowed: int = Field(description="members on the allow-list, by themselves or by their organisation")
    left_out_contract: int = Field(description="members whose account names a use that the contract allows")
    unknown: int = Field(description="members that are forgotten and have no account")
    sentence: str = Field(description="all of it in one sentence")


class CampaignActed(Out):
    """What a POST or DELETE did."""

    campaign: str
    act: ActOut
    keys: int = Field(description="members that it is about")
    left_out: int = Field(description="members on the allow-list or with a contracted use, which it is not about")


class ShareDecided(Out):
    """What was decided about one member."""

    campaign: str
    key_id: str
    share: ShareOut
