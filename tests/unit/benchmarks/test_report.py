"""The table of a benchmark run: medians, ratios within the run, and goals that are told when they are missed."""

from __future__ import annotations

import os

import pytest

from benchmarks.load import Delays, Sample
from benchmarks.machine import CannotMeasure, Cores, cpu_seconds, free_port, program, resident_mib
from benchmarks.report import Report
from benchmarks.worker import Speed

CORES = Cores(frozenset([0]), frozenset([1]))


def _report(cpu: float) -> Report:
    report = Report("a machine", CORES, 3, 2)
    for connections in (1, 64):
        report.add(
            "plain",
            connections,
            {
                "direct": [Sample(9e4, 0.01, 0.1, None)] * 3,
                "nginx proxy": [Sample(3e4, 0.2, 0.5, value) for value in (0.01, 0.5, 0.02)],
                "+ limits + log": [Sample(8e3, 0.3, 2.0, cpu)] * 3,
            },
        )
    report.delays = {name: [Delays(4000, 0.1, late, 0.02)] for name, late in (("direct", 0.1), ("+ limits + log", 1.5))}
    report.worker = Speed(20_000, 12.0, 10.0, 500, 4.5 * 1024, 100.0)
    return report


def test_every_target_has_a_row_with_medians_and_its_ratio_to_nginx() -> None:
    """The middle of three CPU figures counts, and what is not a proxy has none."""
    lines = str(_report(0.1)).splitlines()
    (nginx,) = [line for line in lines if "nginx proxy" in line and "   64  " in line]
    assert nginx.split()[-2:] == ["0.0200", "1.0"]
    (ours,) = [line for line in lines if "+ limits + log" in line and "   64  " in line and "plain" in line]
    assert ours.split()[-2:] == ["0.1000", "5.0"]
    (direct,) = [line for line in lines if line.startswith("plain") and "direct" in line and "   64  " in line]
    assert direct.split()[-3:] == ["90,000", "0.01", "0.10"]


def test_goals_are_met_or_missed_by_what_was_measured() -> None:
    """Each goal is told with its figure and its bound."""
    good, bad = str(_report(0.1)), str(_report(0.2))
    assert "MISSED" not in good
    assert "met     worker, events per core-second: 2,000 (goal: ≥ 1,000)" in good
    assert "met     added p99 of a chunk at 200 streams, ms: 1.40 (goal: ≤ 2)" in good
    assert "MISSED  CPU per request over nginx's, 64 connections: 10.00 (goal: ≤ 6)" in bad


def test_a_run_of_one_part_prints_that_part() -> None:
    """Without any measurement there is a head and nothing else."""
    assert "goal" not in str(Report("a machine", CORES, 1, 1))


def test_a_program_that_is_missing_is_one_sentence_with_the_remedy() -> None:
    """And no traceback."""
    with pytest.raises(CannotMeasure, match="apt-get install"):
        program("no-such-program-anywhere")


def test_a_process_is_measured_from_outside() -> None:
    """CPU time grows with work, memory is that of a Python process, and a free port is one."""
    before = cpu_seconds(os.getpid())
    assert sum(range(2_000_000))
    assert cpu_seconds(os.getpid()) > before
    assert resident_mib(os.getpid()) > 10
    assert 1024 <= free_port() <= 65535
