"""The JSON of orders: what a person does about keys, what that will touch, and proposals that wait for a second person."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.admin.models import KEY_PREFIX, NAME, KeyId, Out
from app.admin.words import without_credential

OrderAction = Literal["observe", "throttle", "cap", "step_up", "suspend"]
"""The ladder; each includes those below it, and observe means that nothing is done, whatever the policy asks for."""

ACTIONS: tuple[OrderAction, ...] = get_args(OrderAction)

ReasonCode = Literal[
    "extraction",
    "leaked_key",
    "fraud",
    "terms",
    "investigation",
    "load",
    "agreement",
    "false_alarm",
    "appeal",
    "legal",
    "other",
]
"""Why, for statistics and for the customer's statement: suspected extraction, a credential in wrong hands, fraud, another
breach of the terms, a case that is being looked at, protecting the service. For lifting: an agreement with the customer, a
verdict that was wrong, an appeal that was granted. A legal duty; or none of these."""

MIN_TTL_SEC = 60
MAX_TTL_SEC = 30 * 86_400
"""An order ends within a month: what should hold for longer is a contract, an account's or the allow-list's matter."""

SECOND_PERSON_ABOVE = 100
"""More keys than this at once need another person's approval."""

MAX_NAMED_KEYS = 5_000
MAX_KEYS = 50_000
"""Most keys that one order may name, and most that an organisation or a query may stand for."""

MIN_REASON_CHARS = 10
MAX_REASON_CHARS = 500

REF = r"^[0-9a-z][0-9a-z-]{3,63}$"
IDEMPOTENCY_KEY = r"^[!-~]{8,128}$"

SHOWN = 20
"""Key ids that an answer shows as examples."""


def one_line(value: str) -> str:
    """A reason as it is stored: printable, without spaces around it."""
    value = value.strip()
    if not value.isprintable() or len(value) < MIN_REASON_CHARS:
        raise ValueError(f"must be one line of at least {MIN_REASON_CHARS} printable characters")
    return without_credential(value)


ReasonText = Annotated[str, Field(max_length=MAX_REASON_CHARS), AfterValidator(one_line)]


class KeyMatch(BaseModel):
    """Keys by what the service thinks of them now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: Literal["watch", "suspect", "confirmed"] = Field(description="keys at this level or a higher one")
    min_score: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="and with at least this score")
    prefix: Annotated[str, StringConstraints(pattern=KEY_PREFIX)] | None = Field(None, description="and whose id starts so")


class Subjects(BaseModel):
    """Which keys: named, all of an organisation, or those that match. Exactly one of the three."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Annotated[list[KeyId], Field(min_length=1, max_length=MAX_NAMED_KEYS)] | None = Field(None, description="key ids")
    org_id: Annotated[str, StringConstraints(pattern=NAME)] | None = Field(
        None, description="every key whose account names this organisation"
    )
    match: KeyMatch | None = Field(None, description="every key that matches now")

    @model_validator(mode="after")
    def _exactly_one(self) -> Subjects:
        if sum(part is not None for part in (self.keys, self.org_id, self.match)) != 1:
            raise ValueError("must have exactly one of keys, org_id and match")
        if self.keys is not None and len(set(self.keys)) != len(self.keys):
            raise ValueError("keys must not name a key twice")
        return self


class PreviewIn(BaseModel):
    """What is thought of doing. A preview needs no reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subjects: Subjects
    action: OrderAction = Field(description="observe, throttle, cap, step_up or suspend")


class OrderIn(PreviewIn):
    """What to do about some keys, why, and for how long."""

    factor: Annotated[float, Field(gt=0, le=1)] = Field(0.25, description="share of its budgets that a throttled key keeps")
    requests_per_min: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        20.0, description="ceiling for a throttled key whose plan has none; null: no ceiling"
    )
    ttl_sec: Annotated[int, Field(ge=MIN_TTL_SEC, le=MAX_TTL_SEC)] = Field(description="ends by itself after so long")
    reason_code: ReasonCode = Field(description="the kind of reason, from a fixed list")
    reason: ReasonText = Field(description="for the audit log and the key's timeline; one line, no secrets")


class DecisionIn(BaseModel):
    """Why a second person approves or refuses, or why something is undone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: ReasonText = Field(description="for the audit log; one line")


class OrderQuery(BaseModel):
    """Which standing orders are asked for."""

    model_config = ConfigDict(extra="forbid")

    action: OrderAction | None = Field(None, description="only this action")
    by: Annotated[str, Field(max_length=128)] | None = Field(None, description="only of this person")
    key_id: KeyId | None = Field(None, description="only about this key")
    limit: Annotated[int, Field(ge=1, le=500)] = Field(100, description="orders in one page")
    cursor: Annotated[str, Field(max_length=256)] = Field("", description="next_cursor of the page before")


def _printable(value: str) -> str:
    if value and not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return without_credential(value.strip())


