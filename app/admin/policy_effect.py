"""What a candidate policy would do about the keys as they are judged now, beside what the one in force does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.acting import Acting
from app.admin.models_orders import SHOWN
from app.admin.models_policy import PolicyGroup, PolicyMove, PolicyPreview
from app.admin.ordering import now_us
from app.admin.subjects import Subject
from app.enforcement.policy import RUNGS, rule_for, share_of
from app.enforcement.policy_text import digest
from app.settings import LADDER, EnforcementSettings
from app.state.key_facts import SLICE
from app.state.reading import MAX_PAGE
from detectors.analysis import stored_verdict
from detectors.contract import Level
from detectors.profile import BadProfile

MAX_LOOKED_AT = 50_000
"""Keys above clear that one preview looks at, the most suspicious first."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A key above clear, and what decides beside its level whether policy acts about it."""

    subject: Subject
    authorised: bool
    allowed: bool
    leaking: bool = False


async def preview(acting: Acting, candidate: EnforcementSettings) -> PolicyPreview:
    """The candidate over all keys above clear.

    Raises:
        StateUnavailable: they cannot be read.
    """
    keys, cut = await _keys_above_clear(acting)
    judged = await _judged(acting, keys)
    groups: dict[str, list[Judged]] = defaultdict(list)
    moves: dict[tuple[str, str], list[str]] = defaultdict(list)
    enforced: dict[str, int] = defaultdict(int)
    for one in judged:
        asked, acts = outcome(candidate, one)
        was, acted = outcome(acting.control.policy, one)
        groups[asked].append(one)
        enforced[asked] += acts
        before, after = was if acted else "observe", asked if acts else "observe"
        if before != after:
            moves[before, after].append(one.subject.key_id)
    return PolicyPreview(
        keys=len(judged),
        cut=cut,
        allowed=sum(one.allowed for one in judged),
        authorised=sum(one.authorised for one in judged),
        ordered=sum(one.subject.order is not None for one in judged),
        groups=[_group(action, groups[action], enforced[action]) for action in LADDER if action in groups],
        moves=[
            PolicyMove(before=before, after=after, keys=len(key_ids), examples=key_ids[:SHOWN])
            for (before, after), key_ids in sorted(moves.items())
        ],
        digest=digest(candidate),
        warnings=warnings(candidate),
    )


def outcome(policy: EnforcementSettings, one: Judged) -> tuple[str, bool]:
    """(what the policy asks for about a key, whether it is really done), as the gateways would."""
    share = share_of(one.subject.key_id)
    if share >= policy.enabled_percent:
        return "observe", False
    rule = rule_for(one.subject.fact.level, policy, authorised=one.authorised, allowed=one.allowed, leaking=one.leaking)
    asked = LADDER[min(RUNGS[rule.action], RUNGS[policy.automatic_up_to])]
    return asked, asked != "observe" and policy.mode == "enforce" and share < policy.enforced_percent


def warnings(policy: EnforcementSettings) -> list[str]:
    """What a person should know before such a policy is in force."""
    told = []
    if RUNGS[policy.automatic_up_to] > RUNGS["throttle"]:
        told.append(
            f"automatic_up_to is {policy.automatic_up_to}: policy may go beyond a throttle without a person; "
            "in many places customers have a right to a human decision"
        )
    if policy.mode == "shadow":
        told.append("mode is shadow: what policy asks for is only counted")
    if RUNGS[policy.automatic_up_to] >= RUNGS["suspend"] and not policy.appeal_url:
        told.append("appeal_url is empty: a suspended customer is not told where to appeal")
    return told


async def _keys_above_clear(acting: Acting) -> tuple[list[str], bool]:
    found: list[str] = []
    cursor = ""
    while True:
        page = await acting.reader.list_keys(Level.WATCH, limit=MAX_PAGE, cursor=cursor, or_higher=True)
        found += [row.key_id for row in page.rows]
        cursor = page.cursor
        if not cursor:
            return found, False
        if len(found) >= MAX_LOOKED_AT:
            return found, True


async def _judged(acting: Acting, key_ids: Sequence[str]) -> list[Judged]:
    allowed = {entry.subject for entry in await acting.store.allow_list() if entry.holds(now_us())}
    found: list[Judged] = []
    for first in range(0, len(key_ids), SLICE):
        subjects = await acting.finder.look(key_ids[first : first + SLICE])
        states = await acting.finder.states(subjects)
        authorised, leaking = await asyncio.to_thread(_verdicts, states)
        for one in subjects:
            on_list = f"key:{one.key_id}" in allowed or (bool(one.org_id) and f"org:{one.org_id}" in allowed)
            found.append(Judged(one, one.key_id in authorised, on_list, one.key_id in leaking))
    return found


def _verdicts(states: dict[str, bytes]) -> tuple[set[str], set[str]]:
    """Ids of keys with an authorised use, and of those with a leak alarm."""
    authorised, leaking = set(), set()
    for key_id, data in states.items():
        try:
            verdict = stored_verdict(data, key_id, "key")
        except BadProfile:  # of another release: the worker starts such a key anew
            continue
        if verdict is not None and verdict.authorised:
            authorised.add(key_id)
        if verdict is not None and verdict.leaking:
            leaking.add(key_id)
    return authorised, leaking


def _group(action: str, judged: Sequence[Judged], enforced: int) -> PolicyGroup:
    return PolicyGroup(
        action=action,
        keys=len(judged),
        enforced=enforced,
        organisations=len({one.subject.org_id for one in judged if one.subject.org_id}),
        with_account=sum(one.subject.account is not None for one in judged),
        examples=[one.subject.key_id for one in judged[:SHOWN]],
    )
