"""A scorer over surprises: a statistic of each row's surprises, and how rare that is among the peers of the history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.calibrate import Conformal
from detectors.contract import FeatureMatrix, Reason, Score, ScoreStatus
from detectors.reference import Reference
from detectors.scorers.base import score_rows, top_reasons
from detectors.scorers.surprise import COLUMNS, surprises

LEAST_EVIDENCE = 5
"""Answered exchanges below which every share is absent and there is nothing to be surprised by."""

WORTH_TELLING = 0.8
"""Score from which reasons are given: below it a fifth of the peers is rarer."""

Statistic = Callable[[NDArray[np.float64]], list[float]]
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

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        found = surprises(self.reference, matrix)
        known = np.flatnonzero(~np.isnan(found[:, 0]))
        statistics = dict(zip(known.tolist(), self.statistic(found[known]), strict=True))

        def score_row(row: int) -> Score | None:
            groups = matrix.groups[row]
            value = self.conformal.score(statistics[row], groups) if row in statistics else None
            if value is None:
                return None
            reasons: tuple[Reason, ...] = ()
            if value >= WORTH_TELLING:
                shares = found[row] / max(sum(found[row].tolist()), 1e-9)
                reasons = top_reasons(shares, COLUMNS, matrix, row, self.reference)
            return Score(self.name, self.version, ScoreStatus.SCORED, value, reasons)

        return score_rows(matrix, self.name, self.version, LEAST_EVIDENCE, score_row)
