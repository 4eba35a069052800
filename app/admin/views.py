"""Stored state → the JSON of the API. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from app.admin.models import AccountIn, AccountOut, Health, LookOut, PartitionOut
from app.admin.models_keys import (
    ActionOut,
    FeatureOut,
    HoldOut,
    KeyItem,
    ProfileOut,
    ReasonOut,
    ScorerOut,
    TimelineItem,
    TimelineReason,
    VerdictOut,
    level_name,
    level_or_none,
    status_name,
)
from app.enforcement import timeline
from app.enforcement.policy import Action, decode_verdict
from app.settings import Settings
from app.state.accounts import Account
from app.state.gateways import Mode
from app.state.health import StateHealth
from app.state.orders import Order
from app.state.reading import KeyRow
from detectors.contract import ScoreStatus, Verdict
from detectors.features import CATALOGUE, features
from detectors.model import Model
from detectors.profile import Profile

LAG_WARNING_SEC = 60.0
"""A worker that is further behind than this judges too late to matter; the goal is seconds."""


def moment(at_us: int) -> datetime:
    """µs → time in UTC."""
    return datetime.fromtimestamp(at_us / 1_000_000, tz=UTC)


def micros(value: datetime | None) -> int | None:
    """Time with a zone → µs."""
    return None if value is None else round(value.timestamp() * 1_000_000)


def rounded(score: float) -> float:
    """A score with four digits: more of them mean nothing."""
    return round(score, 4)


def key_item(row: KeyRow, account: Account | None, plan: str, asked: Action | None) -> KeyItem:
    """One line of the key list."""
    return KeyItem(
        key_id=row.key_id,
        level=level_name(row.level) if row.judged else "unjudged",
        score=rounded(row.score) if row.judged else None,
        last_seen=None if row.last_seen_ms is None else moment(row.last_seen_ms * 1000),
        org_id="" if account is None else account.org_id,
        plan=plan,
        action="observe" if asked is None else asked.action,
        ref="" if asked is None or asked.action == "observe" else asked.ref,
    )


def action(
    stored: str, mode: Mode, now_us: int, *, killed: bool = False, allowed: bool = False, shared: bool = True
) -> ActionOut:
    """What enforcement does about a key at this time.

    Args:
        stored: the string that `decide` reads.
        mode: what the running gateways do about what policy asks for.
        now_us: the time.
        killed: the kill switch is on at all of them.
        allowed: the key stands on the allow-list, which holds policy back and no person.
        shared: the policy acts on this key's share of the keys.
    """
    found = decode_verdict(stored)
    if found is None or found.action == "observe" or now_us >= found.until_us:
        return ActionOut(
            mode=mode,
            action="observe",
            would="observe",
            by=None,
            ref=None,
            held_back=None,
            factor=None,
            requests_per_min=None,
            until=None,
        )
    held_back: Literal["shadow", "no_gateway", "kill_switch", "allow_list", "share"] | None = None
    if mode == "unknown":
        held_back = "no_gateway"
    elif killed:
        held_back = "kill_switch"
    elif not found.by_person:
        held_back = "allow_list" if allowed else "shadow" if mode == "shadow" else None if shared else "share"
    return ActionOut(
        mode=mode,
        action="observe" if held_back else found.action,
        would=found.action,
        by=found.by,
        ref=found.ref or None,
        held_back=held_back,
        factor=found.factor,
        requests_per_min=found.requests_per_min,
        until=moment(found.until_us),
    )


def hold(found: Order | None) -> HoldOut | None:
    """An order that lifts what policy asks for; None where none stands, or one that does something."""
    if found is None or found.action != "observe":
        return None
    return HoldOut(
        since=moment(found.since_us), until=moment(found.until_us), reason=found.reason, by=found.by, ref=found.ref
    )


def account(key_id: str, found: Account) -> AccountOut:
    """An account as it is stored."""
    return AccountOut(
        key_id=key_id,
        org_id=found.org_id,
        plan=found.plan,
        created_at=None if found.created_us is None else moment(found.created_us),
        payment_id=found.payment_id,
        authorised=list(found.authorised),
        country=found.country,
    )


def stored_account(given: AccountIn) -> Account:
    """An account as it will be stored."""
    return Account(
        org_id=given.org_id,
        plan=given.plan,
        created_us=micros(given.created_at),
        payment_id=given.payment_id,
        authorised=tuple(given.authorised),
        country=given.country,
    )


def verdict(found: Verdict) -> VerdictOut:
    """A verdict with its reasons and the scorers behind it."""
    return VerdictOut(
        status=status_name(found.status),
        level=level_or_none(found),
        score=rounded(found.score),
        since=moment(found.since_us),
        flagged_at=None if found.flagged_us is None else moment(found.flagged_us),
        at=moment(found.at_us),
        leaked=found.leaked,
        evidence=found.evidence,
        authorised=found.authorised,
        leaking=found.leaking,
        model_id=found.model_id,
        reasons=[
            ReasonOut(
                text=reason.text,
                feature=reason.feature,
                value=reason.value,
                peer_percentile=reason.percentile,
                direction=reason.direction,
                weight=rounded(reason.weight),
            )
            for reason in found.reasons
        ],
        scorers=[
            ScorerOut(
                scorer=score.scorer,
                version=score.version,
                status=score.status.value,
                score=rounded(score.value) if score.status is ScoreStatus.SCORED else None,
            )
            for score in found.scores
        ],
    )


def profile(found: Profile, model: Model | None) -> ProfileOut:
    """The part of a profile that a person can read."""
    groups = features(found, found.last_at_us).groups
    return ProfileOut(
        first_seen=moment(found.first_at_us),
        last_seen=moment(found.last_at_us),
        exchanges_7d=found.exchanges_7d,
        valuable_total=found.valuable_total,
        peer_groups=list(groups),
        compared_with=None if model is None else model.peer_group(groups),
    )


def feature_list(found: Profile, model: Model | None) -> list[FeatureOut]:
    """Every feature of the catalogue at the time of the last exchange, with its place among the peers."""
    row = features(found, found.last_at_us)
    listed = []
    for at, entry in enumerate(CATALOGUE):
        value = float(row.values[at]) if row.present[at] else None
        listed.append(
            FeatureOut(
                name=entry.name,
                value=value,
                unit=entry.unit,
                window=entry.window,
                peer_percentile=None if model is None or value is None else model.percentile(entry.name, value, row.groups),
                suspicious=entry.suspicious,
                meaning=entry.meaning,
            )
        )
    return listed


def timeline_item(item: Mapping[str, Any]) -> TimelineItem:
    """One change, as it was stored. What an earlier release did not store yet was always a worker's change of level."""
    until_us = item.get("until_us")
    return TimelineItem(
        at=moment(item["at_us"]),
        who=item.get("who", "worker"),
        by=item.get("by", ""),
        what=item.get("what", timeline.LEVEL),
        ref=item.get("ref", ""),
        note=item.get("note", ""),
        until=None if until_us is None else moment(until_us),
        was=item["was"],
        level=item["level"],
        score=rounded(item["score"]),
        leaked=item["leaked"],
        evidence=item["evidence"],
        authorised=item["authorised"],
        leaking=item.get("leaking", False),
        action=item["action"],
        model_id=item["model_id"],
        reasons=[
            TimelineReason(
                text=reason["text"],
                feature=reason["feature"],
                value=reason["value"],
                peer_percentile=reason["percentile"],
                direction=reason["direction"],
            )
            for reason in item["reasons"]
        ],
    )


