"""Isolation forest over surprises: combinations of suspicious features that no peer shows, even when none is extreme alone.

Input: FeatureMatrix, catalogue 1; the features of `surprise.HARVEST`.
Output: Score in [0, 1], 1 − conformal p-value among the peers of the history. Abstains (warming_up) below 5 answered
    exchanges, and (not_applicable) where no peer group of the entity is known.
Raises: nothing. Cost: about 150 µs per row; some 500 KB of trees, none per entity.
Source: Isolation Forest (Liu, Ting, Zhou 2008; scikit-learn). We differ: the input is one-sided surprise within the peer
    group, so that being odd on the harmless side isolates nothing; calibration instead of a contamination parameter.
Blind to: what resembles a rare but honest workload of the history; a campaign that looks ordinary key by key.
False alarms: aggregators, retrieval back-fills, agents with unusual tools.
Evasion: stay within the range of peers on most features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detectors.calibrate import Conformal
from detectors.contract import FeatureMatrix, Score, ScoreStatus
from detectors.reference import Reference
from detectors.scorers.base import score_rows, top_reasons
from detectors.scorers.forest import Forest
from detectors.scorers.surprise import COLUMNS, surprise

NAME = "isolation"
VERSION = "1"
LEAST_EVIDENCE = 5


@dataclass(frozen=True)
class IsolationScorer:
    """The fitted scorer. A reason's weight is the feature's share of the surprise: a forest has no exact one of its own."""

    reference: Reference
    forest: Forest
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
        value = self.conformal.score(self.forest.isolation(found), groups)
        if value is None:
            return None
        reasons = top_reasons(found / max(float(found.sum()), 1e-9), COLUMNS, matrix, row, self.reference)
        return Score(self.name, self.version, ScoreStatus.SCORED, value, reasons)
