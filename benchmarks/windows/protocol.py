"""Folds, windows and alarms: every method sees the same windows and is fitted on texts that none of them holds.

A pair's honest texts are dealt into three parts. Each is in turn where honest windows and the honest share of attacked
ones come from; the other two are the reference, and hold whatever a method needs for its fit and its null. Attacking texts
are in no reference, no background and no known harvest.

A third of two thousand texts holds six disjoint windows of 100 and one of 400. These are counted by themselves; further
windows of a part share texts, as they do in the paper, and their number says less than it seems to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.windows.methods import Fitting, Method
from benchmarks.windows.queries import Queries

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
LEVELS = (0.005, 0.05)
"""Of p-values that alarm: the one to compare at, and the published one."""

PARTS = 3
HONEST_WINDOWS, ATTACKED_WINDOWS = 20, 16
"""A part, and share: 60 and 48 a pair; the paper has 50 and 50."""

ROOM = 1.1
"""Texts of a part for each place in a window, at least; else honest windows would be copies of each other."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    parts: int = PARTS
    honest: int = HONEST_WINDOWS
    attacked: int = ATTACKED_WINDOWS
    null_windows: int = 500
    seed: int = 1


@dataclass(slots=True)
class Tally:
    """p-values of one method on one pair: of disjoint honest windows, of all honest ones, and by share of attacking
    texts."""

    disjoint: list[float] = field(default_factory=list)
    honest: list[float] = field(default_factory=list)
    attacked: dict[float, list[float]] = field(default_factory=lambda: {share: [] for share in SHARES})

    def power(self, share: float, level: float) -> float:
        """Share of such windows that alarm."""
        return float(np.mean(np.array(self.attacked[share]) <= level))


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of one part of the honest texts, and of the reference: the others."""

    reference: NDArray[np.intp]
    test: NDArray[np.intp]


def folds(count: int, parts: int, seed: int) -> Iterator[Fold]:
    """Up to `PARTS` folds of so many honest texts."""
    dealt = np.random.default_rng(seed).permutation(count)
    for number in range(parts):
        mine = np.arange(count) % PARTS == number
        yield Fold(dealt[~mine], dealt[mine])


def roomy(method: Method, honest: int, attack: int, size: int) -> bool:
    """Whether so many texts are enough for windows of a size, and for the method's reference."""
    test = honest // PARTS
    return test >= ROOM * size and attack >= size and honest - test - 1 >= max(method.room, ROOM) * size


def honest_windows(part: NDArray[np.intp], size: int, wanted: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Disjoint ones first, as many as the part holds, then windows that share texts; none holds a text twice."""
    order = rng.permutation(part)
    disjoint = len(part) // size
    for number in range(wanted):
        yield order[number * size : (number + 1) * size] if number < disjoint else rng.choice(part, size, replace=False)


def mixed_window(
    part: NDArray[np.intp], honest: int, attack: int, size: int, share: float, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Row numbers of a window in which attacking texts, numbered from `honest` on, have a share; in random order."""
    bad = round(size * share)
    rows = [rng.choice(part, size - bad, replace=False), honest + rng.choice(attack, bad, replace=False)]
    return rng.permutation(np.concatenate(rows))


def measure(
    honest: Queries,
    attack: Queries,
    background: NDArray[np.float32],
    harvest: NDArray[np.float32],
    size: int,
    methods: tuple[Method, ...],
    plan: Plan,
) -> dict[str, Tally]:
    """Tallies by method; those for which the pair holds too few texts are left out.

    Args:
        background: rows of unrelated honest traffic; harvest: of unrelated attacking sources, shape (m, WIDTH).
    """
    able = [method for method in methods if roomy(method, len(honest), len(attack), size)]
    tallies = {method.name: Tally() for method in able}
    if not able:
        return tallies
    both = honest.joined(attack)
    for number, fold in enumerate(folds(len(honest), plan.parts, plan.seed)):
        rng = np.random.default_rng([plan.seed, number, size])
        disjoint = len(fold.test) // size
        clean = [honest.take(rows) for rows in honest_windows(fold.test, size, max(plan.honest, disjoint), rng)]
        attacked = {
            share: [
                both.take(mixed_window(fold.test, len(honest), len(attack), size, share, rng)) for _ in range(plan.attacked)
            ]
            for share in SHARES
        }
        reference = honest.take(fold.reference)
        for method in able:
            test = method.fit(Fitting(reference, background, harvest, size, 1000 * plan.seed + number, plan.null_windows))
            tally = tallies[method.name]
            found = [test(window) for window in clean]
            tally.disjoint += found[:disjoint]
            tally.honest += found
            for share, windows in attacked.items():
                tally.attacked[share] += [test(window) for window in windows]
    return tallies


def interval(alarms: int, count: int) -> tuple[float, float]:
    """Exact 95 % interval of a rate (Clopper and Pearson, Biometrika 1934), of independent windows."""
    low = float(beta.ppf(0.025, alarms, count - alarms + 1)) if alarms else 0.0
    high = float(beta.ppf(0.975, alarms + 1, count - alarms)) if alarms < count else 1.0
    return low, high