_REJECTED = {
    "file": "The policy file is wrong or gone at {where}; what was in force stays so, but none of them would start again.",
    "state": "The stored policy or plans are wrong at {where}; what was in force stays so.",
}


def _not_in_force(found: StateHealth, source: str) -> str:
    """Where the policy of a source is not in force though it should be; "" for nowhere."""
    gateways, workers = found.gateways.rejecting(source), found.workers_rejecting.get(source, 0)
    each = ((gateways, found.gateways.count, "gateways"), (workers, found.workers, "workers"))
    where = " and ".join(f"{number} of {of} {what}" for number, of, what in each if number)
    return _REJECTED[source].format(where=where) + " Their logs name field and rule." if where else ""


def health(
    found: StateHealth,
    settings: Settings,
    model_id: str | None,
    audit_head: str,
    kill: str = "",
    switched_off: str = "",
    look: LookOut | None = None,
) -> Health:
    """How far the workers are, with a sentence for whatever is wrong."""
    problems = [f"KILL SWITCH: {switched_off}."] if switched_off else []
    if found.gateways.killed and not switched_off:
        problems.append(f"The kill switch is on at {found.gateways.killed} of {found.gateways.count} gateways.")
    if len(found.gateways.policies) > 1:
        problems.append(f"The gateways follow {len(found.gateways.policies)} different policies.")
    problems += [told for told in (_not_in_force(found, source) for source in _REJECTED) if told]
    if not found.workers:
        problems.append("No worker is running: exchanges are logged but not judged.")
    if not found.gateways.count:
        problems.append("No gateway is running: nothing is limited, logged or acted on.")
    if found.unowned and found.waiting:
        problems.append(f"{found.unowned} partitions have no worker.")
    if found.oldest_sec > LAG_WARNING_SEC:
        problems.append(f"The oldest exchange has waited {found.oldest_sec:,.0f} s to be judged.")
    full = [part.partition for part in found.partitions if part.waiting > settings.state.stream_max_entries // 2]
    if full:
        problems.append(f"{len(full)} partitions are more than half full; beyond the bound events go to the spool.")
    if found.dead:
        problems.append(f"{found.dead:,} entries did not decode and wait in the dead-letter streams.")
    if look is not None and look.reference_old:
        problems.append(
            "The fleet has moved in more features than may be frozen: the model is of other days, fit a new one."
        )
    return Health(
        status="degraded" if problems else "ok",
        problems=problems,
        workers=found.workers,
        gateways=found.gateways.count,
        waiting=found.waiting,
        oldest_sec=found.oldest_sec,
        dead_letters=found.dead,
        keys=found.keys,
        levels={level_name(level): number for level, number in found.levels.items()},
        model_id=model_id,
        mode=found.gateways.mode,
        look=look,
        audit_head=audit_head,
        kill=kill,
        partitions=[
            PartitionOut(
                partition=part.partition,
                owner=part.owner or None,
                waiting=part.waiting,
                oldest_sec=part.oldest_sec,
                rows_to_archive=part.rows,
                dead_letters=part.dead,
                keys=part.keys,
            )
            for part in found.partitions
        ],
    )
