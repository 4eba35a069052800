"""Stored flags and statements → the JSON of the API. Pure."""

from __future__ import annotations

from app.admin.models_keys import level_name
from app.admin.models_reasons import (
    ComparedOut,
    FactOut,
    FlagDetail,
    FlagMeasureOut,
    FlagOut,
    FlagReasonOut,
    FlagScoreOut,
    PercentileOut,
    RescoredOut,
    StatementOut,
)
from app.admin.views import moment, rounded
from app.enforcement.reasons import Statement
from app.enforcement.rescore import Rescored
from app.state.flags import FlagRecord
from detectors.contract import ScoreStatus


def flag(record: FlagRecord) -> FlagOut:
    """One flag as it was stored."""
    measure = record.measure
    return FlagOut(
        ref=record.ref,
        key_id=record.key_id,
        at=moment(record.at_us),
        since=moment(record.since_us),
        was=record.was,
        level=record.level,
        score=rounded(record.score),
        evidence=record.evidence,
        leaked=record.leaked,
        authorised=record.authorised,
        measure=FlagMeasureOut(
            action=measure.action,
            factor=measure.factor,
            requests_per_min=measure.requests_per_min,
            ttl_sec=measure.ttl_sec,
            mode=measure.mode,
            policy_id=measure.policy_id,
        ),
        reasons=[
            FlagReasonOut(
                text=reason.text,
                feature=reason.feature,
                value=reason.value,
                peer_percentile=reason.percentile,
                direction=reason.direction,
                weight=rounded(reason.weight),
            )
            for reason in record.reasons
        ],
        scorers=[
            FlagScoreOut(
                scorer=score.scorer,
                version=score.version,
                status=score.status,
                score=rounded(score.value) if score.status == ScoreStatus.SCORED.value else None,
                thresholds=score.thresholds,
            )
            for score in record.scores
        ],
        features=record.features,
        peer_groups=list(record.groups),
        compared_with=record.peer_group,
        model_id=record.model_id,
        catalogue=record.catalogue,
    )


def flag_detail(record: FlagRecord, now: Rescored) -> FlagDetail:
    """One flag, side by side with what its values score now."""
    then = {reason.feature: reason.percentile for reason in record.reasons}
    return FlagDetail(
        **flag(record).model_dump(),
        now=RescoredOut(
            comparable=now.comparable,
            model_id=now.model_id,
            same_model=now.model_id == record.model_id,
            level=level_name(now.level),
            score=rounded(now.score),
            scorers=[
                ComparedOut(
                    scorer=one.scorer,
                    version_then=one.version_then,
                    score_then=_score(one.score_then),
                    version_now=one.version_now,
                    score_now=_score(one.score_now),
                )
                for one in now.scorers
            ],
            percentiles=[PercentileOut(feature=name, then=then.get(name), now=value) for name, value in now.percentiles],
            missing=list(now.missing),
        ),
    )


def statement(found: Statement) -> StatementOut:
    """A statement of reasons."""
    return StatementOut(
        ref=found.ref,
        audience=found.audience,
        decided=moment(found.decided_us),
        measure=found.measure,
        facts=list(found.facts),
        scope=found.scope,
        period=found.period,
        ground=found.ground,
        automated_detection=found.automated_detection,
        automated_decision=found.automated_decision,
        automation=found.automation,
        redress=list(found.redress),
        internal=[FactOut(name=fact.name, text=fact.text) for fact in found.internal],
    )


def _score(value: float | None) -> float | None:
    return None if value is None else rounded(value)
