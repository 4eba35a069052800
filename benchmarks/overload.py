"""A gateway that is offered more than it can do: what it still answers in time, what it holds, and how the admin API fares.

    python -m benchmarks overload [--rounds 3] [--seconds 5] [--times 5]

First its capacity: every connection sends its next request when the last one is answered. Then so many times that rate,
in an open loop: requests come whether or not those before them are answered, over as many times more connections, and then
over more connections than the gateway takes (`gateway.max_connections` is 1,024 here, so that the load itself fits on a
core). A client gives up after two seconds and connects anew; one that was refused comes back at once. Goodput is what is
answered with 200 in that time. Its share of the peak is given as measured, and per second of the gateway's CPU: on a
shared machine the load and the neighbours take some of its core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import redis
import uvloop

from app.errors import StillwatchError
from app.settings import StateSettings
from app.state.server import StateServer
from benchmarks.load import HEADERS, KEYS, PATH, body
from benchmarks.machine import CannotMeasure, Child, Cores, cpu_seconds, describe, free_port, resident_mib
from benchmarks.openloop import Outcome, offer
from benchmarks.targets import environ_of, serve, upstream_of_answers

CONNECTIONS = 64
TIMEOUT_SEC = 2.0
MIN_GOODPUT = 0.9
MAX_ADMIN_SEC = 1.0
MAX_GROWTH = 0.1
BEYOND = 1.5
"""Connections of the last run, as a multiple of gateway.max_connections."""

MAX_CONNECTIONS = 1024
TOKEN = "a-token-for-benchmarks-0123456789"


@dataclass(slots=True)
class Run:
    """One run; CPU of the gateway in seconds per second, its resident memory afterwards in MiB."""

    outcome: Outcome
    cpu: float
    resident: float
    fallbacks: float
    admin_sec: list[float] = field(default_factory=list)

    @property
    def per_cpu_second(self) -> float:
        """Good answers per second of the gateway's CPU."""
        return self.outcome.goodput / self.cpu

    def __str__(self) -> str:
        out = self.outcome
        refused = ", ".join(f"{number} × {status}" for status, number in sorted(out.refused.items())) or "none"
        parts = (
            f"{out.offered / out.seconds:>8,.0f}/s offered",
            f"{out.goodput:>6,.0f}/s good",
            f"p50 {out.percentile_ms(50):>5.0f} p99 {out.percentile_ms(99):>5.0f} ms",
            f"CPU {self.cpu:.2f}",
            f"{self.resident:.0f} MiB",
            f"refused {refused}",
            f"given up {out.late}",
            f"decided without state {self.fallbacks:.0f}",
            f"admin {max(self.admin_sec, default=0.0):.2f} s",
        )
        return ", ".join(parts)


