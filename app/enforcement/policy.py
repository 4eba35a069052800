"""What the policy asks for about one key, as the string that `decide` reads in the round trip that charges the limits.

The worker writes it; the script of `decide`, and people, read it: ``level|action|factor|requests_per_min|until_us``, for
example ``suspect|throttle|0.25|20|1790003600000000``. The ceiling is empty where the rule has none. The string says what
is asked for and until when, never whether that is done: shadow or enforce is the gateway's setting, so switching it needs
no rewrite of state. A field may be added at the end; the five keep their place.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.settings import ActionRule
from detectors.contract import Level

_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Action:
    """What is asked for about a key.

    Attributes:
        level: the verdict that led to it.
        action: observe or throttle.
        factor: share of its budgets that a throttled key keeps, in (0, 1].
        requests_per_min: ceiling for a throttled key whose plan has no request budget; None for no ceiling.
        until_us: unix time in µs after which nothing is asked for any more.
    """

    level: Level
    action: str
    factor: float
    requests_per_min: float | None
    until_us: int

    def throttles(self, now_us: int) -> bool:
        """The key's budgets are to be narrowed at this time."""
        return self.action == "throttle" and now_us < self.until_us


def encode_verdict(level: Level, rule: ActionRule, at_us: int) -> str:
    """The string for `PartitionKeys.verdict`.

    Args:
        level: level of the verdict.
        rule: what the policy says about that level.
        at_us: event time of the verdict, unix µs; the action ends `rule.ttl_sec` later unless a new verdict renews it.
    """
    ceiling = "" if rule.requests_per_min is None else f"{rule.requests_per_min:.12g}"
    until_us = int(at_us) + rule.ttl_sec * 1_000_000
    return f"{level.name.lower()}|{rule.action}|{rule.factor:.12g}|{ceiling}|{until_us}"


def decode_verdict(text: str | bytes) -> Action | None:
    """The string → what it asks for; None where it is empty or is not one of ours, which asks for nothing."""
    parts = (text.decode("utf-8", "replace") if isinstance(text, bytes) else text).split("|")
    if len(parts) < _FIELDS:
        return None
    level, action, factor, ceiling, until_us = parts[:_FIELDS]
    try:
        found = Action(Level[level.upper()], action, float(factor), float(ceiling) if ceiling else None, int(until_us))
    except (KeyError, ValueError):
        return None
    in_range = 0.0 < found.factor <= 1.0 and (found.requests_per_min is None or found.requests_per_min > 0.0)
    return found if in_range else None
