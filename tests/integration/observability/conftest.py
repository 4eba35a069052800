"""A campaign, a crowd and two faults against real processes, seen by a real Prometheus; played once for all tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from app.demo import cast
from benchmarks.alerts import STATE_FROZEN, WORKERS_STOPPED, raise_alerts
from benchmarks.prometheus import RULES, Prometheus, shortened, wait_for_quiet, wait_for_value
from benchmarks.watched import Moments, crowd, folder_of_run, playing, service

GATEWAYS = 3
HONEST_SEC, ATTACK_SEC = 5.0, 13.0
CROWD = 10_000
SHORTER = 10
"""Every `for` and window of the rules is a tenth: a minute passes in six seconds."""

LIMIT_SEC = 30.0
EVERYTHING = '{__name__=~".+", job=~"stillwatch-.+"}'


@dataclass
class Seen:
    """What was played, and the Prometheus that saw it; it goes on answering about the past.

    Attributes:
        moments: of the campaign.
        sent: requests that the clients of the campaign sent, repeated ones included.
        counted: requests that the gateways counted, by their own counters, once all was answered.
        applied: exchanges that the worker had applied then.
        series: of all processes together, after the crowd.
        series_by_job: the same by kind of process.
        keys: with a profile, by the worker's gauge, after the crowd.
        labels: (metric, label) → values seen.
        fired: alert → seconds from its fault, None if it did not fire.
        before: alerts that fired just before the faults.
        healed: the alerts of the frozen state server ended after it went on.
        spooled: most bytes that waited on disk while it was frozen.
    """

    prometheus: Prometheus
    moments: Moments
    sent: int = 0
    counted: float = 0
    applied: float = 0
    crowd_answered: int = 0
    series: float = 0
    series_by_job: dict[str, float] = field(default_factory=dict)
    keys: float = 0
    labels: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    fired: dict[str, float | None] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    healed: bool = False
    spooled: float = 0


@pytest.fixture(scope="session")
def seen() -> Iterator[Seen]:
    """Played once; Prometheus runs on until the tests are done."""
    if shutil.which("prometheus") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("prometheus is not installed, and this is CI; apt-get install prometheus")
        pytest.skip("prometheus is not installed; apt-get install prometheus")
    with ExitStack() as stack:
        yield asyncio.run(_play(stack))


async def _play(stack: ExitStack) -> Seen:
    clients = cast.live(seed=1)
    honest = [client for client in clients if not client.kind.attack]
    attackers = [client for client in clients if client.kind.attack]
    folder = stack.enter_context(folder_of_run())
    async with service(folder, clients, {"gateway": GATEWAYS, "worker": 1, "admin": 1}) as running:
        rules = {path.name: shortened(path.read_text(encoding="utf-8"), SHORTER) for path in RULES}
        (folder / "prometheus").mkdir()
        prometheus = stack.enter_context(Prometheus(folder / "prometheus", running.targets, rules=rules))
        await asyncio.to_thread(prometheus.until_up)
        begin = time.time()
        async with playing(running.gateways, honest) as calm:
            await asyncio.sleep(HONEST_SEC)
            attack = time.time()
            async with playing(running.gateways, attackers) as hostile:
                await asyncio.sleep(ATTACK_SEC)
            end = time.time()
        seen = Seen(prometheus, Moments(begin, attack, end))
        seen.sent = sum(tally.sent for tally in (*calm, *hostile))
        await _until(prometheus, "sum(stillwatch_requests_total)", seen.sent)
        await _until(prometheus, "sum(stillwatch_events_applied_total)", seen.sent)
        await asyncio.sleep(1.2)  # one more scrape, so that a count that goes on beyond is seen
        seen.counted = prometheus.value("sum(stillwatch_requests_total)")
        seen.applied = prometheus.value("sum(stillwatch_events_applied_total)")

        seen.crowd_answered = await crowd(running.gateways, CROWD)
        await _until(prometheus, "sum(stillwatch_keys)", CROWD)
        seen.keys = prometheus.value("sum(stillwatch_keys)")
        seen.series = prometheus.value(f"count({EVERYTHING})")
        seen.series_by_job = {
            each.labels["job"]: each.points[0][1] for each in prometheus.query(f"count by (job) ({EVERYTHING})")
        }
        for each in prometheus.query(EVERYTHING):
            for label, value in each.labels.items():
                seen.labels.setdefault((each.labels["__name__"], label), set()).add(value)

        async with playing(running.gateways, honest):
            await asyncio.sleep(2.0)
            seen.before = {name: state for name, state in prometheus.alerts().items() if state == "firing"}
            seen.fired |= await raise_alerts(running, prometheus, STATE_FROZEN, LIMIT_SEC)
            seen.spooled = prometheus.value("sum(max_over_time(stillwatch_spool_bytes[5s]))")
            seen.healed = await asyncio.to_thread(wait_for_quiet, prometheus, STATE_FROZEN.alerts, LIMIT_SEC)
            seen.fired |= await raise_alerts(running, prometheus, WORKERS_STOPPED, LIMIT_SEC)
        return seen


async def _until(prometheus: Prometheus, expr: str, least: float) -> None:
    """Waits until a value is there, a while at most: what it became is for the tests to say."""
    await asyncio.to_thread(wait_for_value, prometheus, expr, least, LIMIT_SEC)
