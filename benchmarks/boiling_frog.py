"""Thirty days of an attacker who teaches the detector: 5 % of the traffic moves what is normal, a little every day.

    python -m benchmarks.boiling_frog [--worlds random:121-122] [--days 30] [--seeds 1]

Every day a model is calibrated on the last seven days, once as a provider would who takes every candidate, and once with
the guards: young accounts and organisations that the model in use flags are not learned from, and a candidate goes live
only if it passes the anchors and the budget of drift against the first day's model. Rows come from the labelled generator:
honest organisations are drawn anew every day, with a little noise; the attacker's are made by strategy. Told is the recall
on attackers that taught nothing, by the model's own levels.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from app.offline.history import GUARDED, Guards
from app.offline.promotion import anchors_of
from benchmarks.labelled import NoBench
from benchmarks.training import worlds
from benchmarks.training.rows import LabelledRows, joined, labelled_rows
from detectors import model as models
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import Level
from detectors.features import FeatureRow, stack
from detectors.promote import Anchors, Judged, compare, judged

WORLDS = ("random:121-122",)
DAYS, WINDOW_DAYS = 30, 7
SHARE = 0.05
ORGS_PER_DAY = 90
"""Honest organisations that a day's calibration hears of; a window has seven times as many rows."""

SMALL_EVIDENCE = 8
"""Exchanges of a small key: with one vote for each organisation, many small ones have more votes than their traffic."""

LEAST_EVIDENCE, LEAST_SHARE = 30, 0.45
"""Of an attacker's row in the examination: enough exchanges, and about half of them attacks."""

BUDGET = 0.02
NOISE = 0.03
_AGE = INDEX["account_age_d"]
_LOW = np.array([feature.low for feature in CATALOGUE])
_HIGH = np.array([feature.high for feature in CATALOGUE])


@dataclass(frozen=True, slots=True)
class Sent:
    """One row of a day's traffic and the organisation behind it."""

    org: str
    row: FeatureRow


@dataclass(frozen=True)
class Sources:
    """Rows to draw from: honest ones, what the attacker teaches with, and the examination, which taught nothing."""

    honest: Sequence[FeatureRow]
    teaching: Sequence[FeatureRow]
    exam: Anchors


@dataclass
class Side:
    """One way of doing it, over the days.

    Attributes:
        guards: None: every candidate goes live.
        live: the model in use.
        refused: days on which the candidate was refused; failing: promoted candidates that fail the check.
        recalls: by day, at WATCH and at SUSPECT.
    """

    name: str
    guards: Guards | None
    live: models.Model
    refused: int = 0
    failing: int = 0
    recalls: list[tuple[float, float]] = field(default_factory=list)
    false: list[float] = field(default_factory=list)


Strategy = Callable[[Sources, int, int, np.random.Generator], Iterator[Sent]]
"""Sources, day, days, dice → the attacker's rows of a day, a SHARE of the honest ones' exchanges."""


def ramp(sources: Sources, day: int, days: int, dice: np.random.Generator) -> Iterator[Sent]:
    """Old accounts whose use turns from that of an honest customer into a harvest: a thirtieth more of it every day."""
    share = (day + 1) / days
    for number in range(round(SHARE * ORGS_PER_DAY) or 1):
        who = np.random.default_rng([number, 7])  # the same account every day
        start = sources.honest[int(who.integers(len(sources.honest)))]
        goal = sources.teaching[int(who.integers(len(sources.teaching)))]
        yield Sent(f"frog-{number}", _aged(_between(start, goal, share, dice), 90.0))


def sleepers(sources: Sources, day: int, days: int, dice: np.random.Generator) -> Iterator[Sent]:
    """Old accounts that harvest at once; a few more of them every day, up to the attacker's share of the traffic."""
    for number in range(round(SHARE * ORGS_PER_DAY * (day + 1) / days * 2) or 1):
        who = np.random.default_rng([number, 11])
        yield Sent(
            f"sleeper-{number}", _aged(_noisy(sources.teaching[int(who.integers(len(sources.teaching)))], dice), 60.0)
        )


def small_keys(sources: Sources, day: int, days: int, dice: np.random.Generator) -> Iterator[Sent]:
    """Many accounts of days with a few exchanges each, every one an organisation of its own."""
    exchanges = SHARE * ORGS_PER_DAY * float(np.mean([row.evidence for row in sources.honest]))
    for number in range(round(exchanges / SMALL_EVIDENCE)):
        row = _noisy(sources.teaching[int(dice.integers(len(sources.teaching)))], dice)
        small = FeatureRow(row.values, row.present, SMALL_EVIDENCE, row.groups, row.pool)
        yield Sent(f"small-{day}-{number}", _aged(small, float(dice.uniform(0.5, 6.0))))


