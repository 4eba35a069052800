"""Decisions and settlements through the limiter, on a real server."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from app.enforcement.policy import encode_verdict
from app.limits.limiter import Decision
from app.settings import ActionRule
from app.state.keys import PartitionKeys, partition_of
from detectors.contract import Level


def plan(**rules: Any) -> dict[str, Any]:
    """The settings of a default plan."""
    return {"limits.plans": {"default": rules}}


def flag(url: str, key: str, rule: ActionRule) -> None:
    """What a worker's commit does for a key without an organisation."""
    with redis.Redis.from_url(url) as client:
        keys = PartitionKeys(partition_of(key, 16))
        client.set(keys.verdict(key), encode_verdict(Level.SUSPECT, rule, time.time_ns() // 1000), ex=1000)


def left(decision: Decision, name: str, scope: str = "key") -> float:
    """What remains of a budget."""
    return next(budget.remaining for budget in decision.budgets if (budget.name, budget.scope) == (name, scope))


async def test_a_plan_without_limits_admits_and_keeps_nothing(make_gate: Any, redis_db: str) -> None:
    """No budget and no verdict: one round trip that leaves no key behind."""
    gate = await make_gate()
    decision = await gate.limiter.decide(gate.ask(org="o1"))
    assert decision.admitted
    assert not decision.degraded
    assert decision.budgets == ()
    gate.limiter.settle(decision.reservation, input_tokens=5, output_tokens=5, event=None)
    await gate.events.flush()
    with redis.Redis.from_url(redis_db) as client:
        assert client.keys("sw:*") == []


async def test_reserved_tokens_become_what_was_used(make_gate: Any) -> None:
    """A settlement gives back what was reserved too much, and charges what was reserved too little."""
    gate = await make_gate(
        **plan(key={"input_tokens_per_min": 1000, "output_tokens_per_min": 1000, "tokens_per_day": 10_000})
    )
    first = await gate.limiter.decide(gate.ask(tokens=(300, 500)))
    assert 500 <= left(first, "output_tokens") < 510
    gate.limiter.settle(first.reservation, input_tokens=400, output_tokens=100, event=None)
    await gate.events.flush()
    second = await gate.limiter.decide(gate.ask(tokens=(0, 0)))
    assert 600 <= left(second, "input_tokens") < 610
    assert 900 <= left(second, "output_tokens") < 910
    assert 9500 <= left(second, "tokens_day") < 9501


async def test_a_failed_request_gives_its_tokens_back_and_stays_counted(make_gate: Any) -> None:
    """A refund returns every token; the request itself was made."""
    gate = await make_gate(**plan(key={"requests_per_min": 10, "output_tokens_per_min": 1000}))
    first = await gate.limiter.decide(gate.ask(tokens=(0, 1000)))
    assert not (await gate.limiter.decide(gate.ask(tokens=(0, 500)))).admitted
    gate.limiter.settle(first.reservation, input_tokens=9, output_tokens=9, event=None, refund=True)
    await gate.events.flush()
    second = await gate.limiter.decide(gate.ask(tokens=(0, 1000)))
    assert second.admitted
    assert 8 <= left(second, "requests") < 8.1


async def test_settling_twice_changes_nothing(make_gate: Any) -> None:
    """The second settlement of a reservation neither refunds nor logs again."""
    gate = await make_gate(**plan(key={"output_tokens_per_min": 1000}))
    first = await gate.limiter.decide(gate.ask(tokens=(0, 600)))
    for _ in range(3):
        gate.limiter.settle(first.reservation, input_tokens=0, output_tokens=300, event=b"e")
        await gate.events.flush()
    assert 700 <= left(await gate.limiter.decide(gate.ask(tokens=(0, 0))), "output_tokens") < 710
    with redis.Redis.from_url(gate.url) as client:
        assert client.xlen(PartitionKeys(partition_of("k1", 16)).stream) == 1


async def test_a_request_larger_than_the_whole_budget_is_refused_for_ever(make_gate: Any) -> None:
    """It names the budget, says that waiting does not help, and charges nothing."""
    gate = await make_gate(**plan(key={"requests_per_min": 10, "output_tokens_per_min": 1000}))
    decision = await gate.limiter.decide(gate.ask(tokens=(0, 1001)))
    assert (decision.admitted, decision.oversized, decision.limited_by) == (False, True, "output_tokens")
    assert decision.retry_after_ms == 0
    assert left(decision, "requests") == 10


async def test_a_refused_request_charges_no_budget_at_all(make_gate: Any) -> None:
    """Where the organisation refuses, the key's own budget and slots are untouched, and the wait is the true one."""
    gate = await make_gate(**plan(key={"requests_per_min": 100, "concurrent": 9}, org={"requests_per_min": 2}))
    for _ in range(2):
        assert (await gate.limiter.decide(gate.ask("k1", "o1"))).admitted
    refused = await gate.limiter.decide(gate.ask("k2", "o1"))
    assert (refused.limited_by, refused.scope) == ("requests", "organization")
    assert 29_000 < refused.retry_after_ms <= 30_000
    assert left(refused, "requests") == 100
    assert left(refused, "concurrent") == 9


async def test_slots_are_freed_by_settlements(make_gate: Any) -> None:
    """At most so many requests run at once; one that ends makes room, however it ended."""
    gate = await make_gate(**plan(key={"concurrent": 2}, models={"big*": {"concurrent": 1}}))
    first = await gate.limiter.decide(gate.ask(model="big-1"))
    assert not (await gate.limiter.decide(gate.ask(model="big-2"))).admitted
    second = await gate.limiter.decide(gate.ask(model="small"))
    refused = await gate.limiter.decide(gate.ask(model="small"))
    assert (refused.limited_by, refused.scope, refused.retry_after_ms) == ("concurrent", "key", 1000)
    gate.limiter.settle(first.reservation, input_tokens=0, output_tokens=0, event=None, refund=True)
    await gate.events.flush()
    assert (await gate.limiter.decide(gate.ask(model="big-2"))).admitted
    assert second.admitted


async def test_enforcement_narrows_the_budgets_of_a_flagged_key(make_gate: Any, redis_db: str) -> None:
    """From the verdict on the key has its share of every budget, and is told so."""
    gate = await make_gate(**plan(key={"requests_per_min": 20}), **{"enforcement.mode": "enforce"})
    assert (await gate.limiter.decide(gate.ask())).admitted
    flag(redis_db, "k1", ActionRule(action="throttle", factor=0.25))
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(6)]
    assert [decision.admitted for decision in decisions] == [True] * 4 + [False] * 2
    assert all(decision.throttled and not decision.shadow_would for decision in decisions)
    assert decisions[0].budgets[0].limit == 5
    assert 2_000 < decisions[-1].retry_after_ms <= 3_000  # 3 s are in use already, and each request takes 12 s of 60


async def test_a_flagged_key_without_a_plan_limit_meets_the_ceiling(make_gate: Any, redis_db: str) -> None:
    """The verdict's own ceiling applies where the plan limits no requests, and ends with the verdict."""
    gate = await make_gate(**{"enforcement.mode": "enforce"})
    flag(redis_db, "k1", ActionRule(action="throttle", requests_per_min=3))
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(5)]
    assert [decision.admitted for decision in decisions] == [True] * 3 + [False] * 2
    assert (decisions[-1].limited_by, decisions[-1].scope) == ("requests", "key")
    with redis.Redis.from_url(redis_db) as client:
        keys = PartitionKeys(partition_of("k1", 16))
        client.set(keys.verdict("k1"), f"suspect|throttle|0.25|3|{time.time_ns() // 1000 - 1}", ex=9)
    assert (await gate.limiter.decide(gate.ask())).admitted