class Rig:
    """State server, upstream, gateway and admin API."""

    def __init__(self, stack: ExitStack, cores: Cores) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stillwatch-overload-")))
        state = StateServer(StateSettings(data_dir=folder))
        state.open()
        stack.callback(state.close)
        self._client = stack.enter_context(redis.Redis.from_url(state.url))
        upstream, self.port, self._metrics, self._admin = (free_port() for _ in range(4))
        stack.enter_context(upstream_of_answers(folder, upstream, cores)).serves(upstream)
        environ = environ_of(folder / "gateway", state.url, limits=True, log=True)
        environ |= {
            "STILLWATCH_GATEWAY__METRICS_PORT": str(self._metrics),
            "STILLWATCH_GATEWAY__MAX_CONNECTIONS": str(MAX_CONNECTIONS),
            "STILLWATCH_ADMIN_TOKEN": TOKEN,
        }
        gateway = serve(environ, upstream, self.port, cores, limits=True, folder=folder)
        self.gateway = stack.enter_context(gateway).serves(self.port)
        command = [sys.executable, "-m", "app.cli", "admin", "--port", str(self._admin)]
        stack.enter_context(Child(command, cores.rest, environ)).serves(self._admin)
        self._requests = list(_requests())

    def run(self, connections: int, rate: float, seconds: float) -> Run:
        """One run; a rate of 0 keeps every connection busy. The event streams are emptied afterwards: no worker runs."""
        seen: list[float] = []
        over = threading.Event()
        asking = threading.Thread(target=self._ask_admin, args=(seen, over))
        before, began, fell = cpu_seconds(self.gateway.pid), time.monotonic(), self._fallbacks()
        asking.start()
        outcome = uvloop.run(
            offer(
                self.port,
                self._requests,
                connections=connections,
                rate=rate,
                seconds=seconds,
                timeout_sec=TIMEOUT_SEC,
            )
        )
        over.set()
        asking.join()
        cpu = (cpu_seconds(self.gateway.pid) - before) / (time.monotonic() - began)
        run = Run(outcome, cpu, resident_mib(self.gateway.pid), self._fallbacks() - fell, seen)
        self._client.flushall()
        return run

    def _ask_admin(self, seen: list[float], over: threading.Event) -> None:
        while not over.wait(0.2):
            began = time.monotonic()
            ask = urllib.request.Request(
                f"http://127.0.0.1:{self._admin}/v1/health", headers={"authorization": f"Bearer {TOKEN}"}
            )
            with urllib.request.urlopen(ask, timeout=10) as answer:
                json.load(answer)
            seen.append(time.monotonic() - began)

    def _fallbacks(self) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("stillwatch_failure_mode_total{"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; status 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks overload", description="A gateway beyond its capacity.")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="length of one (default: %(default)s)")
    parser.add_argument("--times", type=float, default=5, help="load, as a multiple of capacity (default: %(default)s)")
    args = parser.parse_args(arguments)
    cores = Cores.share()
    print(describe())
    os.sched_setaffinity(0, cores.rest)
    try:
        with ExitStack() as stack:
            return _measure(Rig(stack, cores), args.rounds, args.seconds, args.times)
    except (CannotMeasure, StillwatchError) as error:
        print(f"benchmarks overload: {error}", file=sys.stderr)
        return 1


def _measure(rig: Rig, rounds: int, seconds: float, times: float) -> int:
    many = int(CONNECTIONS * times)
    beyond = int(MAX_CONNECTIONS * BEYOND)
    warm = rig.run(CONNECTIONS, 0, 1)
    rig.run(beyond, times * warm.outcome.goodput, 2)  # every memory that is meant to fill up is full now
    peaks, loaded, crowded = [], [], []
    for _ in range(rounds):  # in turn, so that a neighbour's hour is everybody's
        peaks.append(_say(f"capacity, {CONNECTIONS} connections", rig.run(CONNECTIONS, 0, seconds)))
        rate = times * peaks[-1].outcome.goodput
        loaded.append(_say(f"{times:g} × capacity, {many} connections", rig.run(many, rate, seconds)))
        crowded.append(_say(f"{times:g} × capacity, {beyond} connections", rig.run(beyond, rate, seconds)))
    growth = crowded[-1].resident / crowded[0].resident - 1
    print(
        f"{'kept' if growth <= MAX_GROWTH else 'MISSED'}: memory {crowded[0].resident:.0f} → "
        f"{crowded[-1].resident:.0f} MiB from the first round to the last"
    )
    kept = _judge(peaks, {f"{many} connections": loaded, f"{beyond} connections": crowded})
    return 0 if kept and growth <= MAX_GROWTH else 1


def _say(what: str, run: Run) -> Run:
    print(f"{what:<32}{run}", flush=True)
    return run


def _judge(peaks: Sequence[Run], loads: dict[str, list[Run]]) -> bool:
    """Whether goodput and the admin API kept their bounds."""
    kept = True
    for name, runs in loads.items():
        shares = [run.outcome.goodput / peak.outcome.goodput for run, peak in zip(runs, peaks, strict=True)]
        by_cpu = [run.per_cpu_second / peak.per_cpu_second for run, peak in zip(runs, peaks, strict=True)]
        admin = max(second for run in runs for second in run.admin_sec)
        good = max(median(shares), median(by_cpu)) >= MIN_GOODPUT and admin < MAX_ADMIN_SEC
        kept = kept and good
        print(
            f"{'kept' if good else 'MISSED'}: {name}: goodput {median(shares):.0%} of peak, {median(by_cpu):.0%} per "
            f"second of CPU; admin API at most {admin:.2f} s"
        )
    return kept


def _requests() -> Sequence[bytes]:
    text = body(stream=False).encode()
    made = []
    for number in range(KEYS):
        head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        head += f"host: 127.0.0.1\r\nauthorization: Bearer sk-bench-{number:08d}-0123456789abcdef0123456789abcdef\r\n"
        made.append(f"POST {PATH} HTTP/1.1\r\n{head}content-length: {len(text)}\r\n\r\n".encode() + text)
    return made
