"""One table: what the gateway costs beside nginx, how late it makes a chunk, and how fast worker and replay are.

    python -m benchmarks [--rounds 5] [--seconds 3] [--only plain streams delay worker replay]
    python -m benchmarks soak …                       see benchmarks.soak
    python -m benchmarks overload …                   see benchmarks.overload
    python -m benchmarks faults …                     see benchmarks.faults
    python -m benchmarks alerts                       see benchmarks.alerts
    python -m benchmarks pictures                     see benchmarks.pictures

Targets are measured in turn, round after round, and every figure is the median of its rounds; ratios are taken within the
same run. Times differ from machine to machine; what is worth comparing are ratios and CPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from app.errors import StillwatchError
from benchmarks import load, replay, worker
from benchmarks.labelled import NoBench
from benchmarks.machine import CannotMeasure, Cores, describe
from benchmarks.report import Report
from benchmarks.targets import Target, Targets, targets

PARTS = ("plain", "streams", "delay", "worker", "replay")
CONNECTIONS = (1, 16, 64)
CHUNKS = 20
INTERVAL_MS = 40.0
STREAMS = 200

_T = TypeVar("_T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["soak"]:
        from benchmarks.soak import main as soak

        return soak(given[1:])
    if given[:1] == ["faults"]:
        from benchmarks.faults import main as faults

        return faults(given[1:])
    if given[:1] == ["alerts"]:
        from benchmarks.alerts import main as alerts

        return alerts(given[1:])
    if given[:1] == ["pictures"]:
        from benchmarks.pictures import main as pictures

        return pictures(given[1:])
    if given[:1] == ["overload"]:
        from benchmarks.overload import main as overload

        return overload(given[1:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The benchmark table.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each figure (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=3, help="length of one (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of the table (default: all)")
    args = parser.parse_args(given)
    cores = Cores.share()
    machine = describe()
    os.sched_setaffinity(0, cores.rest)
    report = Report(machine, cores, args.rounds, args.seconds)
    try:
        if {"plain", "streams", "delay"} & set(args.only):
            with (
                tempfile.TemporaryDirectory(prefix="stillwatch-bench-") as folder,
                targets(cores, Path(folder), CHUNKS, INTERVAL_MS) as found,
            ):
                _proxies(found, args, report)
        if "worker" in args.only:
            _say("worker")
            report.worker = _in_a_process(worker.measure, cores, 60)
        if "replay" in args.only:
            _say("replay")
            try:
                report.replay = _in_a_process(replay.measure)
            except NoBench as error:
                report.notes.append(f"Replay was not measured: {error}.")
    except (CannotMeasure, StillwatchError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(report)
    return 0


def _proxies(found: Targets, args: Any, report: Report) -> None:
    for name, stream in (("plain", False), ("streams", True)):
        if name not in args.only:
            continue
        for connections in CONNECTIONS:
            where = found.streams if stream else found.plain
            measure = partial(load.closed_loop, connections=connections, seconds=args.seconds, stream=stream)
            samples = _rounds(found, where, args.rounds, f"{name}, {connections} connections", measure)
            report.add(name, connections, samples)
    if "delay" in args.only:
        measure_delay = partial(load.streams, count=STREAMS, seconds=args.seconds, chunks=CHUNKS)
        report.delays = _rounds(found, found.streams, args.rounds, f"delay of chunks, {STREAMS} streams", measure_delay)


def _rounds(
    found: Targets, where: Sequence[Target], rounds: int, what: str, measure: Callable[[Target], _T]
) -> dict[str, list[_T]]:
    """Target → its measurements, taken in turn."""
    samples: dict[str, list[_T]] = {target.name: [] for target in where}
    for number in range(rounds):
        _say(f"{what}, round {number + 1} of {rounds}")
        for target in where:
            samples[target.name].append(measure(target))
        found.forget()
    return samples


def _in_a_process(work: Callable[..., _T], *arguments: object) -> _T:
    """In a process of its own: it pins itself to a core, and its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