def nobody(sources: Sources, day: int, days: int, dice: np.random.Generator) -> Iterator[Sent]:
    """No attacker: what the guards cost in peace, and whether they let honest change pass at all."""
    return iter(())


STRATEGIES: dict[str, Strategy] = {
    "slow ramp": ramp,
    "many small keys": small_keys,
    "sleeping accounts": sleepers,
    "no attacker": nobody,
}


def sources_of(rows: LabelledRows, seed: int) -> Sources:
    """Honest rows, and the attackers' split by key into those that teach and those that are looked for."""
    facts = rows.facts.with_row_index("at").with_columns(evidence=pl.Series(rows.matrix.evidence))
    facts = facts.filter(pl.col("sampled") & ~pl.col("authorised") & (pl.col("evidence") >= 5))
    honest = facts.filter(~pl.col("attack"))["at"].to_list()
    clear = facts.filter(
        pl.col("attack") & (pl.col("attack_share") >= LEAST_SHARE) & (pl.col("evidence") >= LEAST_EVIDENCE)
    ).sort("run", "key", "scoring")
    last = clear.group_by("run", "key", maintain_order=True).last()
    teaches = np.random.default_rng(seed).permutation(len(last)) % 2 == 0
    exam = last.filter(pl.Series(~teaches))
    asked = np.array(exam["at"].to_list(), np.intp)
    return Sources(
        [_row(rows, at) for at in honest],
        [_row(rows, at) for at in last.filter(pl.Series(teaches))["at"].to_list()],
        Anchors(
            rows.matrix.take(asked), np.ones(len(asked), np.bool_), np.zeros(len(asked), np.bool_), tuple(exam["kind"])
        ),
    )


def play(sources: Sources, strategy: Strategy, days: int, seed: int, anchors: Anchors) -> tuple[Side, Side]:
    """Thirty days without and with the guards, on the same traffic."""
    dice = np.random.default_rng(seed)
    clean = [sent for _ in range(WINDOW_DAYS) for sent in _honest(sources, dice)]
    sides = tuple(
        Side(name, guards, models.rules_only()) for name, guards in (("without guards", None), ("with guards", GUARDED))
    )
    baselines = []
    for side in sides:
        side.live = _candidate(side, clean, seed)  # made as those that are compared with it
        baselines.append(judged(side.live, anchors.matrix))
    window = deque((clean[day::WINDOW_DAYS] for day in range(WINDOW_DAYS)), WINDOW_DAYS)
    for side in sides:
        _examine(side, sources)
    for day in range(days):
        window.append([*_honest(sources, dice), *strategy(sources, day, days, dice)])
        sent = [one for part in window for one in part]
        for side, baseline in zip(sides, baselines, strict=True):
            candidate = _candidate(side, sent, seed)
            now = judged(candidate, anchors.matrix)
            passed = compare(now, baseline, anchors).passed
            if side.guards is not None and not passed:
                side.refused += 1
                side.recalls.append(side.recalls[-1])
            else:
                side.failing += not passed
                side.live = candidate
                _examine(side, sources)
    return sides[0], sides[1]


def _candidate(side: Side, sent: Sequence[Sent], seed: int) -> models.Model:
    flagged: set[str] = set()
    if side.guards is not None:
        oldest = side.guards.least_age_d
        sent = [one for one in sent if not one.row.present[_AGE] or one.row.values[_AGE] >= oldest]
        found = judged(side.live, stack([one.row for one in sent]))
        flagged = {one.org for one, level in zip(sent, found.level, strict=True) if level >= Level.SUSPECT}
    return models.fit([one.row for one in sent], [one.org for one in sent], seed, flagged=flagged)


def _examine(side: Side, sources: Sources) -> None:
    found: Judged = judged(side.live, sources.exam.matrix)
    side.recalls.append((float((found.level >= Level.WATCH).mean()), float((found.level >= Level.SUSPECT).mean())))
    honest = judged(side.live, stack(sources.honest[::7]))
    side.false.append(float((honest.level >= Level.SUSPECT).mean()))


def _honest(sources: Sources, dice: np.random.Generator) -> list[Sent]:
    chosen = dice.integers(len(sources.honest), size=ORGS_PER_DAY)
    return [Sent(f"honest-{at}", _noisy(sources.honest[at], dice)) for at in chosen.tolist()]


