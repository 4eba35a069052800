"""Without state the failure policy decides, in time, and a known throttle stays in force."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest
import redis

from app.enforcement.policy import encode_verdict
from app.settings import ActionRule
from app.state.keys import PartitionKeys, partition_of
from detectors.contract import Level

KEY = {"requests_per_min": 10, "output_tokens_per_min": 1000, "concurrent": 4}


@pytest.mark.parametrize(("policy", "admitted"), [("open", 12), ("local", 4), ("closed", 0)])
async def test_each_policy_does_what_it_says(make_gate: Any, own_server: Any, policy: str, admitted: int) -> None:
    """Open admits everything, closed nothing, local its share: here half of 10 requests, of 4 slots and of the tokens."""
    gate = await make_gate(
        own_server.url, **{"limits.plans": {"default": {"key": KEY}}, "limits.on_state_loss": policy, "limits.replicas": 2}
    )
    own_server.signal(signal.SIGKILL)
    decisions = []
    for _ in range(12):
        decision = await gate.limiter.decide(gate.ask(tokens=(0, 100)))
        decisions.append(decision)
        gate.limiter.settle(decision.reservation, input_tokens=0, output_tokens=125, event=None)
    assert {decision.degraded for decision in decisions} == {policy}
    assert sum(decision.admitted for decision in decisions) == admitted  # 500 tokens hold four times 125
    if policy == "closed":
        assert {decision.limited_by for decision in decisions} == {"unavailable"}


async def test_a_frozen_server_delays_a_decision_by_its_timeout_at_most(make_gate: Any, own_server: Any) -> None:
    """Every one of 200 decisions falls back within 60 ms of being asked for, and most of them at once."""
    gate = await make_gate(own_server.url, **{"limits.plans": {"default": {"key": {"requests_per_min": 1000}}}})
    assert not (await gate.limiter.decide(gate.ask())).degraded
    own_server.signal(signal.SIGSTOP)
    took = []
    for number in range(200):
        before = time.perf_counter()
        decision = await gate.limiter.decide(gate.ask(f"k{number}"))
        took.append(time.perf_counter() - before)
        assert decision.admitted
        assert decision.degraded == "local"
    # The machine may be busy with other tests: the median is free of that, and a slow turn or two are not ours.
    assert sorted(took)[100] < 0.01
    assert sum(seconds > 0.06 for seconds in took) <= 2
    own_server.signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while not gate.limiter.ready:  # noqa: ASYNC110 - the link's own task sets it
            await asyncio.sleep(0.01)
    assert not (await gate.limiter.decide(gate.ask("late"))).degraded


async def test_a_throttled_key_stays_throttled_without_state(make_gate: Any, own_server: Any) -> None:
    """What state last said about a key holds until it ends or state says otherwise; other keys are not touched."""
    gate = await make_gate(own_server.url, **{"enforcement.mode": "enforce"})
    keys = PartitionKeys(partition_of("k1", 16))
    with redis.Redis.from_url(own_server.url) as client:
        rule = ActionRule(action="throttle", requests_per_min=2, ttl_sec=3600)
        client.set(keys.verdict("k1"), encode_verdict(Level.CONFIRMED, rule, time.time_ns() // 1000), ex=1000)
    assert (await gate.limiter.decide(gate.ask())).throttled
    own_server.signal(signal.SIGKILL)
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(4)]
    assert [decision.admitted for decision in decisions] == [True, True, False, False]
    assert all(decision.throttled and decision.degraded == "local" for decision in decisions)
    others = [await gate.limiter.decide(gate.ask("k2")) for _ in range(9)]
    assert all(decision.admitted and not decision.throttled for decision in others)


async def test_the_answer_that_came_too_late_keeps_no_slot(make_gate: Any, own_server: Any) -> None:
    """A decision that the frozen server made afterwards has its slot freed by the settlement of the local one."""
    gate = await make_gate(own_server.url, **{"limits.plans": {"default": {"key": {"concurrent": 1}}}})
    own_server.signal(signal.SIGSTOP)
    decision = await gate.limiter.decide(gate.ask())
    assert (decision.admitted, decision.degraded) == (True, "local")
    own_server.signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while not (gate.limiter.ready and gate.events.link.ready):  # noqa: ASYNC110 - the links' own tasks set it
            await asyncio.sleep(0.01)
    gate.limiter.settle(decision.reservation, input_tokens=0, output_tokens=0, event=None)
    await gate.events.flush()
    after = await gate.limiter.decide(gate.ask())
    assert (after.admitted, after.degraded) == (True, "")
