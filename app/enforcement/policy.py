"""What is asked for about one key, as the string that `decide` reads in the round trip that charges the limits.

The worker writes it for policy, and the admin API for a person; the script of `decide`, and people, read it:
``level|action|factor|requests_per_min|until_us|by|ref``, for example
``suspect|throttle|0.25|20|1790003600000000|policy|sw-b3x7qk2m5aduc``. The ceiling is empty where the rule has none; `by`
is policy or person; `ref` is the action's reference as the customer sees it. The string says what is asked for and until
when, never whether that is done: shadow or enforce is the policy's own mode, so switching it needs no rewrite of state. A
field may be added at the end; the others keep their place, and a string of an older release, with five, is policy's.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple, cast

import xxhash

from app.settings import LADDER, ActionName, ActionRule, EnforcementSettings
from detectors.contract import Level

POLICY, PERSON = "policy", "person"
"""Who asks."""

LINKER, SHARING = "linker", "sharing"
MACHINES = frozenset((LINKER, SHARING))
"""Who gives orders that no person gave: policy about campaigns, and about what other providers shared."""

RUNGS: dict[str, int] = {action: rung for rung, action in enumerate(LADDER)}
"""Action → its place on the ladder, 0 to 4; the same numbers as in decide.lua."""

_THROTTLE, _STEP_UP = RUNGS["throttle"], RUNGS["step_up"]

_FIELDS = 5
_BUCKETS = 10_000
"""Keys are told apart by hundredths of a percent."""

_OBSERVE = ActionRule(action="observe")


class Action(NamedTuple):
    """What is asked for about a key.

    Attributes:
        level: the verdict that led to it.
        action: a step of `LADDER`.
        factor: share of its budgets that a throttled key keeps, in (0, 1].
        requests_per_min: ceiling for a throttled key whose plan has no request budget; None for no ceiling.
        until_us: unix time in µs after which nothing is asked for any more.
        by: policy or person.
        ref: reference of the action for the customer; "" where the string is of an older release.
    """

    level: Level
    action: ActionName
    factor: float
    requests_per_min: float | None
    until_us: int
    by: str = POLICY
    ref: str = ""

    @property
    def rung(self) -> int:
        """Place on the ladder."""
        return RUNGS[self.action]

    @property
    def by_person(self) -> bool:
        """A person ordered it."""
        return self.by == PERSON

    def throttles(self, now_us: int) -> bool:
        """The key's budgets are to be narrowed at this time; for an action that blocks, if it were not."""
        return self.rung >= _THROTTLE and now_us < self.until_us

    def blocks(self, now_us: int) -> bool:
        """The key's requests are to be refused at this time."""
        return self.rung >= _STEP_UP and now_us < self.until_us


def encode_verdict(level: Level, rule: ActionRule, at_us: int, *, by: str = POLICY, ref: str = "") -> str:
    """The string for `PartitionKeys.verdict`.

    Args:
        level: level of the verdict.
        rule: what the policy says about that level, or the person.
        at_us: event time of the verdict, unix µs; the action ends `rule.ttl_sec` later unless a new verdict renews it.
        by: policy or person.
        ref: from `reference`.
    """
    until_us = int(at_us) + rule.ttl_sec * 1_000_000
    return encode_action(Action(level, rule.action, rule.factor, rule.requests_per_min, until_us, by, ref))


def encode_action(action: Action) -> str:
    """The string of an action that ends at a fixed time."""
    ceiling = "" if action.requests_per_min is None else f"{action.requests_per_min:.12g}"
    name = action.level.name.lower()
    return f"{name}|{action.action}|{action.factor:.12g}|{ceiling}|{action.until_us}|{action.by}|{action.ref}"


def decode_verdict(text: str | bytes) -> Action | None:
    """The string → what it asks for; None where it is empty or is not one of ours, which asks for nothing."""
    parts = (text.decode("utf-8", "replace") if isinstance(text, bytes) else text).split("|")
    if len(parts) < _FIELDS or parts[1] not in RUNGS:
        return None
    level, action, factor, ceiling, until_us = parts[:_FIELDS]
    by = PERSON if len(parts) > _FIELDS and parts[5] == PERSON else POLICY
    ref = parts[6] if len(parts) > _FIELDS + 1 else ""
    try:
        found = Action(
            Level[level.upper()],
            cast(ActionName, action),
            float(factor),
            float(ceiling) if ceiling else None,
            int(until_us),
            by,
            ref,
        )
    except (KeyError, ValueError):
        return None
    in_range = 0.0 < found.factor <= 1.0 and (found.requests_per_min is None or found.requests_per_min > 0.0)
    return found if in_range else None


def reference(key_id: str, at_us: int) -> str:
    """Name of an action for its customer, such as ``sw-b3x7qk2m5aduc``: the same for the same key and time.

    64 bits of a one-way hash: it tells nothing about the key, and nobody finds another's by counting.
    """
    digest = hashlib.blake2b(f"{key_id}|{int(at_us)}".encode(), digest_size=8, person=b"action").digest()
    return "sw-" + base64.b32encode(digest).decode().rstrip("=").lower()


def rule_for(
    level: Level, policy: EnforcementSettings, *, authorised: bool, allowed: bool, leaking: bool = False
) -> ActionRule:
    """The policy's rule for a level.

    Args:
        level: of the verdict.
        policy: in force.
        authorised: the contract allows what was found; such a key is only ever observed.
        allowed: the key or its organisation is on the allow-list; it is scored and observed.
        leaking: the leak accountant's alarm stands; it matters at watch, and never makes an action milder.
    """
    if authorised or allowed:
        return _OBSERVE
    if level is Level.WATCH and leaking and RUNGS[policy.watch.action] < RUNGS[policy.leak.action]:
        return policy.leak if RUNGS[policy.leak.action] <= RUNGS[policy.automatic_up_to] else policy.watch
    rules = {Level.WATCH: policy.watch, Level.SUSPECT: policy.suspect, Level.CONFIRMED: policy.confirmed}
    return rules.get(level, _OBSERVE)


def share_of(key_id: str) -> float:
    """Where a key stands among all keys, in [0, 100) percent: always the same, and unrelated to its partition.

    A key is looked at when this is below `enabled_percent`, and acted on when it is below `enforced_percent` too, so that
    raising a percentage only adds keys.
    """
    return xxhash.xxh3_64_intdigest(b"share|" + key_id.encode()) % _BUCKETS * 100 / _BUCKETS
