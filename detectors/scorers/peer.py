"""A scorer over surprises: a statistic of each row's surprises, and how rare that is among the peers of the history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.calibrate import Conformal
from detectors.contract import FeatureMatrix, Reason, Score, ScoreColumn
from detectors.reference import Reference
from detectors.scorers.base import column_of, scores_of, statuses, top_reasons
from detectors.scorers.surprise import COLUMNS, surprises

LEAST_EVIDENCE = 5
"""Answered exchanges below which every share is absent and there is nothing to be surprised by."""

WORTH_TELLING = 0.8
"""Score from which reasons are given: below it a fifth of the peers is rarer."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Surprises, shape (n, len(HARVEST)) → one number per row, higher is more suspicious; the same bits for a row in any
batch."""


@dataclass(frozen=True)
class PeerScorer:
    """The fitted scorer. A reason's weight is the feature's share of the row's surprise.

    Attributes:
        monotone_in: features that never lower the score by moving to their suspicious side.
    """

    name: str
    version: str
    reference: Reference
    conformal: Conformal
    statistic: Statistic
    monotone_in: tuple[str, ...] = ()
    worth_telling: float = WORTH_TELLING

    def columns(self, matrix: FeatureMatrix) -> ScoreColumn:
        """Every row's status and value."""
        status = statuses(matrix, LEAST_EVIDENCE)
        found = surprises(self.reference, matrix)
        known = (status == 0) & ~np.isnan(found[:, 0])
        statistics = np.zeros(len(matrix))
        statistics[known] = self.statistic(found[known])
        value = self.conformal.scores(statistics, matrix.groups)
        return column_of(status, np.where(known, value, np.nan))

    def reasons(self, matrix: FeatureMatrix, row: int) -> tuple[Reason, ...]:
        """The features that surprise most."""
        found = surprises(self.reference, matrix.take([row]))[0]
        return top_reasons(found / max(sum(found.tolist()), 1e-9), COLUMNS, matrix, row, self.reference)

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        return scores_of(self, matrix)
