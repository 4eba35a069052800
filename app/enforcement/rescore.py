"""How what was stored about an old flag scores under the model of today, side by side: what a reviewer sees changed.

The stored explanation itself never changes. Feature values are those of the flag; only the scorers, their thresholds and
the peers are today's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.state.flags import FlagRecord
from detectors.catalogue import CATALOGUE, CATALOGUE_VERSION, INDEX
from detectors.contract import FeatureMatrix, Level, Score, ScoreStatus
from detectors.model import Model
from detectors.verdict import Moment, combined, level_called


@dataclass(frozen=True, slots=True)
class Compared:
    """One scorer then and now; None where it did not score, or is not part of that model."""

    scorer: str
    version_then: str
    score_then: float | None
    version_now: str
    score_now: float | None


@dataclass(frozen=True, slots=True)
class Rescored:
    """A flag under another model.

    Attributes:
        comparable: false when the catalogue changed its meanings since; then nothing is computed.
        model_id: of the model that scores now.
        score: combined score now.
        level: the level that the scores call for now, without the memory that holds a level for a day.
        scorers: then and now, in the order of the flag, new ones last.
        percentiles: feature of a stored reason → its place among today's peers; None without peers.
        missing: features of the flag that the catalogue has no more.
    """

    comparable: bool
    model_id: str
    score: float = 0.0
    level: Level = Level.CLEAR
    scorers: tuple[Compared, ...] = ()
    percentiles: tuple[tuple[str, float | None], ...] = ()
    missing: tuple[str, ...] = ()


def rescore(record: FlagRecord, model: Model) -> Rescored:
    """Scores the feature values of a flag with a model."""
    if record.catalogue != CATALOGUE_VERSION:
        return Rescored(False, model.id)
    values, present = np.zeros((1, len(CATALOGUE))), np.zeros((1, len(CATALOGUE)), np.bool_)
    for name, value in record.features.items():
        if name in INDEX:
            values[0, INDEX[name]], present[0, INDEX[name]] = value, True
    matrix = FeatureMatrix(values, present, np.array([record.evidence], np.int64), (record.groups,))
    scores = [scorer.score(matrix)[0] for scorer in model.scorers]
    moment = Moment(record.key_id, "key", record.at_us, 0, record.evidence)
    warm = record.evidence >= model.policy.least_evidence and any(score.status is ScoreStatus.SCORED for score in scores)
    called = level_called(model.policy, moment, scores)[0] if warm else Level.CLEAR
    return Rescored(
        comparable=True,
        model_id=model.id,
        score=combined(model.policy, moment, scores) if warm else 0.0,
        level=called,
        scorers=_side_by_side(record, scores),
        percentiles=tuple(
            (reason.feature, model.percentile(reason.feature, reason.value, record.groups))
            for reason in record.reasons
            if reason.feature in INDEX
        ),
        missing=tuple(sorted(name for name in record.features if name not in INDEX)),
    )


def _side_by_side(record: FlagRecord, scores: list[Score]) -> tuple[Compared, ...]:
    scored = ScoreStatus.SCORED.value
    then = {score.scorer: (score.version, score.value if score.status == scored else None) for score in record.scores}
    now = {score.scorer: (score.version, score.value if score.status is ScoreStatus.SCORED else None) for score in scores}
    return tuple(
        Compared(name, *then.get(name, ("", None)), *now.get(name, ("", None))) for name in dict.fromkeys((*then, *now))
    )
