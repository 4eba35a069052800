"""The JSON of keys and organisations: lists, pages, timelines. Scores in [0, 1], higher is more suspicious."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.admin.models import KEY_PREFIX, NAME, AccountOut, AskedMoment, LevelChoice, LevelName, LevelOrNone, Out
from app.admin.models_control import AllowOut
from app.admin.models_intel_hits import SharedOut
from app.admin.models_orders import OrderAction, OrderOut
from app.admin.words import without_credential
from app.state.gateways import Mode
from app.state.orders import MAX_HOURS
from detectors.contract import Level, Status, Verdict


class KeyQuery(BaseModel):
    """What a list of keys is asked for. An unknown parameter is an error rather than a silent typo."""

    model_config = ConfigDict(extra="forbid")

    level: LevelChoice | None = Field(
        None,
        description="only keys at this level, most suspicious first; flagged: suspect and confirmed; "
        "clear: all others, unjudged ones too",
    )
    q: Annotated[str, StringConstraints(pattern=KEY_PREFIX)] | None = Field(
        None, description="only keys whose id starts so, ordered by id"
    )
    org_id: Annotated[str, StringConstraints(pattern=NAME)] | None = Field(
        None, description="only keys whose account names this organisation and that were seen since it does"
    )
    plan: Annotated[str, StringConstraints(pattern=NAME)] | None = Field(
        None, description="only keys on this plan; those without one are on identity.default_plan"
    )
    action: OrderAction | None = Field(
        None, description="only keys about which this is asked for now, by policy or by a person; observe: nothing is"
    )
    min_score: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="only judged keys from this score on")
    max_score: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="only keys up to this score")
    seen_after: AskedMoment | None = Field(None, description="only keys last seen at this time or later")
    seen_before: AskedMoment | None = Field(None, description="only keys last seen before this time")
    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="keys in one page")
    cursor: Annotated[str, Field(max_length=256)] = Field("", description="next_cursor of the page before")

    @property
    def compares(self) -> bool:
        """It asks for something that no index knows, so that more keys are looked at than are told."""
        asked = (self.org_id, self.plan, self.action, self.min_score, self.max_score, self.seen_after, self.seen_before)
        return any(value is not None for value in asked)


class KeyItem(Out):
    """One key in a list."""

    key_id: str
    level: LevelOrNone
    score: float | None = Field(description="null for a key that is unjudged")
    last_seen: datetime | None
    org_id: str = Field(description="of the account; empty without one")
    plan: str
    action: str = Field(description="what is asked for now, by policy or by a person; observe: nothing")
    ref: str = Field(description="reference of that action; empty where nothing is asked for")


class KeyList(Out):
    """One page of keys. With a search it may be short, or empty, and not be the last one."""

    keys: list[KeyItem]
    next_cursor: str | None = Field(description="give it as `cursor` to get the next page; null on the last one")


class ReasonOut(Out):
    """Why, as a sentence and as data."""

    text: str
    feature: str
    value: float
    peer_percentile: float | None = Field(
        description="share of the peer group with a lower value, 0–100; null without peers"
    )
    direction: str = Field(description="the suspicious side: high or low")
    weight: float = Field(description="share of the score that this explains, 0–1")


class ScorerOut(Out):
    """One scorer's part in the verdict."""

    scorer: str
    version: str
    status: str = Field(description="scored, warming_up, not_applicable or failed; the score counts only when scored")
    score: float | None


class VerdictOut(Out):
    """What the service thinks of an entity."""

    status: Literal["judged", "warming_up"]
    level: LevelOrNone
    score: float
    since: datetime = Field(description="when the present level began")
    flagged_at: datetime | None = Field(description="when the level first reached suspect")
    at: datetime = Field(description="event time of the exchange that led to this verdict")
    leaked: int = Field(description="unique valuable answers taken since the first exchange above clear")
    evidence: int = Field(description="answered exchanges of the last seven days, decayed")
    authorised: bool = Field(description="the contract allows this use: no action follows whatever the level")
    leaking: bool = Field(
        description="the leak accountant's alarm stands: what the key takes has looked like a harvest for long enough"
    )
    model_id: str
    reasons: list[ReasonOut]
    scorers: list[ScorerOut]


