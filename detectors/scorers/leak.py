"""The leak accountant among peers: has an entity won more evidence of harvesting than comparable honest ones ever did?

Input: FeatureMatrix, catalogue 2; `leak_evidence`, the highest logarithm of the wealth that `detectors.leak` ever won.
Output: Score in [0, 1], 1 − conformal p-value of that among the peers of the history, guarded in small groups. Abstains
    (warming_up) below 5 answered exchanges, and (not_applicable) without five different valuable responses or a history.
Raises: nothing. Cost: under 1 µs per row; one number per organisation of the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors import guarded
from detectors.calibrate import Conformal
from detectors.catalogue import INDEX
from detectors.contract import FeatureMatrix, Reason, Score, ScoreColumn
from detectors.scorers.base import Percentiles, column_of, reason, scores_of, statuses

NAME = "leak"
VERSION = "1"
LEAST_EVIDENCE = 5
WORTH_TELLING = 0.9
"""Score from which a reason is given."""

FEATURE = "leak_evidence"


@dataclass(frozen=True)
class LeakScorer:
    """The scorer.

    Attributes:
        conformal: highest evidence of the peers of a history; None: it judges nobody.
        known: for the percentile of the reason.
    """

    conformal: Conformal | None = None
    known: Percentiles | None = None
    name: str = NAME
    version: str = VERSION
    worth_telling: float = WORTH_TELLING

    @property
    def monotone_in(self) -> tuple[str, ...]:
        """Features that never lower the score by moving to their suspicious side."""
        return (FEATURE,)

    def columns(self, matrix: FeatureMatrix) -> ScoreColumn:
        """Every row's status and value."""
        column = INDEX[FEATURE]
        value = np.full(len(matrix), np.nan)
        if self.conformal is not None:
            rows = np.flatnonzero(matrix.present[:, column])
            groups = [matrix.groups[row] for row in rows.tolist()]
            value[rows] = guarded.scores(self.conformal, matrix.values[rows, column], groups)
        return column_of(statuses(matrix, LEAST_EVIDENCE), value)

    def reasons(self, matrix: FeatureMatrix, row: int) -> tuple[Reason, ...]:
        """The evidence itself."""
        column = INDEX[FEATURE]
        value = float(matrix.values[row, column])
        place = None if self.known is None else self.known.percentile(column, value, matrix.groups[row])
        return (reason(column, value, place, "high", 1.0),)

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        return scores_of(self, matrix)
