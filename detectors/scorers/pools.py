"""What the two scorers of pools share: a baseline of a history's pools, the calibration of both tests, and the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import calibrate
from detectors.calibrate import Conformal
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix, Reason, Score, ScoreColumn
from detectors.pooled import compare
from detectors.pooled.compare import Baseline
from detectors.scorers.base import Percentiles, column_of, reason, scores_of, statuses

LEAST_EVIDENCE = 5
"""Answered exchanges below which a row is WARMING_UP; a pool says nothing below `compare.LEAST_COUNT`."""

WORTH_TELLING = 0.9
FOLDS = 5

TESTS = ("means", "mixture")


@dataclass(frozen=True)
class Pools:
    """The fitted part of both scorers.

    Attributes:
        baseline: what pools of peers look like.
        calibrations: of the means test and of the mixture test.
    """

    baseline: Baseline
    calibrations: tuple[Conformal, Conformal]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays by name."""
        out = {f"baseline.{name}": array for name, array in self.baseline.arrays().items()}
        for test, conformal in zip(TESTS, self.calibrations, strict=True):
            out |= {f"{test}/{group}": highest for group, highest in conformal.peers.items()}
        return out

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Pools:
        """Inverse of `arrays`.

        Raises:
            ValueError: an array is missing, or they do not fit together.
        """
        baseline = Baseline.from_arrays(
            {name.removeprefix("baseline."): array for name, array in arrays.items() if name.startswith("baseline.")}
        )
        means, mixture = (
            Conformal(
                {name.partition("/")[2]: held for name, held in sorted(arrays.items()) if name.startswith(f"{test}/")}
            )
            for test in TESTS
        )
        return cls(baseline, (means, mixture))

    def statistics(self, matrix: FeatureMatrix, test: int) -> NDArray[np.float64]:
        """Of every row; NaN where its pool holds too little."""
        return _statistics(self.baseline, matrix, test)


def _statistics(baseline: Baseline, matrix: FeatureMatrix, test: int) -> NDArray[np.float64]:
    if not matrix.pool.size:
        return np.full(len(matrix), np.nan)
    places = baseline.places(matrix.groups)
    return (baseline.means_test, baseline.mixture_test)[test](matrix.pool, places)


def fit(matrix: FeatureMatrix, voters: Sequence[str], seed: int) -> Pools | None:
    """Fit on a history; None when too few customers in it have a pool.

    A customer's statistics are calibrated by what was fitted without it (Vovk 2015), whole customers at a time.

    Args:
        matrix: rows at the moments at which entities were scored.
        voters: the customer behind each row.
        seed: of the folds.
    """
    whole = compare.fit(matrix.pool, voters, matrix.groups)
    if whole is None:
        return None
    names = np.array(sorted(set(voters)))
    np.random.default_rng(seed).shuffle(names)
    fold_of = {str(name): at % FOLDS for at, name in enumerate(names)}
    folds = np.array([fold_of[voter] for voter in voters])
    found = np.full((len(TESTS), len(matrix)), np.nan)
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        part = matrix.take(outside)
        known = compare.fit(part.pool, [voters[at] for at in outside.tolist()], part.groups) or whole
        held = matrix.take(inside)
        for test in range(len(TESTS)):
            found[test, inside] = _statistics(known, held, test)
    calibrations = []
    for values in found:
        rows = np.flatnonzero(~np.isnan(values)).tolist()
        groups = [matrix.groups[row] for row in rows]
        calibrations.append(calibrate.fit(values[rows].tolist(), [voters[row] for row in rows], groups))
    return Pools(whole, (calibrations[0], calibrations[1]))


@dataclass(frozen=True)
class PoolScorer:
    """One of the two scorers.

    Attributes:
        test: index into TESTS.
        features: what a reason names, and the share of the score each is given.
        pools: None: no history, so it judges nobody.
        known: for the percentiles of reasons.
    """

    name: str
    version: str
    test: int
    features: tuple[tuple[str, float], ...]
    pools: Pools | None = None
    known: Percentiles | None = None
    worth_telling: float = WORTH_TELLING
    monotone_in: tuple[str, ...] = ()

    def columns(self, matrix: FeatureMatrix) -> ScoreColumn:
        """Every row's status and value."""
        status = statuses(matrix, LEAST_EVIDENCE)
        value = np.full(len(matrix), np.nan)
        if self.pools is not None:
            statistics = self.pools.statistics(matrix, self.test)
            rows = np.flatnonzero((status == 0) & np.isfinite(statistics))
            groups = matrix.groups if len(rows) == len(matrix) else [matrix.groups[row] for row in rows.tolist()]
            value[rows] = self.pools.calibrations[self.test].scores(statistics[rows], groups)
        return column_of(status, value)

    def reasons(self, matrix: FeatureMatrix, row: int) -> tuple[Reason, ...]:
        """What the catalogue has of the pool."""
        found = []
        for feature, weight in self.features:
            column = INDEX[feature]
            if matrix.present[row, column]:
                value = float(matrix.values[row, column])
                place = None if self.known is None else self.known.percentile(column, value, matrix.groups[row])
                # A mean may lie away from the peers' on either side.
                low = CATALOGUE[column].suspicious != "high" and place is not None and place < 50.0
                found.append(reason(column, value, place, "low" if low else "high", weight))
        return tuple(found)

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        return scores_of(self, matrix)