class FeatureOut(Out):
    """One feature of the catalogue for this entity."""

    name: str
    value: float | None = Field(description="null where the feature is undefined for this entity")
    unit: str
    window: str
    peer_percentile: float | None = Field(
        description="share of profile.compared_with that has a lower value, 0–100; null without peers"
    )
    suspicious: str = Field(description="which side is suspicious: high, low or both")
    meaning: str


class ProfileOut(Out):
    """What is remembered about an entity, in short. Prompts are not."""

    first_seen: datetime
    last_seen: datetime
    exchanges_7d: float = Field(description="answered exchanges of the last seven days, decayed")
    valuable_total: int = Field(description="unique valuable answers ever taken")
    peer_groups: list[str] = Field(description="most specific first")
    compared_with: str | None = Field(
        description="the peer group that percentiles are of: the most specific one the model knows, which for a feature "
        "that too few of it have repeats the next wider one; null without a model"
    )


class ActionOut(Out):
    """What enforcement does about the key now. In shadow mode it does nothing and only says what it would do."""

    mode: Mode = Field(
        description="what the running gateways do: enforce, shadow, mixed (some act), or unknown: no gateway is running"
    )
    action: str = Field(description="in force: a step of the ladder; in mixed mode at the gateways that act")
    would: str = Field(description="what is asked for; differs from `action` where that is not done")
    by: str | None = Field(description="who asks: policy, or person for an order; null when nothing is asked for")
    ref: str | None = Field(description="reference of the action, which the customer sees too")
    held_back: Literal["shadow", "no_gateway", "kill_switch", "allow_list", "share"] | None = Field(
        description="why what is asked for is not done; share: the key is outside the enforced percentage"
    )
    factor: float | None = Field(description="share of its budgets a throttled key keeps")
    requests_per_min: float | None = Field(description="ceiling for a throttled key whose plan has none")
    until: datetime | None = Field(
        description="when it ends unless a new verdict renews it, which no refused request leads to; "
        "null when nothing is asked for"
    )


class HoldOut(Out):
    """A person lifted what is done about the key. Its level goes on being judged."""

    since: datetime
    until: datetime = Field(description="from then on the next verdict acts again")
    reason: str
    by: str = Field(description="who lifted it")
    ref: str = Field(description="reference, for /v1/orders/{ref}")


def _line(value: str) -> str:
    value = value.strip()
    if not value.isprintable() or not value:
        raise ValueError("must be one line of printable characters, and not empty")
    return without_credential(value)


