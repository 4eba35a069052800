"""Limits of one process while state is away: shares, bounded memory, known throttles."""

from __future__ import annotations

import pytest

from app.enforcement.policy import Action
from app.limits.budgets import Plan
from app.limits.local import KnownActions, LocalBudgets, Refusal
from app.limits.reservation import Reservation
from app.settings import LimitRule, PlanLimits
from detectors.contract import Level


def reservation(plan: PlanLimits, key: str = "k", tokens: tuple[int, int] = (0, 0)) -> Reservation:
    """Of one request of a key without an organisation."""
    schedule = Plan(plan, lambda made: None).schedule("m", False)
    names = [f"v:{key}".encode(), f"lk:{key}".encode()] + [b"c:%b" % key.encode()] * len(schedule.slots)
    return Reservation(0, "r", schedule, names, *tokens)


def admitted(local: LocalBudgets, plan: PlanLimits, count: int, throttle: Action | None = None) -> int:
    """How many of `count` requests pass."""
    return sum(local.charge(reservation(plan), throttle) is None for _ in range(count))


@pytest.mark.parametrize(("replicas", "passing"), [(1, 12), (3, 4), (100, 1)])
def test_a_gateway_lets_its_share_pass(replicas: int, passing: int) -> None:
    """Twelve requests a minute over three gateways are four each; a share below one request still lets one pass."""
    assert admitted(LocalBudgets(replicas), PlanLimits(key=LimitRule(requests_per_min=12)), 20) == passing


def test_all_budgets_or_none_are_charged() -> None:
    """A request that its tokens refuse takes nothing from the request budget, and the wait is the longest one."""
    plan = PlanLimits(key=LimitRule(requests_per_min=2, output_tokens_per_min=100))
    local = LocalBudgets(1)
    assert local.charge(reservation(plan, tokens=(0, 80)), None) is None
    refusal = local.charge(reservation(plan, tokens=(0, 80)), None)
    assert refusal is not None
    assert (refusal.name, refusal.scope, refusal.oversized) == ("output_tokens", "key", False)
    assert 35_000_000 < refusal.wait_us <= 36_000_000
    assert local.charge(reservation(plan, tokens=(0, 10)), None) is None
    assert local.charge(reservation(plan, tokens=(0, 10)), None) is not None


def test_more_than_the_whole_budget_never_passes() -> None:
    """More than this gateway's share passes when the share is full; more than everybody's share is refused for ever."""
    plan = PlanLimits(key=LimitRule(output_tokens_per_min=100))
    assert LocalBudgets(10).charge(reservation(plan, tokens=(0, 100)), None) is None
    assert LocalBudgets(10).charge(reservation(plan, tokens=(0, 101)), None) == Refusal("output_tokens", "key", 0, True)


def test_settling_gives_back_and_frees() -> None:
    """Unused tokens and slots are there again; a reservation made elsewhere settles nothing here."""
    plan = PlanLimits(key=LimitRule(output_tokens_per_min=100, concurrent=1))
    local = LocalBudgets(1)
    first = reservation(plan, tokens=(0, 100))
    assert local.charge(first, None) is None
    assert local.charge(reservation(plan, tokens=(0, 1)), None) is not None
    local.settle(reservation(plan, tokens=(0, 100)), 0, 0)
    assert local.charge(reservation(plan, tokens=(0, 0)), None) == Refusal("concurrent", "key", 0)
    local.settle(first, 0, 20)
    assert local.charge(reservation(plan, tokens=(0, 79)), None) is None


def test_a_throttle_narrows_and_caps() -> None:
    """The factor holds for a plan with limits, the ceiling for one without, each at this gateway's share."""
    throttle = Action(Level.SUSPECT, "throttle", 0.25, 8.0, 0)
    assert admitted(LocalBudgets(1), PlanLimits(key=LimitRule(requests_per_min=16)), 20, throttle) == 4
    assert admitted(LocalBudgets(2), PlanLimits(), 20, throttle) == 4
    assert admitted(LocalBudgets(1), PlanLimits(), 20, Action(Level.SUSPECT, "cap", 0.25, None, 0)) == 20


def test_memory_is_bounded() -> None:
    """Ten times more keys than fit leave the bound standing; the keys used last are those remembered."""
    local = LocalBudgets(1, most=100)
    plan = PlanLimits(key=LimitRule(requests_per_min=1, output_tokens_per_min=10))
    for number in range(1000):
        assert local.charge(reservation(plan, f"k{number}", (0, 5)), None) is None
    assert len(local) == 100
    assert local.charge(reservation(plan, "k999", (0, 5)), None) is not None
    assert local.charge(reservation(plan, "k0", (0, 5)), None) is None


def test_actions_are_remembered_until_state_says_otherwise() -> None:
    """State's last word holds; the oldest of too many is forgotten."""
    known = KnownActions(most=2)
    blocked = Action(Level.CONFIRMED, "suspend", 0.5, None, 1, "person", "sw-a")
    known.learn("a", blocked)
    known.learn("b", Action(Level.SUSPECT, "throttle", 0.5, None, 1))
    assert known.get("a") is blocked
    known.learn("c", blocked)
    assert (known.get("a"), len(known)) == (None, 2)
    known.learn("c", None)
    known.learn("never", None)
    assert (known.get("c"), len(known)) == (None, 1)


def _reply(*levels: int) -> list[int]:
    """Of decide.lua, admitted, at server time 7."""
    return [1, 0, 0, 0, 7, *levels]


def test_a_used_budget_is_followed() -> None:
    """What state says of a budget that is well used is what is left of it here; a little used one is not remembered."""
    plan = PlanLimits(key=LimitRule(requests_per_min=60))
    used, calm = reservation(plan, "used"), reservation(plan, "calm")
    assert used.schedule is not None
    local = LocalBudgets(1)
    local.follow(used.schedule, used.names, _reply(30_500_000))
    local.follow(used.schedule, calm.names, _reply(2_000_000))
    assert len(local) == 1
    assert sum(local.charge(reservation(plan, "used"), None) is None for _ in range(60)) == 29
    assert sum(local.charge(reservation(plan, "calm"), None) is None for _ in range(70)) == 60


def test_what_was_charged_here_is_handed_over_once() -> None:
    """State is told this gateway's share of what was charged here and has not refilled, and of nothing else."""
    plan = PlanLimits(key=LimitRule(requests_per_min=60))
    local = LocalBudgets(2)
    one = reservation(plan)
    assert one.schedule is not None
    local.follow(one.schedule, one.names, _reply(20_000_000))
    assert local.hand_over(one.schedule, one.names, _reply(20_000_000)) == []
    for _ in range(15):  # of the 20 that are left of this gateway's share
        assert local.charge(reservation(plan), None) is None
    (settlement,) = local.hand_over(one.schedule, one.names, _reply(20_000_000))
    name, at_us, (field, add) = settlement
    assert (name, at_us, field) == (b"lk:k", 7, "r")
    assert 14_500_000 < int(add) <= 15_000_000  # half of 15 times 2 s
    assert local.hand_over(one.schedule, one.names, _reply(20_000_000)) == []