class ReasonQuery(BaseModel):
    """Why something is undone or changed, where the body has no place for it or there is none."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS), AfterValidator(_printable)] = Field(
        "", description="why, for the audit log, and the timeline where it is about a key; one printable line"
    )


class EndQuery(ReasonQuery):
    """Whose orders are ended, and why."""

    key_id: KeyId = Field(description="the key")


class ProposalQuery(BaseModel):
    """Which bulk orders are asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = Field(50, description="the newest so many")


class BeneathOut(Out):
    """An order that stands again when the one above it is undone."""

    ref: str
    action: str
    until: datetime
    by: str


class OrderOut(Out):
    """A person's order about one key."""

    ref: str = Field(description="reference of the order, which the customer sees too")
    key_id: str
    action: str
    factor: float | None = Field(description="share of its budgets the key keeps; null where nothing is narrowed")
    requests_per_min: float | None
    level: str = Field(description="the key's level when the order was given")
    since: datetime
    until: datetime
    reason_code: str
    reason: str
    by: str = Field(description="who gave it")
    standing: bool = Field(description="false: it has ended, was undone, or another one replaced it")
    bulk: str | None = Field(description="the bulk order it is a part of")
    replaces: str | None = Field(description="the order that stood before")
    reinstates: BeneathOut | None = Field(
        description="what stands again when this one is undone now: the order that it replaces, or one beneath that where "
        "it was overturned; null: what policy asks for, or this one stands no more"
    )
    overturned: bool = Field(description="an appeal about it was granted: it never stands again")


class OrderList(Out):
    """Some standing orders, in no order; one may come on two pages."""

    orders: list[OrderOut]
    next_cursor: str | None = Field(description="give it as `cursor` to get the next page; null on the last one")


class LevelCounts(Out):
    """Keys by level."""

    unjudged_or_clear: int
    watch: int
    suspect: int
    confirmed: int


class TrafficShare(Out):
    """What the keys did in the last day, as far as the archive on this machine knows."""

    known: bool = Field(description="false: this process has no archive to read")
    requests: int
    tokens: int
    requests_share: float = Field(description="of all requests of that day, 0–1")
    tokens_share: float = Field(description="of all tokens, 0–1")
    until: datetime | None = Field(description="the newest exchange that is counted")


class EffectOut(Out):
    """What an order would touch."""

    keys: int
    organisations: int = Field(description="distinct ones that the keys' accounts name")
    with_account: int = Field(description="keys that have an account; the others are strangers")
    paying: int = Field(description="keys whose account has a means of payment")
    levels: LevelCounts
    traffic: TrafficShare
    already: dict[str, int] = Field(description="keys by what is asked for about them now, by policy or by a person")
    ordered: int = Field(description="keys about which a person's order stands, which this one would replace")
    allowed: int = Field(description="keys that are on the allow-list, by themselves or by their organisation")
    allowed_subjects: list[str] = Field(description="the entries of the allow-list that they are on, the first of them")
    examples: list[str] = Field(description="the first key ids")
    needs_second_person: bool
    warnings: list[str] = Field(description="sentences that a person should read before going on")


class PlacedOut(Out):
    """What a POST did."""

    keys: int
    bulk: str | None = Field(description="id of the bulk order, to undo all of it at once; null for a single key")
    orders: list[OrderOut]


class UndoneOut(Out):
    """What a DELETE did."""

    ref: str
    status: Literal["undone", "undoing", "withdrawn"] = Field(
        description="undoing: a bulk order is being taken back, see its address; withdrawn: it was not yet approved"
    )
    keys: int = Field(description="keys that the order was about")
    reinstated: str | None = Field(description="the order that stands again, as it did before this one")


class EndedOut(Out):
    """What ending the orders about a key did."""

    key_id: str
    ended: list[str] = Field(description="the order that stood, and those that it would have given way to")


class ChangedSet(Out):
    """How the keys that match have changed since the proposal."""

    gone: int = Field(description="were proposed and do not match any more: nothing is done about them")
    new: int = Field(description="match now and were not proposed: nothing is done about them either")
    gone_examples: list[str]
    new_examples: list[str]


BulkStatus = Literal["proposed", "expired", "refused", "applying", "done", "undoing", "undone"]


class BulkOut(Out):
    """An order about several keys: a proposal, or one that is being carried out."""

    id: str
    status: BulkStatus
    subjects: dict[str, Any] = Field(description="as they were asked for; named keys only by number")
    action: str = Field(description="as of an order, or allow: an entry of the allow-list")
    factor: float
    requests_per_min: float | None
    ttl_sec: int
    reason_code: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires: datetime = Field(description="until then it can be approved")
    decided_by: str | None
    decided_at: datetime | None
    decision: str | None = Field(description="the second person's reason")
    keys: int = Field(description="keys that it is about")
    done: int = Field(description="keys that were gone through, of `keys`")
    skipped: int = Field(description="of those, keys that no longer matched, or were forgotten meanwhile")
    needs_second_person: bool


class BulkDetail(BulkOut):
    """One bulk order with what it would touch now."""

    changed: ChangedSet | None = Field(description="null when it was decided or named its keys")
    effect: EffectOut | None = Field(description="null when it was decided")


class BulkList(Out):
    """Bulk orders, the newest first."""

    proposals: list[BulkOut]
