"""The table that a run prints, and what of the goals it reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import Delays, Sample
from benchmarks.machine import Cores
from benchmarks.replay import Row
from benchmarks.targets import BASELINE, GATEWAYS
from benchmarks.worker import GOAL_KIB_PER_KEY, GOAL_PER_SEC, Speed

FULL = GATEWAYS[-1]

MAX_RATIO = 6.0
"""CPU per request of the gateway with everything on, over nginx's."""

MIN_PER_SEC = 7000.0
MAX_ADDED_MS = 0.5
MAX_LATE_MS = 2.0

_HEAD = ("", "target", "conn.", "requests/s", "p50 ms", "p99 ms", "CPU s per 1,000", "× nginx")


@dataclass
class Report:
    """Everything that was measured; printing it gives the table."""

    machine: str
    cores: Cores
    rounds: int
    seconds: int
    loops: dict[tuple[str, int], dict[str, list[Sample]]] = field(default_factory=dict)
    delays: dict[str, list[Delays]] = field(default_factory=dict)
    worker: Speed | None = None
    replay: Row | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, connections: int, samples: dict[str, list[Sample]]) -> None:
        """Measurements of one kind of answer at one concurrency, by target."""
        self.loops[name, connections] = samples

    def __str__(self) -> str:
        shared = "one core for everything" if self.cores.proxy == self.cores.rest else "the proxy on a core of its own"
        lines = [self.machine, f"{shared}; medians of {self.rounds} rounds of {self.seconds} s, targets in turn", ""]
        rows = [_HEAD, *self._loop_rows(), *self._delay_rows(), *self._speed_rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        for number, row in enumerate(rows):
            cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
            cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
            lines.append("  ".join(cells).rstrip())
            if number == 0:
                lines.append("  ".join("-" * width for width in widths))
        goals = self._goals()
        if goals:
            lines += ["", *goals]
        return "\n".join([*lines, *self.notes])

    def _loop_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for (name, connections), samples in self.loops.items():
            base = _cpu(samples[BASELINE])
            for target, found in samples.items():
                cpu = _cpu(found)
                rows.append(
                    (
                        name,
                        target,
                        str(connections),
                        f"{_of(found, 'per_sec'):,.0f}",
                        f"{_of(found, 'p50_ms'):.2f}",
                        f"{_of(found, 'p99_ms'):.2f}",
                        "" if cpu is None else f"{cpu:.4f}",
                        "" if cpu is None or base is None else f"{cpu / base:.1f}",
                    )
                )
        return rows

    def _delay_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for target, found in self.delays.items():
            cpu = _cpu(found)
            rows.append(
                (
                    "delay of a chunk",
                    target,
                    "200",
                    f"{_of(found, 'per_sec'):,.0f} chunks",
                    f"{_of(found, 'p50_ms'):.2f}",
                    f"{_of(found, 'p99_ms'):.2f}",
                    "" if cpu is None else f"{cpu:.4f} chunks",
                    "",
                )
            )
        return rows

    def _speed_rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        if self.worker is not None:
            speed = self.worker
            rows.append(_speed_row("worker", f"{speed.keys} keys", speed.events, speed.seconds, speed.cpu_seconds))
        if self.replay is not None:
            row = self.replay
            profile = row.name.removeprefix("replay, ")
            rows.append(_speed_row("replay", profile, row.events, row.seconds, row.cpu_seconds))
        return rows

    def _goals(self) -> list[str]:
        found: list[tuple[str, float, float, bool]] = []
        for connections in (1, 16, 64):
            samples = self.loops.get(("plain", connections))
            if samples is None:
                continue
            ours, nginx = _cpu(samples[FULL]), _cpu(samples[BASELINE])
            assert ours is not None
            assert nginx is not None
            if connections > 1:
                found.append((f"CPU per request over nginx's, {connections} connections", ours / nginx, MAX_RATIO, False))
            if connections == 64:
                found.append(("requests/s, 64 connections", _of(samples[FULL], "per_sec"), MIN_PER_SEC, True))
            if connections == 1:
                added = _of(samples[FULL], "p50_ms") - _of(samples["direct"], "p50_ms")
                found.append(("added p50 at one connection, ms", added, MAX_ADDED_MS, False))
        if self.delays:
            late = _of(self.delays[FULL], "p99_ms") - _of(self.delays["direct"], "p99_ms")
            found.append(("added p99 of a chunk at 200 streams, ms", late, MAX_LATE_MS, False))
        if self.worker is not None:
            found.append(("worker, events per core-second", self.worker.per_core_sec, GOAL_PER_SEC, True))
            found.append(("KiB per key in state", self.worker.bytes_per_key / 1024, GOAL_KIB_PER_KEY, False))
        return [_goal(*goal) for goal in found]


def _speed_row(name: str, of: str, events: int, seconds: float, cpu_seconds: float) -> tuple[str, ...]:
    return (name, of, "", f"{events / seconds:,.0f} events", "", "", f"{1000 * cpu_seconds / events:.4f} events", "")


def _goal(name: str, value: float, bound: float, at_least: bool) -> str:
    met = value >= bound if at_least else value <= bound
    shown = f"{value:,.0f}" if bound >= 100 else f"{value:.2f}"
    return f"{'met   ' if met else 'MISSED'}  {name}: {shown} (goal: {'≥' if at_least else '≤'} {bound:,g})"


def _of(samples: Sequence[Sample] | Sequence[Delays], name: str) -> float:
    return float(median(getattr(sample, name) for sample in samples))


def _cpu(samples: Sequence[Sample] | Sequence[Delays]) -> float | None:
    found = [sample.cpu for sample in samples if sample.cpu is not None]
    return median(found) if found else None
