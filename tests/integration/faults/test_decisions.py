"""A decision on a bad network: one deadline whatever has to be asked again, and never a damaged answer."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.limits.limiter import Ask, Limiter
from app.settings import load
from app.simulate.fault_proxy import FaultProxy, Flow
from app.simulate.state_servers import StateServerProcess
from app.state.events import EventLog
from app.telemetry import metrics

LIMIT = 1_000_000


@pytest.fixture
async def limiter(proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Limiter]:
    """A limiter behind the proxy, its script known to the server."""
    url = f"redis://127.0.0.1:{proxy.port}/0"
    settings = load(None, {}, {"limits.plans": {"default": {"key": {"requests_per_min": LIMIT, "concurrent": 9}}}})
    events = EventLog(url, settings.state, tmp_path / "spool")
    made = Limiter(settings, url, events)
    await events.start()
    assert await made.start()
    assert not (await made.decide(_ask("warm"))).degraded
    yield made
    await made.stop()
    await events.stop(0.5)


def _ask(key: str) -> Ask:
    return Ask(key, "", "default", "m", 10, 20, f"{abs(hash(key)):028x}"[-28:])


async def test_a_forgotten_script_is_sent_within_the_same_time(
    limiter: Limiter, proxy: FaultProxy, server: StateServerProcess
) -> None:
    """Two answers of 35 ms would take 70: the second is not waited for beyond the decision's own time."""
    server.ask("SCRIPT", "FLUSH")
    proxy.to_client = Flow(delay_sec=0.035)
    took = []
    for number in range(3):
        server.ask("SCRIPT", "FLUSH")
        before = time.perf_counter()
        decision = await limiter.decide(_ask(f"k{number}"))
        took.append(time.perf_counter() - before)
        assert decision.admitted
        assert decision.degraded == "local"
        await asyncio.sleep(0.1)
    assert min(took) < 0.06
    await proxy.heal()
    await asyncio.sleep(0.1)
    server.ask("SCRIPT", "FLUSH")
    assert not (await limiter.decide(_ask("again"))).degraded


async def test_a_damaged_answer_is_never_a_limit(limiter: Limiter, proxy: FaultProxy) -> None:
    """With a wrong bit in half of the answers, each decision is state's own, exactly, or made without it."""
    proxy.to_client = Flow(corrupt=0.5)
    true = fallen_back = 0
    for number in range(1500):
        decision = await limiter.decide(_ask(f"damaged {number}"))
        assert decision.admitted
        if decision.degraded:
            fallen_back += 1
            await asyncio.sleep(0.005)
            continue
        true += 1
        requests, slots = decision.budgets
        assert (requests.limit, requests.name, round(requests.remaining)) == (LIMIT, "requests", LIMIT - 1)
        assert (slots.name, slots.remaining) == ("concurrent", 8)
        if true > 40 and proxy.damaged > 40:
            break
    assert true > 30
    assert proxy.damaged > 30
    await proxy.heal()
    async with asyncio.timeout(5):
        while (await limiter.decide(_ask("after"))).degraded:  # noqa: ASYNC110 - it heals by itself
            await asyncio.sleep(0.05)


async def test_a_key_gets_no_second_budget_by_the_loss_of_state(proxy: FaultProxy, tmp_path: Path) -> None:
    """A key that has used up its budget goes on at its share of the refill, instead of with another whole share."""
    url = f"redis://127.0.0.1:{proxy.port}/0"
    plans = {"limits.plans": {"default": {"key": {"requests_per_min": 60}}}, "limits.replicas": 2}
    settings = load(None, {}, plans)
    events = EventLog(url, settings.state, tmp_path / "spool")
    limiter = Limiter(settings, url, events)
    await events.start()
    await limiter.start()
    used = [(await limiter.decide(_ask("heavy"))).admitted for _ in range(70)]
    assert 60 <= sum(used) <= 62
    proxy.refuse = True
    await proxy.reset()
    await asyncio.sleep(0.05)
    after = [await limiter.decide(_ask("heavy")) for _ in range(40)]
    fresh = [await limiter.decide(_ask("light")) for _ in range(40)]
    assert {decision.degraded for decision in after + fresh} == {"local"}
    assert sum(decision.admitted for decision in after) <= 2
    assert sum(decision.admitted for decision in fresh) == 30
    await limiter.stop()
    await events.stop(0.1)


async def test_what_was_used_without_state_is_charged_when_it_is_back(proxy: FaultProxy, tmp_path: Path) -> None:
    """A key that used half of its share meanwhile has as much less afterwards; one that used nothing has all."""
    url = f"redis://127.0.0.1:{proxy.port}/0"
    plans = {"limits.plans": {"default": {"key": {"requests_per_min": 600}}}, "limits.replicas": 2}
    settings = load(None, {}, plans)
    events = EventLog(url, settings.state, tmp_path / "spool")
    limiter = Limiter(settings, url, events)
    await events.start()
    await limiter.start()
    assert not (await limiter.decide(_ask("heavy"))).degraded
    proxy.refuse = True
    await proxy.reset()
    await asyncio.sleep(0.05)
    used = [await limiter.decide(_ask("heavy")) for _ in range(150)]
    assert {(decision.admitted, decision.degraded) for decision in used} == {(True, "local")}
    await proxy.heal()
    async with asyncio.timeout(5):
        while (await limiter.decide(_ask("probe"))).degraded or not events.link.ready:  # noqa: ASYNC110 - it heals by itself
            await asyncio.sleep(0.02)
    assert not (await limiter.decide(_ask("heavy"))).degraded
    await asyncio.sleep(0.1)
    await events.flush()
    left = (await limiter.decide(_ask("heavy"))).budgets[0].remaining
    assert 440 <= left <= 480  # 600, less 150 and what it asked for since, plus a refill of ten a second
    assert (await limiter.decide(_ask("light"))).budgets[0].remaining >= 598
    await limiter.stop()
    await events.stop(0.1)


async def test_the_gauges_say_who_decides(limiter: Limiter, proxy: FaultProxy, until: Any) -> None:
    """state_up and fallback_active change when state is lost and when it is back."""

    def says() -> tuple[float | None, float | None]:
        value = metrics.REGISTRY.get_sample_value
        return value("stillwatch_state_up"), value("stillwatch_fallback_active")

    assert says() == (1.0, 0.0)
    proxy.refuse = True
    await proxy.reset()
    await until(lambda: says() == (0.0, 1.0))
    assert (await limiter.decide(_ask("away"))).degraded == "local"
    await proxy.heal()
    assert await until(lambda: says() == (1.0, 0.0)) < 5.0


async def test_a_frozen_server_shows_while_nobody_asks(limiter: Limiter, server: StateServerProcess, until: Any) -> None:
    """One request that fell back, and none after it: the gauges say so from that moment on, until the server goes on."""

    def says(name: str) -> float | None:
        return metrics.REGISTRY.get_sample_value(f"stillwatch_{name}")

    server.signal(signal.SIGSTOP)
    assert (await limiter.decide(_ask("one"))).degraded == "local"
    loop = asyncio.get_running_loop()
    began = loop.time()
    while says("state_up") == 1.0:
        assert says("fallback_active") == 1.0
        assert loop.time() - began < 5.0
        await asyncio.sleep(0.05)
    assert says("fallback_active") == 1.0
    server.signal(signal.SIGCONT)
    await until(lambda: (says("state_up"), says("fallback_active")) == (1.0, 0.0))
