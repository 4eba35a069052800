"""Whether calibrated levels hold: by kind of honest customer, under contamination, at every look, and while a fleet moves.

    python -m benchmarks.calibration [--profile dev] [--seed 4] [--rounds 5]

On a run of the labelled benchmark that nothing shipped was fitted on. In each round 70 % of the honest organisations are
the history and the others are judged; an organisation counts as called when any of its moments is. Most of the time goes
into the run's rows, which are kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from time import process_time

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.labelled import NoBench, generate
from benchmarks.training.rows import LabelledRows, labelled_rows
from detectors import calibrate, drift, guarded, reference
from detectors.calibrate import Conformal
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix
from detectors.discovery import fused
from detectors.drift import Look
from detectors.scorers import boosted

LEVELS = (0.05, 0.01, 0.005)
CONTAMINATION = (0.0, 0.001, 0.003, 0.01)
LEAST_EVIDENCE = 10
LEAST_ATTACKS = 3
HISTORY = 0.7
LEAST_OF_KIND = 100
"""Organisations judged in all rounds together from which a kind's own rate is printed."""

DAY_US = 86_400_000_000

_Scores = Callable[[Conformal, NDArray[np.float64], Sequence[tuple[str, ...]]], NDArray[np.float64]]
METHODS: dict[str, _Scores] = {
    "pool": lambda fitted, values, groups: fitted.scores(values, groups),
    "guarded": guarded.scores,
}
_SHIPPED = boosted.shipped()

HALVINGS = 30


