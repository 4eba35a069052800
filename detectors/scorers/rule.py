"""Named rules: a conjunction of conditions on features, each met by degrees.

A condition's support grows from 0 at `start` to 1 at `full`; a clause is the best of its conditions, and a rule's score
is its weakest clause. So a score of 1 means that everything is fully met, one of 0.5 that the weakest sign is half way,
and nothing makes up for a sign that is missing.

Shares are judged by their lower confidence bound (Wilson 1927, one-sided 90 %) where the condition says so: five of five is
less than fifty of fifty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix, Reason, Score, ScoreColumn
from detectors.scorers.base import Percentiles, column_of, reason, scores_of, statuses

_Z = 1.2816
"""90 % quantile of the normal distribution."""

WORTH_TELLING = 0.25
"""Score from which reasons are given."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One sign.

    Attributes:
        feature: name in the catalogue.
        start: value up to which there is no support.
        full: value from which support is full; below `start` when low values are the sign.
        bound: judge a share by its lower confidence bound, given the evidence of the row.
        absent: support when the feature is undefined.
    """

    feature: str
    start: float
    full: float
    bound: bool = False
    absent: float = 0.0

    @property
    def direction(self) -> str:
        """Side on which the sign lies."""
        return "high" if self.full > self.start else "low"

    def support(self, values: NDArray[np.float64], evidence: NDArray[np.int64]) -> NDArray[np.float64]:
        """0 … 1 for every value, given the evidence of its row."""
        if self.bound:
            values = lower_bound(values, evidence)
        return np.clip((values - self.start) / (self.full - self.start), 0.0, 1.0)

    def of(self, matrix: FeatureMatrix) -> NDArray[np.float64]:
        """Support of every row."""
        column = INDEX[self.feature]
        return np.where(matrix.present[:, column], self.support(matrix.values[:, column], matrix.evidence), self.absent)


Clause = tuple[Condition, ...]


def lower_bound(shares: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """One-sided 90 % Wilson bound of shares observed in so many exchanges each; 0 for none."""
    known = np.maximum(counts, 1).astype(np.float64)
    square = _Z * _Z / known
    spread = _Z * np.sqrt(np.maximum(0.0, shares * (1.0 - shares)) / known + square / (4.0 * known))
    return np.where(counts > 0, (shares + square / 2.0 - spread) / (1.0 + square), 0.0)


@dataclass(frozen=True)
class NamedRule:
    """A rule as a scorer.

    Attributes:
        clauses: all of them must hold; within one the best condition counts.
        least_evidence: answered exchanges below which a row is WARMING_UP.
        peers: for the percentiles of the reasons; None without a history.
    """

    name: str
    version: str
    clauses: tuple[Clause, ...]
    least_evidence: int
    peers: Percentiles | None = None
    worth_telling: float = WORTH_TELLING

    @property
    def monotone_in(self) -> tuple[str, ...]:
        """Features whose suspicious side is the side of the sign."""
        signs = {condition.feature: condition.direction for clause in self.clauses for condition in clause}
        return tuple(name for name, side in signs.items() if CATALOGUE[INDEX[name]].suspicious == side)

    def columns(self, matrix: FeatureMatrix) -> ScoreColumn:
        """Every row's status and value."""
        weakest = np.ones(len(matrix))
        with np.errstate(all="ignore"):  # what is not finite has failed, whatever comes out here
            for clause in self.clauses:
                best = clause[0].of(matrix)
                for condition in clause[1:]:
                    best = np.maximum(best, condition.of(matrix))
                weakest = np.minimum(weakest, best)
        return column_of(statuses(matrix, self.least_evidence), weakest)

    def reasons(self, matrix: FeatureMatrix, row: int) -> tuple[Reason, ...]:
        """The condition that decided each clause, where its feature is known."""
        alone = matrix.take([row])
        decided = []
        for clause in self.clauses:
            which = max(clause, key=lambda condition: float(condition.of(alone)[0]))
            if matrix.present[row, INDEX[which.feature]]:
                decided.append(which)
        found = []
        for condition in decided:
            column = INDEX[condition.feature]
            value = float(matrix.values[row, column])
            place = self.peers.percentile(column, value, matrix.groups[row]) if self.peers is not None else None
            found.append(reason(column, value, place, condition.direction, 1.0 / len(decided)))
        return tuple(found)

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        return scores_of(self, matrix)
