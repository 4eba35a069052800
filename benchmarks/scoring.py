"""Speed of scoring: a million profiles through every scorer, on one core; and of the analysis among few and many keys.

    python -m benchmarks.scoring [--rows 1000000] [--states 1000 100000]

The rows are those of invented customers and attackers (`benchmarks.traffic`), drawn with repetition in an order that no
cache can learn, and scored in pieces of 65,536: with its pools a matrix of a million rows would be gigabytes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from app.settings import Settings, load
from benchmarks import traffic
from benchmarks.training.rows import scorings
from detectors import model as models
from detectors.analysis import Analysis, EntityState
from detectors.artefacts import BadArtefact
from detectors.contract import FeatureMatrix, Scorer
from detectors.event import Event, without_text
from detectors.features import FeatureRow, stack
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.model import Model
from detectors.scorers import boosted

PIECE = 65_536
GOAL_SEC = 10.0
PER_KIND = 40
SEED = 5

Item = tuple[Event, Fingerprint]


def exchanges(settings: Settings) -> list[Item]:
    """A few days of invented traffic, without its texts, fingerprinted."""
    with tempfile.TemporaryDirectory() as folder:
        log = traffic.write(Path(folder), PER_KIND, settings)
        return [(without_text(event), fingerprint(event)) for event in traffic.events(log, settings)]


def fitted(items: Sequence[Item]) -> tuple[Model, FeatureMatrix]:
    """A model of that traffic, and its rows."""
    rows: list[FeatureRow] = []
    owners: list[str] = []
    for key, row, _, _ in scorings(items):
        rows.append(row)
        owners.append(key)
    return models.fit(rows, owners, SEED), stack(rows)


def everything(model: Model) -> tuple[Scorer, ...]:
    """The scorers of a model, and the boosted trees where it has them not."""
    if any(scorer.name == boosted.NAME for scorer in model.scorers):
        return model.scorers
    try:
        return (boosted.BoostedScorer(boosted.shipped()), *model.scorers)
    except BadArtefact:
        return model.scorers


def per_row(scorers: Sequence[Scorer], matrix: FeatureMatrix, rows: int) -> dict[str, float]:
    """Seconds of CPU by scorer, for so many rows."""
    spent = dict.fromkeys((scorer.name for scorer in scorers), 0.0)
    dice = np.random.default_rng(SEED)
    for start in range(0, rows, PIECE):
        piece = matrix.take(dice.integers(0, len(matrix), min(PIECE, rows - start)))
        for scorer in scorers:
            before = time.process_time()
            scorer.columns(piece)
            spent[scorer.name] += time.process_time() - before
    return spent


def per_event(model: Model, items: Sequence[Item], states: int) -> float:
    """Seconds of CPU per exchange of the same customers, among so many states."""
    table: dict[tuple[str, str], EntityState] = {}
    analysis = Analysis(model)
    for number in range(states):
        event, fp = items[number % len(items)]
        analysis.observe(table, [(_named(event, f"other-{number}"), fp)])
    before = time.process_time()
    for start in range(0, len(items), 256):
        analysis.observe(table, items[start : start + 256])
    return (time.process_time() - before) / len(items)


def _named(event: Event, key: str) -> Event:
    return msgspec.structs.replace(event, key_id=key, org_id="")


def main() -> int:
    """Prints both tables; the exit status is 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description="Speed of scoring on one core.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--states", type=int, nargs="+", default=[1_000, 100_000])
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    settings = load(environ={"STILLWATCH_IDENTITY_PEPPER": "benchmark: these hashes never leave it"})
    items = exchanges(settings)
    model, matrix = fitted(items)
    spent = per_row(everything(model), matrix, args.rows)
    total = sum(spent.values())
    print(f"{'scorer':<24} {'µs per row':>12} {'s for 1 M':>12}")
    for name, seconds in [*spent.items(), ("all", total)]:
        print(f"{name:<24} {1e6 * seconds / args.rows:>12.3f} {1e6 * seconds / args.rows:>12.2f}")
    print(f"\n{'states':>12} {'µs per event':>14}   ({len(items):,} exchanges, everything on)")
    for states in args.states:
        print(f"{states:>12,} {1e6 * per_event(model, items, states):>14.0f}")
    return int(1e6 * total / args.rows > GOAL_SEC)


if __name__ == "__main__":
    raise SystemExit(main())
