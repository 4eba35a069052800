"""One key's page: everything that an analyst reads before acting. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.admin import views, views_intel_hits, views_orders
from app.admin.models_control import AllowOut
from app.admin.models_intel_hits import SharedOut
from app.admin.models_keys import (
    AppealRef,
    CounterEvidence,
    FlagRef,
    KeyCampaign,
    KeyDetail,
    KeyMarks,
    VerdictOut,
    level_or_none,
)
from app.admin.views import moment
from app.enforcement.policy import decode_verdict, share_of
from app.settings import EnforcementSettings
from app.state.accounts import Account
from app.state.appeals import Appeal
from app.state.control import AllowEntry
from app.state.flags import FlagRecord
from app.state.gateways import LiveGateways
from app.state.labels import Label
from app.state.mark_ledger import Marked
from app.state.order_records import OrderRecord
from app.state.orders import Order
from app.state.reading import StoredKey
from detectors.analysis import EntityState
from detectors.contract import Verdict
from detectors.model import Model

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """What a key's page is made of.

    Attributes:
        record: of the order that stands about the key; beneath: the order that stands again when that is undone.
        state: decoded from `stored`; None where there is none that this release can read.
        policy: in force at the admin process.
        now_us: the time.
        campaign: the one that the key belongs to.
        marked: its ledger of marks, empty for who may not see that.
        shared: what other providers shared that it shows; None too for who may not see that.
    """

    stored: StoredKey
    record: OrderRecord | None
    beneath: Order | None
    state: EntityState | None
    account: Account | None
    gateways: LiveGateways
    policy: EnforcementSettings
    allowed: AllowEntry | None
    flags: Sequence[FlagRecord]
    appeals: Sequence[Appeal]
    labels: Sequence[Label]
    now_us: int
    campaign: KeyCampaign | None = None
    marked: Sequence[Marked] = ()
    shared: SharedOut | None = None


def detail(page: Page, model: Model | None) -> KeyDetail:
    """Everything about one key."""
    stored, state, account = page.stored, page.state, page.account
    found = None if state is None else state.verdict
    order = stored.order
    return KeyDetail(
        key_id=stored.key_id,
        partition=stored.partition,
        level=level_or_none(found),
        last_seen=None if stored.last_seen_ms is None else moment(stored.last_seen_ms * 1000),
        account=None if account is None else views.account(stored.key_id, account),
        action=views.action(
            stored.verdict,
            page.gateways.mode,
            page.now_us,
            killed=0 < page.gateways.count <= page.gateways.killed,
            allowed=page.allowed is not None,
            shared=share_of(stored.key_id) < min(page.policy.enabled_percent, page.policy.enforced_percent),
        ),
        hold=views.hold(order),
        order=None
        if order is None
        else views_orders.order(stored.key_id, order, page.record, standing=True, beneath=page.beneath),
        asked_by_policy=_asked(stored.verdict if order is None else stored.asked, page.now_us),
        allowed=None if page.allowed is None else _allowed(page.allowed, page.now_us),
        campaign=page.campaign,
        marks=marks(page.marked),
        shared=page.shared,
        counter_evidence=_counter_evidence(page),
        flags=[
            FlagRef(ref=one.ref, at=moment(one.at_us), level=one.level, action=one.measure.action, model_id=one.model_id)
            for one in page.flags
        ],
        appeals=[
            AppealRef(id=one.id, ref=one.ref, filed=moment(one.at_us), status=one.outcome or "open") for one in page.appeals
        ],
        verdict=None if found is None else verdict(found, page.shared),
        profile=None if state is None else views.profile(state.profile, model),
        features=[] if state is None else views.feature_list(state.profile, model),
    )


def verdict(found: Verdict, shared: SharedOut | None) -> VerdictOut:
    """The verdict, with what was shared among its reasons: it never changes the level."""
    told = views.verdict(found)
    if shared is None:
        return told
    return told.model_copy(update={"reasons": [*told.reasons, views_intel_hits.reason(shared)]})


def marks(rows: Sequence[Marked]) -> KeyMarks | None:
    """A key's ledger of marks in sum; None for an empty one."""
    if not rows:
        return None
    return KeyMarks(
        answers=sum(row.answers for row in rows),
        tokens=sum(row.tokens for row in rows),
        evidence=round(sum(row.nats for row in rows), 6),
        last=moment(max(row.last_ms for row in rows) * 1000),
    )


def _counter_evidence(page: Page) -> CounterEvidence:
    account, state = page.account, page.state
    made_us = None if account is None else account.created_us
    return CounterEvidence(
        authorised=[] if account is None else list(account.authorised),
        account_age_days=None if made_us is None else _days(page.now_us - made_us),
        known_for_days=None if state is None else _days(page.now_us - state.profile.first_at_us),
        has_payment=None if account is None else bool(account.payment_id),
        allow_listed=page.allowed is not None,
        appeals_granted=sum(one.outcome in ("overturned", "partly") for one in page.appeals),
        benign_labels=sum(one.label == "benign" for one in page.labels),
        times_flagged=len(page.flags),
    )


def _asked(stored: str, now_us: int) -> str:
    found = decode_verdict(stored)
    return "observe" if found is None or found.until_us <= now_us else found.action


def _allowed(entry: AllowEntry, now_us: int) -> AllowOut:
    return AllowOut(
        subject=entry.subject,
        owner=entry.owner,
        reason=entry.reason,
        expires=moment(entry.expires_us),
        by=entry.by,
        created=moment(entry.created_us),
        active=entry.expires_us > now_us,
    )


def _days(span_us: int) -> float:
    return round(max(0, span_us) / _DAY_US, 2)