class LiftIn(BaseModel):
    """Why nothing should be done about a key, and for how long."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=500), AfterValidator(_line)] = Field(
        description="for the key's timeline and page; one line"
    )
    hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] = Field(
        24.0, description="for how long; for longer, let the account allow the use"
    )


class FlagRef(Out):
    """Where a flag can be read in full: /v1/keys/{key_id}/flags/{ref}."""

    ref: str
    at: datetime
    level: str
    action: str
    model_id: str


class AppealRef(Out):
    """An appeal, without what was said."""

    id: str
    ref: str
    filed: datetime
    status: str


class CounterEvidence(Out):
    """What speaks for the key: to be read before anything is done about it."""

    authorised: list[str] = Field(description="uses that the contract allows")
    account_age_days: float | None = Field(description="null where it is not known when the key was made")
    known_for_days: float | None = Field(description="since the first exchange that is remembered")
    has_payment: bool | None = Field(description="the account has a means of payment; null without an account")
    allow_listed: bool
    appeals_granted: int = Field(description="appeals about this key that were overturned or granted in part")
    benign_labels: int = Field(description="people who found the key's use to be fine")
    times_flagged: int = Field(description="flags that are remembered, for comparison")


class KeyCampaign(Out):
    """The campaign that a key belongs to, and why."""

    id: str
    level: str
    score: float
    keys: int = Field(description="keys that belong to it")
    strength: float = Field(description="how surely this key belongs, 0–1")
    channels: list[str] = Field(description="what ties it to other members, the strongest first")
    joined: datetime


class KeyMarks(Out):
    """Watermarked answers to a key, of all profiles together."""

    answers: int
    tokens: int = Field(description="that the client got under a mark")
    evidence: float = Field(description="nats above text without the mark: what a search can be expected to find of it")
    last: datetime


class KeyDetail(Out):
    """Everything about one key."""

    key_id: str
    partition: int
    level: LevelOrNone
    last_seen: datetime | None
    account: AccountOut | None
    action: ActionOut
    hold: HoldOut | None = Field(description="why and until when nothing is done about the key; null: nothing is lifted")
    order: OrderOut | None = Field(description="a person's order that stands about the key")
    asked_by_policy: str = Field(description="what policy asks for beside the order, or by itself; observe: nothing")
    allowed: AllowOut | None = Field(description="entry of the allow-list that the key, or its organisation, stands on")
    campaign: KeyCampaign | None = Field(description="the group of keys acting as one that it belongs to; null: none")
    marks: KeyMarks | None = Field(
        description="watermarked answers to it, see /v1/watermark/ledger; null: none, or the role lacks watermark.read"
    )
    shared: SharedOut | None = Field(
        description="what other providers shared that it shows; null: nothing, or the role lacks intel.read"
    )
    counter_evidence: CounterEvidence
    flags: list[FlagRef] = Field(description="newest first")
    appeals: list[AppealRef] = Field(description="newest first")
    verdict: VerdictOut | None = Field(description="null until the key has been scored for the first time")
    profile: ProfileOut | None
    features: list[FeatureOut]


class OrgDetail(Out):
    """Everything about one organisation."""

    org_id: str
    verdict: VerdictOut | None
    profile: ProfileOut
    features: list[FeatureOut]


class TimelineReason(Out):
    """A reason as it was at that moment."""

    text: str
    feature: str
    value: float
    peer_percentile: float | None
    direction: str


class TimelineItem(Out):
    """One change of a key's level, or of what is done about it."""

    at: datetime
    who: str = Field(description="worker, or admin: a person")
    by: str = Field(description="name of that person; empty for the worker")
    what: str = Field(
        description="level: it changed; authorised: what the contract covers changed; leak: the leak accountant's alarm "
        "began or ended; lifted; lift_ended: taken back; order: a person gave one; order_ended: before its time"
    )
    ref: str = Field(description="reference of the order or lift that it is about; empty for none")
    note: str = Field(description="the person's reason; empty for the worker")
    until: datetime | None = Field(description="end of a lift or an order")
    was: LevelName
    level: LevelName
    score: float
    leaked: int
    evidence: int
    authorised: bool
    leaking: bool = Field(description="the leak accountant's alarm stood")
    action: str = Field(description="what is asked for from then on; empty for clear, and for what policy asks for again")
    model_id: str
    reasons: list[TimelineReason]


class Timeline(Out):
    """A key's changes of level and what people did about it, newest first, at most 100."""

    key_id: str
    changes: list[TimelineItem]


def level_or_none(verdict: Verdict | None) -> LevelOrNone:
    """A level as the API writes it: clear only where there is evidence for it."""
    if verdict is None or (verdict.level is Level.CLEAR and verdict.status is not Status.JUDGED):
        return "unjudged"
    return level_name(verdict.level)


def level_name(level: Level) -> LevelName:
    """A level as the API writes it."""
    names: dict[Level, LevelName] = {
        Level.CLEAR: "clear",
        Level.WATCH: "watch",
        Level.SUSPECT: "suspect",
        Level.CONFIRMED: "confirmed",
    }
    return names[level]


def status_name(status: Status) -> Literal["judged", "warming_up"]:
    """A verdict's status as the API writes it."""
    return "judged" if status is Status.JUDGED else "warming_up"