async def test_shadow_refuses_nobody_and_says_whom_it_would_have(make_gate: Any, redis_db: str) -> None:
    """Every request passes; the first three would have been narrowed, the rest refused."""
    gate = await make_gate()
    flag(redis_db, "k1", ActionRule(action="throttle", requests_per_min=3))
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(5)]
    assert all(decision.admitted and not decision.throttled for decision in decisions)
    assert [decision.shadow_would for decision in decisions] == ["throttle"] * 3 + ["refuse"] * 2


async def test_what_shadow_would_have_refused_is_not_charged_there(make_gate: Any, redis_db: str) -> None:
    """Shadow keeps balances of its own, with the true usage, so that it answers as enforcement would."""
    gate = await make_gate(**plan(key={"output_tokens_per_min": 1000}))
    flag(redis_db, "k1", ActionRule(action="throttle", factor=0.5, requests_per_min=None))
    first = await gate.limiter.decide(gate.ask(tokens=(0, 300)))
    gate.limiter.settle(first.reservation, input_tokens=0, output_tokens=100, event=None)
    await gate.events.flush()
    wanted = ["throttle", "refuse", "throttle", "refuse"]  # 100 + 300 of 500 used; 300 do not fit, 90 do
    for tokens, would in zip((300, 300, 90, 90), wanted, strict=True):
        decision = await gate.limiter.decide(gate.ask(tokens=(0, tokens)))
        assert (decision.admitted, decision.shadow_would) == (True, would)


async def test_a_flagged_key_is_not_shut_out_by_the_size_of_its_requests(make_gate: Any, redis_db: str) -> None:
    """What is larger than the narrowed budget, but not than the plan's, passes once and is paid off afterwards."""
    gate = await make_gate(**plan(key={"output_tokens_per_min": 1000}), **{"enforcement.mode": "enforce"})
    flag(redis_db, "k1", ActionRule(action="throttle", factor=0.1))
    assert (await gate.limiter.decide(gate.ask(tokens=(0, 500)))).admitted
    refused = await gate.limiter.decide(gate.ask(tokens=(0, 1)))
    assert not refused.oversized
    assert 230_000 < refused.retry_after_ms <= 240_600


async def test_a_server_that_forgot_the_script_is_told_it_again(make_gate: Any, redis_db: str) -> None:
    """After SCRIPT FLUSH the next decision, settlement and event pass as if nothing had happened."""
    gate = await make_gate(**plan(key={"requests_per_min": 10}))
    for _ in range(2):
        with redis.Redis.from_url(redis_db) as client:
            client.script_flush()
        decision = await gate.limiter.decide(gate.ask())
        assert decision.admitted
        assert not decision.degraded
        gate.limiter.settle(decision.reservation, input_tokens=0, output_tokens=0, event=b"e")
        await gate.events.flush()
    with redis.Redis.from_url(redis_db) as client:
        assert client.xlen(PartitionKeys(partition_of("k1", 16)).stream) == 2


@pytest.mark.parametrize("key", ["", "with space", "ä%d%s", "x" * 300])
async def test_odd_names_stay_bytes_of_a_name(make_gate: Any, key: str) -> None:
    """No key, model or organisation can break the command that carries it."""
    gate = await make_gate(**plan(key={"requests_per_min": 1}, org={"requests_per_min": 9}))
    ask = gate.ask(key, key, model=key)
    assert (await gate.limiter.decide(ask)).admitted
    assert (await gate.limiter.decide(gate.ask(key, key, model=key))).limited_by == "requests"
