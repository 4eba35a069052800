"""Slots of running requests: renewed while the gateway lives, free soon after it died."""

from __future__ import annotations

import asyncio
from typing import Any

import redis

from app.limits.slots import SlotKeeper
from app.state.decisions import SLOT_SEC

PLAN = {"limits.plans": {"default": {"key": {"concurrent": 2}}}}
SET = "sw:{p0005}:ck:k1"


async def test_a_running_request_keeps_its_slot_and_an_ended_one_does_not_get_it_back(
    make_gate: Any, redis_db: str
) -> None:
    """A renewal moves the deadline of what still runs, renews the TTL of the set, and adds nobody."""
    gate = await make_gate(**PLAN)
    keeper = SlotKeeper(gate.events.link)
    running = (await gate.limiter.decide(gate.ask())).reservation
    ended = (await gate.limiter.decide(gate.ask())).reservation
    keeper.hold(running)
    keeper.hold(ended)
    with redis.Redis.from_url(redis_db) as client:
        assert client.zcard(SET) == 2
        client.zrem(SET, ended.request_id)
        before = client.zscore(SET, running.request_id)
        client.expire(SET, 5)
        await asyncio.sleep(0.01)
        await keeper.renew()
        assert client.zscore(SET, running.request_id) > before
        assert client.zcard(SET) == 1
        assert SLOT_SEC - 5 < client.ttl(SET) <= SLOT_SEC


async def test_only_running_requests_are_held(make_gate: Any) -> None:
    """Whatever is settled is let go, and refused requests are never held."""
    gate = await make_gate(**PLAN)
    decisions = [await gate.limiter.decide(gate.ask()) for _ in range(4)]
    keeper = gate.limiter._slots
    assert len(keeper) == 2
    for decision in decisions:
        gate.limiter.settle(decision.reservation, input_tokens=0, output_tokens=0, event=None)
    assert len(keeper) == 0


async def test_a_cancelled_question_keeps_no_slot(make_gate: Any, redis_db: str) -> None:
    """A caller that goes away while it is decided about leaves nothing taken."""
    gate = await make_gate(**PLAN)
    for _ in range(20):
        task = asyncio.ensure_future(gate.limiter.decide(gate.ask()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gate.events.flush()
    with redis.Redis.from_url(redis_db) as client:
        assert client.zcard(SET) == 0


async def test_a_gateway_that_died_leaks_no_slot(make_gate: Any, redis_db: str) -> None:
    """When the deadlines of its requests are over, their slots are given to others."""
    gate = await make_gate(**PLAN)
    for _ in range(2):
        assert (await gate.limiter.decide(gate.ask())).admitted
    assert not (await gate.limiter.decide(gate.ask())).admitted
    with redis.Redis.from_url(redis_db) as client:
        seconds, micros = client.time()
        client.zadd(SET, dict.fromkeys(client.zrange(SET, 0, -1), seconds * 10**6 + micros - 1))
    assert (await gate.limiter.decide(gate.ask())).admitted