def _backed(fitted: Conformal, values: NDArray[np.float64], groups: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
    """What the boosted scorer does with a history's peers."""
    return fitted.backed(values, groups, _SHIPPED.peers)


class _Run:
    """Rows with what is known about them, as arrays."""

    def __init__(self, rows: LabelledRows) -> None:
        facts = rows.facts
        enough = rows.matrix.evidence >= LEAST_EVIDENCE
        self.rows = rows
        self.org = facts.select(pl.when(pl.col("org") != "").then("org").otherwise("key")).to_series().to_numpy()
        self.key, self.kind = facts["key"].to_numpy(), facts["kind"].to_numpy()
        attack, authorised = facts["attack"].to_numpy(), facts["authorised"].to_numpy()
        self.honest = ~attack & ~authorised & enough
        self.attackers = attack & (facts["attack_so_far"].to_numpy() >= LEAST_ATTACKS) & ~facts["warm"].to_numpy() & enough
        column = INDEX["leak_evidence"]
        self.statistics = {
            "boosted": _SHIPPED.log_odds(rows.matrix),
            "leak": np.where(rows.matrix.present[:, column], rows.matrix.values[:, column], 0.0),
        }

    def groups(self, at: NDArray[np.intp]) -> tuple[tuple[str, ...], ...]:
        """Peer groups of these rows."""
        return tuple(self.rows.matrix.groups[row] for row in at.tolist())


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the four tables."""
    parser = argparse.ArgumentParser(description="Whether calibrated levels hold.")
    parser.add_argument("--profile", default="dev")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    try:
        run = _Run(labelled_rows(generate(args.profile, args.seed)))
    except NoBench as error:
        print(f"calibration: not possible, {error}", file=sys.stderr)
        return 1
    _print_levels(run, args.rounds)
    _print_leaks(run, args.rounds)
    _print_drift(run)
    _print_speed(run)
    return 0


def _print_levels(run: _Run, rounds: int) -> None:
    print("statistic peers     unknown  level  honest                 worst kind  attack keys             worst family")
    for unknown in CONTAMINATION:
        called = _rounds(run, rounds, unknown)
        for (name, method), (honest, attack) in called.items():
            for level in LEVELS:
                worst = _by_kind(honest, level).filter(pl.col("len") >= LEAST_OF_KIND).sort("rate").row(-1)
                least = _by_kind(attack, level).sort("rate").row(0)
                print(
                    f"{name:<9} {method:<8} {unknown:>8.1%} {level:>6.1%} {_rate(honest, level):>7.2%} "
                    f"{worst[0] + f' {worst[1]:.2%}':>26} {_rate(attack, level):>12.3f} {least[0] + f' {least[1]:.2f}':>24}"
                )


def _rounds(run: _Run, rounds: int, unknown: float) -> dict[tuple[str, str], tuple[pl.DataFrame, pl.DataFrame]]:
    """Lowest p-value of every honest organisation that is judged, and of every attack key, of all rounds."""
    rng = np.random.default_rng(1)
    everyone, suspects = np.unique(run.org[run.honest]), np.unique(run.org[run.attackers])
    found: dict[tuple[str, str], tuple[list[pl.DataFrame], list[pl.DataFrame]]] = {}
    for _ in range(rounds):
        history = rng.choice(everyone, int(HISTORY * len(everyone)), replace=False)
        hidden = rng.choice(suspects, round(unknown * len(history)), replace=False)
        past = np.flatnonzero((run.honest & np.isin(run.org, history)) | (run.attackers & np.isin(run.org, hidden)))
        judged = np.flatnonzero(run.honest & ~np.isin(run.org, history))
        attack = np.flatnonzero(run.attackers & ~np.isin(run.org, hidden))
        p_values: dict[str, list[NDArray[np.float64]]] = {}
        for name, values in run.statistics.items():
            fitted = calibrate.fit(values[past].tolist(), run.org[past].tolist(), run.groups(past))
            for method, scores in (METHODS | ({"backed": _backed} if name == "boosted" else {})).items():
                both = [1.0 - scores(fitted, values[at], run.groups(at)) for at in (judged, attack)]
                _keep(run, found, (name, method), judged, attack, both)
                if method in METHODS:
                    p_values.setdefault(method, []).extend(both)
        for method, parts in p_values.items():
            both = [fused(np.stack(parts[side::2])) for side in (0, 1)]
            _keep(run, found, ("fused", method), judged, attack, both)
    return {name: (pl.concat(honest), pl.concat(attack)) for name, (honest, attack) in found.items()}


def _keep(
    run: _Run,
    found: dict[tuple[str, str], tuple[list[pl.DataFrame], list[pl.DataFrame]]],
    name: tuple[str, str],
    judged: NDArray[np.intp],
    attack: NDArray[np.intp],
    p_values: Sequence[NDArray[np.float64]],
) -> None:
    kept = found.setdefault(name, ([], []))
    for side, (at, who) in enumerate(((judged, run.org), (attack, run.key))):
        lines = pl.DataFrame({"who": who[at], "kind": run.kind[at], "p": p_values[side]})
        kept[side].append(lines.group_by("who").agg(pl.col("p").min(), pl.first("kind")))


def _rate(lines: pl.DataFrame, level: float) -> float:
    return float((lines["p"].to_numpy() <= level).mean())


def _by_kind(lines: pl.DataFrame, level: float) -> pl.DataFrame:
    return lines.group_by("kind").agg((pl.col("p") <= level).mean().alias("rate"), pl.len())


def _print_leaks(run: _Run, rounds: int) -> None:
    """What attack keys have taken when a statistic first calls them: answered attack requests so far."""
    rng = np.random.default_rng(2)
    everyone = np.unique(run.org[run.honest])
    so_far, at_us = run.rows.facts["attack_so_far"].to_numpy(), run.rows.facts["at_us"].to_numpy()
    attack = np.flatnonzero(run.attackers)
    order = attack[np.argsort(at_us[attack], kind="stable")]
    for name, values in run.statistics.items():
        for level in (0.01, 0.005):
            taken: list[int] = []
            keys = 0
            for _ in range(rounds):
                history = rng.choice(everyone, int(HISTORY * len(everyone)), replace=False)
                past = np.flatnonzero(run.honest & np.isin(run.org, history))
                fitted = calibrate.fit(values[past].tolist(), run.org[past].tolist(), run.groups(past))
                first: dict[str, int] = {}
                for row, score in zip(
                    order.tolist(), guarded.scores(fitted, values[order], run.groups(order)), strict=True
                ):
                    if score >= 1.0 - level:
                        first.setdefault(run.key[row], int(so_far[row]))
                taken += first.values()
                keys += len(np.unique(run.key[attack]))
            middle, most = np.quantile(taken, [0.5, 0.9]) if taken else (np.nan, np.nan)
            print(
                f"taken at the first call of {name} at {level:.1%}: median {middle:.0f}, nine in ten at most {most:.0f}; "
                f"{len(taken) / keys:.3f} of the keys are called"
            )


def _print_drift(run: _Run) -> None:
    """What every day freezes, by who has a vote; the history is the run's warm-up, honest organisations alone."""
    matrix = run.rows.matrix
    facts = run.rows.facts.with_columns(
        row=pl.int_range(pl.len()),
        org_or_key=pl.Series(run.org),
        day=pl.col("at_us") // DAY_US,
        judged=pl.Series(matrix.evidence >= LEAST_EVIDENCE),
        settled=pl.Series(matrix.values[:, INDEX["account_age_d"]] >= 30.0),
        quiet=pl.Series(run.statistics["boosted"] <= np.quantile(run.statistics["boosted"][run.honest], 0.99)),
    ).filter("judged")
    history = facts.filter(pl.col("warm") & ~pl.col("attack"))
    known = reference.fit(matrix.take(history["row"].to_numpy()), history["org_or_key"].to_list())

    def sketch(lines: pl.DataFrame) -> drift.Fleet:
        newest = lines.sort("at_us").group_by("key", maintain_order=True).last()
        return drift.fleet(known, matrix.take(newest["row"].to_numpy()), newest["org_or_key"].to_list())

    base = sketch(history)
    later = facts.filter(~pl.col("warm"))
    voters = {
        "honest": later.filter(~pl.col("attack")),
        "settled, not flagged": later.filter(pl.col("settled") & pl.col("quiet")),
        "everybody": later,
    }
    for who, lines in voters.items():
        state = Look({})
        for day in sorted(lines["day"].unique().to_list()):
            moved = drift.jumps(base, sketch(lines.filter(pl.col("day") == day)))
            state = drift.look(state, moved)
            names = [CATALOGUE[column].name for column in np.argsort(-moved)[:4].tolist() if moved[column] > 0]
            print(f"votes of {who:<20} day {day}: {int((moved > 0).sum()):>2} jumped {', '.join(names)}", flush=True)

    newest = history.sort("at_us").group_by("key", maintain_order=True).last()
    print(f"looks that froze anything while nothing moved: {_false_looks(newest, matrix)} of {HALVINGS}")


def _false_looks(newest: pl.DataFrame, matrix: FeatureMatrix) -> int:
    """One half of the history's organisations beside the other, again and again."""
    rng = np.random.default_rng(4)
    orgs = newest["org_or_key"].unique().sort().to_list()
    found = 0
    for _ in range(HALVINGS):
        half = newest["org_or_key"].is_in(rng.choice(orgs, len(orgs) // 2, replace=False).tolist())
        sides = (newest.filter(half), newest.filter(~half))
        parts = [(matrix.take(side["row"].to_numpy()), side["org_or_key"].to_list()) for side in sides]
        known = reference.fit(*parts[0])
        base, seen = (drift.fleet(known, *part) for part in parts)
        found += bool((drift.jumps(base, seen) > 0).any())
    return found


def _print_speed(run: _Run) -> None:
    """A million rows."""
    values = run.statistics["boosted"]
    fitted = calibrate.fit(
        values[run.honest].tolist(), run.org[run.honest].tolist(), run.groups(np.flatnonzero(run.honest))
    )
    at = np.random.default_rng(3).integers(0, len(values), 1_000_000)
    groups = run.groups(at)
    start = process_time()
    guarded.scores(fitted, values[at], groups)
    print(f"a million guarded scores: {process_time() - start:.2f} s of CPU")


if __name__ == "__main__":
    raise SystemExit(main())
