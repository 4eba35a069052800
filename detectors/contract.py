"""The values that pass between the stages, and what every scorer must offer.

Scores are in [0, 1], higher is more suspicious. A score that could not be computed is a status, never a number: a new
account must not look "perfectly normal" because nothing is known about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray


def _no_pool() -> NDArray[np.float32]:
    return np.zeros((0, 0, 0), np.float32)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class FeatureMatrix:
    """Feature vectors of several entities, one row each, columns in the order of ``features.CATALOGUE``.

    Attributes:
        values: float64 of shape (n, d); 0.0 where absent, never NaN.
        present: bool of shape (n, d); false where the feature is undefined for this entity.
        evidence: int64 of shape (n,); decayed 7-day count of answered exchanges behind the row.
        groups: peer group of each row, most specific first, e.g. ("payg/new/chat", "payg/new", "all").
        pool: float32 of shape (n, scales, 1 + width): at every scale of `sketch.pool` how many exchanges its means are
            worth, and the means: random Fourier features, then shares of the bins of the harvest ratio; of shape (0, 0, 0)
            where the rows were made without.
    """

    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    evidence: NDArray[np.int64]
    groups: tuple[tuple[str, ...], ...]
    pool: NDArray[np.float32] = field(default_factory=_no_pool)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> FeatureMatrix:
        """These rows, in this order."""
        at = np.asarray(rows, np.intp)
        pool = self.pool[at] if len(self.pool) else self.pool
        groups = tuple(self.groups[row] for row in at.tolist())
        return FeatureMatrix(self.values[at], self.present[at], self.evidence[at], groups, pool)


class ScoreStatus(Enum):
    """Whether a score is a number, and if not, why."""

    SCORED = "scored"
    WARMING_UP = "warming_up"  # too little evidence about this entity
    NOT_APPLICABLE = "not_applicable"  # the scorer does not judge this kind of traffic, or has no model yet
    FAILED = "failed"


STATUSES: tuple[ScoreStatus, ...] = tuple(ScoreStatus)
"""Statuses by the code that a `ScoreColumn` has for them; 0 is SCORED."""

STATUS_CODE = {status: code for code, status in enumerate(STATUSES)}


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """One scorer's opinion about every row of a matrix.

    Attributes:
        status: int8 of shape (n,); index into `STATUSES`.
        value: float64 of shape (n,); 0.0 where the status is not SCORED.
    """

    status: NDArray[np.int8]
    value: NDArray[np.float64]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Rows whose value is a number that means something."""
        found: NDArray[np.bool_] = self.status == 0
        return found


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a scorer said what it said, as data; `text` is a sentence for an analyst and holds no client text.

    Attributes:
        feature: name in the catalogue.
        value: the entity's value, in the feature's unit.
        percentile: share of the peer group with a lower value, 0–100; None when no peers are known.
        direction: "high" or "low", the suspicious side.
        weight: share of the score this feature explains, 0–1.
    """

    feature: str
    value: float
    percentile: float | None
    direction: str
    weight: float
    text: str


@dataclass(frozen=True, slots=True)
class Score:
    """One scorer's opinion about one entity at one moment."""

    scorer: str
    version: str
    status: ScoreStatus
    value: float = 0.0  # meaningful only when status is SCORED
    reasons: tuple[Reason, ...] = ()


class Scorer(Protocol):
    """FeatureMatrix → one score per row. Pure: the same rows give the same bits, in any batch and any order.

    `columns` judges, over whole columns and without a word; `reasons` explains one row that is worth telling about; `score`
    is both, for the few rows of a live batch, and is built by `scorers.base.scores_of`.
    """

    @property
    def name(self) -> str:
        """Stable identifier, as in the scorer's card."""
        ...

    @property
    def version(self) -> str:
        """Raised whenever the same input may give another score."""
        ...

    @property
    def worth_telling(self) -> float:
        """Value from which a score is given with its reasons."""
        ...

    def columns(self, matrix: FeatureMatrix) -> ScoreColumn:
        """Every row's status and value; never raises for a row, which gets status FAILED instead."""
        ...

    def reasons(self, matrix: FeatureMatrix, row: int) -> tuple[Reason, ...]:
        """Why a row that was scored has its value."""
        ...

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        ...


Use = Literal["evaluation", "synthetic_data"]
"""A use that a contract may allow: running evaluations against the model; making data with it, training data too.

A closed vocabulary: a use excuses what some rule's `excused_by` says, so a word that no rule knows would excuse nothing,
and look as if it did."""

USES: tuple[Use, ...] = get_args(Use)


class Level(IntEnum):
    """How far suspicion has gone. Order matters: a higher level is more suspicious."""

    CLEAR = 0
    WATCH = 1
    SUSPECT = 2
    CONFIRMED = 3


class Status(Enum):
    """Whether there is enough evidence for a verdict at all."""

    WARMING_UP = "warming_up"
    JUDGED = "judged"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The service's opinion about one entity.

    Attributes:
        score: combined score in [0, 1]; 0.0 while warming up.
        level: after hysteresis.
        since_us: when the present level began.
        flagged_us: when the entity first reached SUSPECT; None if never.
        at_us: event time of the exchange that led to this verdict.
        leaked: unique valuable responses taken since the first one that was more than CLEAR.
        authorised: the entity's contract allows this use, so no action follows whatever the level.
        leaking: the leak accountant's alarm stands (`Policy.alarm`): what the entity takes has looked like a harvest for so
            long that it is slowed down before anybody is certain. Never where a use is contracted.
    """

    entity_id: str
    entity_kind: str  # key, org
    status: Status
    score: float
    level: Level
    at_us: int
    since_us: int
    flagged_us: int | None
    reasons: tuple[Reason, ...]
    scores: tuple[Score, ...]
    leaked: int
    evidence: int
    authorised: bool
    model_id: str  # digest of the model and policy that judged
    leaking: bool = False
