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
from math import sqrt

from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix, Score, ScoreStatus
from detectors.scorers.base import Percentiles, reason, score_rows

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

    def support(self, value: float, evidence: int) -> float:
        """0 … 1."""
        if self.bound:
            value = lower_bound(value, evidence)
        return min(1.0, max(0.0, (value - self.start) / (self.full - self.start)))


Clause = tuple[Condition, ...]


def lower_bound(share: float, count: int) -> float:
    """One-sided 90 % Wilson bound of a share observed in `count` exchanges."""
    if count <= 0:
        return 0.0
    square = _Z * _Z / count
    spread = _Z * sqrt(max(0.0, share * (1.0 - share)) / count + square / (4.0 * count))
    return (share + square / 2.0 - spread) / (1.0 + square)


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

    @property
    def monotone_in(self) -> tuple[str, ...]:
        """Features whose suspicious side is the side of the sign."""
        signs = {condition.feature: condition.direction for clause in self.clauses for condition in clause}
        return tuple(name for name, side in signs.items() if CATALOGUE[INDEX[name]].suspicious == side)

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        return score_rows(matrix, self.name, self.version, self.least_evidence, lambda row: self._row(matrix, row))

    def _row(self, matrix: FeatureMatrix, row: int) -> Score:
        evidence = int(matrix.evidence[row])
        weakest = 1.0
        decided: list[Condition] = []
        for clause in self.clauses:
            best, which = -1.0, clause[0]
            for condition in clause:
                column = INDEX[condition.feature]
                here = matrix.present[row, column]
                support = condition.support(float(matrix.values[row, column]), evidence) if here else condition.absent
                if support > best:
                    best, which = support, condition
            if best <= 0.0:
                return Score(self.name, self.version, ScoreStatus.SCORED)
            weakest = min(weakest, best)
            if matrix.present[row, INDEX[which.feature]]:
                decided.append(which)
        reasons = []
        if weakest >= WORTH_TELLING:
            for condition in decided:
                column = INDEX[condition.feature]
                value = float(matrix.values[row, column])
                place = self.peers.percentile(column, value, matrix.groups[row]) if self.peers is not None else None
                reasons.append(reason(column, value, place, condition.direction, 1.0 / len(decided)))
        return Score(self.name, self.version, ScoreStatus.SCORED, weakest, tuple(reasons))
