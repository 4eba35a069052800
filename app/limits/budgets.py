"""Plans of the settings → schedules: which budgets a request of this plan and model has to pass."""

from __future__ import annotations

from collections.abc import Callable

import xxhash

from app.settings import LimitRule, LimitSettings, PlanLimits
from app.state.schedule import BOTH, INPUT, OUTPUT, REQUESTS, Bucket, Schedule, Slots

MINUTE_SEC = 60
DAY_SEC = 86_400

_KINDS = (
    # setting, name on the wire, field, what it counts, window
    ("requests_per_min", "requests", "r", REQUESTS, MINUTE_SEC),
    ("input_tokens_per_min", "input_tokens", "i", INPUT, MINUTE_SEC),
    ("output_tokens_per_min", "output_tokens", "o", OUTPUT, MINUTE_SEC),
    ("tokens_per_day", "tokens_day", "d", BOTH, DAY_SEC),
)


class Plan:
    """The schedules of one plan. A model's rule is found by its exact name, else by the longest `family*` that fits."""

    __slots__ = ("_exact", "_families", "_plain")

    def __init__(self, limits: PlanLimits, prepare: Callable[[Schedule], None]) -> None:
        """Compile the plan.

        Args:
            limits: from the settings.
            prepare: called with every schedule.
        """
        self._plain = _pair(limits, "", None, prepare)
        self._exact: dict[str, tuple[Schedule, Schedule]] = {}
        families: list[tuple[str, tuple[Schedule, Schedule]]] = []
        for pattern, rule in limits.models.items():
            pair = _pair(limits, pattern, rule, prepare)
            if pattern.endswith("*"):
                families.append((pattern[:-1], pair))
            else:
                self._exact[pattern] = pair
        self._families = tuple(sorted(families, key=lambda item: -len(item[0])))

    def schedule(self, model: str, has_org: bool) -> Schedule:
        """The budgets of a request; `model` is as the client named it, so nothing is remembered about it."""
        pair = self._exact.get(model) if self._exact else None
        if pair is None:
            pair = self._plain
            for prefix, of_family in self._families:
                if model.startswith(prefix):
                    pair = of_family
                    break
        return pair[has_org]


class Plans:
    """All plans; one that is not listed is `default`."""

    def __init__(self, settings: LimitSettings, prepare: Callable[[Schedule], None]) -> None:
        self._plans = {name: Plan(limits, prepare) for name, limits in settings.plans.items()}
        self._default = self._plans["default"]

    def schedule(self, plan: str, model: str, has_org: bool) -> Schedule:
        """The budgets of a request."""
        return (self._plans.get(plan) or self._default).schedule(model, has_org)


def _pair(
    limits: PlanLimits, pattern: str, rule: LimitRule | None, prepare: Callable[[Schedule], None]
) -> tuple[Schedule, Schedule]:
    """The schedule without and with an organisation."""
    key = _buckets(limits.key, "key", "")
    slots = _slots(limits.key, "key", "")
    if rule is not None:
        # A digest, because a pattern may hold any character; a plan has few of them.
        digest = f"{xxhash.xxh3_64_intdigest(pattern.encode()) & 0xFFFFFFFF:08x}"
        key += _buckets(rule, "model", digest)
        slots += _slots(rule, "model", digest)
    alone = Schedule(key, (), slots)
    shared = Schedule(key, _buckets(limits.org, "organization", ""), (*slots, *_slots(limits.org, "organization", "")))
    prepare(alone)
    prepare(shared)
    return alone, shared


def _buckets(rule: LimitRule, scope: str, prefix: str) -> tuple[Bucket, ...]:
    return tuple(
        Bucket.make(name, scope, prefix + field, counts, limit, window_sec)
        for setting, name, field, counts, window_sec in _KINDS
        if (limit := getattr(rule, setting)) is not None
    )


def _slots(rule: LimitRule, scope: str, suffix: str) -> tuple[Slots, ...]:
    return () if rule.concurrent is None else (Slots(scope, rule.concurrent, suffix),)
