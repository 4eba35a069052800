"""The values that pass between the stages, and what every scorer must offer.

Scores are in [0, 1], higher is more suspicious. A score that could not be computed is a status, never a number: a new
account must not look "perfectly normal" because nothing is known about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FeatureMatrix:
    """Feature vectors of several entities, one row each, columns in the order of ``features.CATALOGUE``.

    Attributes:
        values: float64 of shape (n, d); 0.0 where absent, never NaN.
        present: bool of shape (n, d); false where the feature is undefined for this entity.
        evidence: int64 of shape (n,); decayed 7-day count of answered exchanges behind the row.
        groups: peer group of each row, most specific first, e.g. ("payg/new/chat", "payg/new", "all").
    """

    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    evidence: NDArray[np.int64]
    groups: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return int(self.values.shape[0])


class ScoreStatus(Enum):
    """Whether a score is a number, and if not, why."""

    SCORED = "scored"
    WARMING_UP = "warming_up"  # too little evidence about this entity
    NOT_APPLICABLE = "not_applicable"  # the scorer does not judge this kind of traffic, or has no model yet
    FAILED = "failed"


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
    """FeatureMatrix → one Score per row. Pure: the same rows give the same scores, in any batch and any order."""

    @property
    def name(self) -> str:
        """Stable identifier, as in the scorer's card."""
        ...

    @property
    def version(self) -> str:
        """Raised whenever the same input may give another score."""
        ...

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order; never raises for a row, which gets status FAILED instead."""
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
