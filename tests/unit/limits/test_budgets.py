"""Which budgets a request has to pass."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.budgets import Plans
from app.settings import LimitRule, LimitSettings, PlanLimits
from app.state.schedule import Schedule, refill_us


def plans(**named: PlanLimits) -> Plans:
    """Plans by name; `default` has no limits unless given."""
    return Plans(LimitSettings(plans={"default": PlanLimits(), **named}), lambda schedule: None)


def found(schedule: Schedule) -> list[tuple[str, str, float]]:
    """(name, scope, limit) of every budget."""
    slots = [("concurrent", slot.scope, slot.limit) for slot in schedule.slots]
    return [(bucket.name, bucket.scope, bucket.limit) for bucket in schedule.buckets] + slots


def test_every_setting_becomes_a_budget_of_its_scope() -> None:
    """All five kinds are taken over for keys and organisations; a key without an organisation has only its own."""
    rule = LimitRule(requests_per_min=1, input_tokens_per_min=2, output_tokens_per_min=3, tokens_per_day=4, concurrent=5)
    pro = plans(pro=PlanLimits(key=rule, org=LimitRule(requests_per_min=10, concurrent=50)))
    own = [("requests", "key", 1), ("input_tokens", "key", 2), ("output_tokens", "key", 3), ("tokens_day", "key", 4)]
    assert found(pro.schedule("pro", "gpt", False)) == [*own, ("concurrent", "key", 5)]
    assert found(pro.schedule("pro", "gpt", True)) == [
        *own,
        ("requests", "organization", 10),
        ("concurrent", "key", 5),
        ("concurrent", "organization", 50),
    ]


@pytest.mark.parametrize(
    ("model", "limit"), [("gpt-4o-mini", 1), ("gpt-4o-2025", 2), ("gpt-5", 3), ("claude", None), ("", None)]
)
def test_a_model_has_the_most_specific_rule(model: str, limit: float | None) -> None:
    """The exact name wins over a family, a longer family over a shorter one; a model without a rule has none."""
    models = {
        "gpt-*": LimitRule(requests_per_min=3),
        "gpt-4o*": LimitRule(requests_per_min=2),
        "gpt-4o-mini": LimitRule(requests_per_min=1),
    }
    schedule = plans(pro=PlanLimits(models=models)).schedule("pro", model, False)
    assert [bucket.limit for bucket in schedule.buckets] == ([] if limit is None else [limit])
    assert all(bucket.scope == "model" for bucket in schedule.buckets)


def test_models_of_a_family_share_its_budget_and_families_do_not() -> None:
    """One family is one balance whatever the client calls the model; another family has another one."""
    rule = LimitRule(requests_per_min=1, concurrent=1)
    pro = plans(pro=PlanLimits(models={"a*": rule, "b*": rule}))
    first, same, other = (pro.schedule("pro", model, False) for model in ("a1", "a2", "b1"))
    assert first is same
    assert first.buckets[0].field != other.buckets[0].field
    assert first.slots[0].suffix != other.slots[0].suffix


def test_an_unknown_plan_is_the_default() -> None:
    """A plan that nobody configured has the budgets of `default`."""
    some = plans(default=PlanLimits(key=LimitRule(requests_per_min=7)))
    assert found(some.schedule("gone", "gpt", False)) == [("requests", "key", 7)]


def test_a_verdicts_ceiling_applies_only_where_the_key_has_no_request_budget() -> None:
    """A request budget of the organisation or the model does not replace one of the key."""
    rule = LimitRule(requests_per_min=1)
    some = plans(
        none=PlanLimits(org=rule, models={"m": rule}),
        own=PlanLimits(key=rule),
        tokens=PlanLimits(key=LimitRule(concurrent=1)),
    )
    assert some.schedule("none", "m", True).ceiling
    assert some.schedule("tokens", "m", True).ceiling
    assert not some.schedule("own", "m", True).ceiling


@given(limit=st.floats(0.01, 1e9), window_sec=st.sampled_from((60, 86_400)))
def test_a_budget_holds_its_limit(limit: float, window_sec: int) -> None:
    """So many single units, or all at once, fit into a full budget; at least one request always does."""
    interval_us = window_sec * 1e6 / limit
    full_us = max(window_sec * 1e6, interval_us)
    whole = math.floor(limit)
    assert refill_us(whole, interval_us) <= full_us
    if interval_us >= 1:
        assert max(1, whole) * refill_us(1, interval_us) <= full_us


@given(cost=st.integers(1, 10**7), limit=st.floats(1, 1e7))
def test_no_charge_is_free_and_rounding_gives_away_less_than_a_microsecond(cost: int, limit: float) -> None:
    """A charge is rounded down to whole microseconds of refill, but never to nothing."""
    exact = cost * 60e6 / limit
    assert max(1, exact - 1) <= refill_us(cost, 60e6 / limit) <= max(1, exact)
