"""Sum of surprises: how many harvest features lie far out on their suspicious side, among peers, at once.

Input: FeatureMatrix, catalogue 1; the features of `surprise.HARVEST`.
Output: Score in [0, 1], 1 − conformal p-value among the peers of the history. Abstains (warming_up) below 5 answered
    exchanges, and (not_applicable) where no peer group of the entity is known.
Raises: nothing. Cost: about 30 µs per row; 46 KB of quantiles per peer group, none per entity.
Source: ECOD (Li et al., TKDE 2022) with empirical tails. We differ: one tail per feature, the one on which harvesting lies,
    instead of the larger of both; tails within the peer group; one vote per organisation; calibration instead of a raw sum.
Blind to: a harvest that looks like a product on every axis (many turns, cover traffic, old accounts); what only many keys
    together show.
False alarms: aggregators, unregistered evaluation harnesses, the first users of a new kind of product.
Evasion: each feature can be moved at the cost stated in its catalogue entry; the sum needs most of them moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.calibrate import Conformal
from detectors.contract import FeatureMatrix, Score, ScoreStatus
from detectors.reference import Reference
from detectors.scorers.base import score_rows, top_reasons
from detectors.scorers.surprise import COLUMNS, surprise

NAME = "tails"
VERSION = "1"
LEAST_EVIDENCE = 5


def statistic(surprises: NDArray[np.float64]) -> float:
    """Sum over the features, in their order, of one row's surprises."""
    return float(sum(surprises.tolist()))


@dataclass(frozen=True)
class TailScorer:
    """The fitted scorer."""

    reference: Reference
    conformal: Conformal
    name: str = NAME
    version: str = VERSION

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        return score_rows(matrix, self.name, self.version, LEAST_EVIDENCE, lambda row: self._row(matrix, row))

    def _row(self, matrix: FeatureMatrix, row: int) -> Score | None:
        groups = matrix.groups[row]
        found = surprise(self.reference, matrix.values[row], matrix.present[row], groups)
        if found is None:
            return None
        total = statistic(found)
        value = self.conformal.score(total, groups)
        if value is None:
            return None
        reasons = top_reasons(found / max(total, 1e-9), COLUMNS, matrix, row, self.reference)
        return Score(self.name, self.version, ScoreStatus.SCORED, value, reasons)