def _row(rows: LabelledRows, at: int) -> FeatureRow:
    matrix = rows.matrix
    return FeatureRow(matrix.values[at], matrix.present[at], int(matrix.evidence[at]), matrix.groups[at], matrix.pool[at])


def _noisy(row: FeatureRow, dice: np.random.Generator) -> FeatureRow:
    values = np.clip(row.values * np.exp(dice.normal(0.0, NOISE, len(row.values))), _LOW, _HIGH)
    return FeatureRow(np.where(row.present, values, 0.0), row.present, row.evidence, row.groups, row.pool)


def _between(start: FeatureRow, goal: FeatureRow, share: float, dice: np.random.Generator) -> FeatureRow:
    """A customer of whom this share of the exchanges is a harvest: means mix; what only one side shows comes by chance."""
    both = start.present & goal.present
    either = np.where(dice.random(len(both)) < share, goal.present, start.present)
    present = both | (either & (start.present | goal.present))
    mixed = np.where(both, (1 - share) * start.values + share * goal.values, start.values + goal.values)
    noisy = np.clip(mixed * np.exp(dice.normal(0.0, NOISE, len(mixed))), _LOW, _HIGH)
    pool = ((1 - share) * start.pool + share * goal.pool).astype(np.float32)
    evidence = round((1 - share) * start.evidence + share * goal.evidence)
    groups = goal.groups if share > 0.5 else start.groups
    return FeatureRow(np.where(present, noisy, 0.0), present, evidence, groups, pool)


def _aged(row: FeatureRow, age_d: float) -> FeatureRow:
    """The row of an account of another age: the feature, and the peer groups that name it."""
    band = "new" if age_d < 7 else "settled"
    values, present = row.values.copy(), row.present.copy()
    values[_AGE], present[_AGE] = age_d, True
    groups = tuple(_banded(name, band) for name in row.groups)
    return FeatureRow(values, present, row.evidence, groups, row.pool)


def _banded(group: str, band: str) -> str:
    parts = group.split("/")
    if len(parts) == 3 and parts[1] != "*":
        parts[1] = band
    return "/".join(parts)


def table(found: Sequence[tuple[str, int, Side]]) -> Iterator[str]:
    """A line per strategy, seed and side, or the heads for none; recall in per cent, loss in points."""
    heads = ("first", "last", "lost", "first", "last", "lost", "worst", "honest", "refused", "failing")
    if not found:
        yield f"{'':<38}{'recall at watch':>21}{'recall at suspect':>28}"
        yield f"{'strategy, seed, side':<38}" + "".join(f"{head:>9}" for head in heads)
    for strategy, seed, side in found:
        watch, suspect = ([100 * recall[at] for recall in side.recalls] for at in (0, 1))
        parts = [watch[0], watch[-1], watch[0] - watch[-1], suspect[0], suspect[-1], suspect[0] - suspect[-1]]
        worst = max(watch[0] - min(watch), suspect[0] - min(suspect))
        cells = [*parts, worst, 100 * side.false[-1]]
        name = f"{strategy}, {seed}, {side.name}"
        yield f"{name:<38}" + "".join(f"{cell:>9.1f}" for cell in cells) + f"{side.refused:>9}{side.failing:>9}"


def main() -> int:
    """Prints the table; status 1 when the guards lose more than two points, or a failing model went live."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.boiling_frog", description="Thirty days of a taught detector."
    )
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), help="default: %(default)s")
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    args = parser.parse_args()
    try:
        rows = joined([labelled_rows(run) for run in worlds.runs(args.worlds)])
    except (NoBench, argparse.ArgumentTypeError) as error:
        print(f"boiling_frog: not measured, {error}", file=sys.stderr)
        return 1
    anchors = anchors_of()
    found = []
    print("\n".join(table(())))
    for name, strategy in STRATEGIES.items():
        for seed in args.seeds:
            sides = [(name, seed, side) for side in play(sources_of(rows, seed), strategy, args.days, seed, anchors)]
            print("\n".join(table(sides)), flush=True)
            found += sides
    guarded = [side for _, _, side in found if side.guards is not None]
    lost = max(
        (side.recalls[0][at] - min(recall[at] for recall in side.recalls) for side in guarded for at in (0, 1)), default=0.0
    )
    kept = lost <= BUDGET + 1e-9 and not any(side.failing for side in guarded)
    print(
        f"\n{'met' if kept else 'MISSED'}: with the guards at most {100 * lost:.1f} points are lost on any day (goal: ≤ 2)"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
