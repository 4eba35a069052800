"""A verdict as bytes, for the state it is kept in.

Short, because every key has one: what the profile beside it knows is left out, and so is a reason's sentence where the
sentence is the one that its numbers make.
"""

from __future__ import annotations

import msgspec

from detectors.contract import Level, Reason, Score, ScoreStatus, Status, Verdict
from detectors.scorers.base import sentence

_STATUSES = tuple(ScoreStatus)

_StoredReason = tuple[str, float, float | None, bool, float, str]
_StoredScore = tuple[str, str, int, float]


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    judged: bool
    score: float
    level: int
    at_us: int
    since_us: int
    flagged_us: int | None
    reasons: tuple[_StoredReason, ...]
    scores: tuple[_StoredScore, ...]
    leaked: int
    evidence: int
    authorised: bool
    model_id: str
    leaking: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


def encode(verdict: Verdict) -> bytes:
    """The verdict without its entity's name. The reasons of single scores are not kept: a verdict has them once."""
    return _encoder.encode(
        _Stored(
            judged=verdict.status is Status.JUDGED,
            score=verdict.score,
            level=int(verdict.level),
            at_us=verdict.at_us,
            since_us=verdict.since_us,
            flagged_us=verdict.flagged_us,
            reasons=tuple(_pack(reason) for reason in verdict.reasons),
            scores=tuple((s.scorer, s.version, _STATUSES.index(s.status), s.value) for s in verdict.scores),
            leaked=verdict.leaked,
            evidence=verdict.evidence,
            authorised=verdict.authorised,
            model_id=verdict.model_id,
            leaking=verdict.leaking,
        )
    )


def decode(data: bytes, entity_id: str, entity_kind: str) -> Verdict:
    """Inverse of `encode`.

    Raises:
        msgspec.DecodeError, ValueError, KeyError, IndexError: the bytes are no verdict of this release.
    """
    found = _decoder.decode(data)
    return Verdict(
        entity_id=entity_id,
        entity_kind=entity_kind,
        status=Status.JUDGED if found.judged else Status.WARMING_UP,
        score=found.score,
        level=Level(found.level),
        at_us=found.at_us,
        since_us=found.since_us,
        flagged_us=found.flagged_us,
        reasons=tuple(_unpack(reason) for reason in found.reasons),
        scores=tuple(Score(scorer, version, _STATUSES[status], value) for scorer, version, status, value in found.scores),
        leaked=found.leaked,
        evidence=found.evidence,
        authorised=found.authorised,
        model_id=found.model_id,
        leaking=found.leaking,
    )


def _pack(reason: Reason) -> _StoredReason:
    made = sentence(reason.feature, reason.value, reason.percentile, reason.direction)
    text = "" if made == reason.text else reason.text
    return reason.feature, reason.value, reason.percentile, reason.direction == "high", reason.weight, text


def _unpack(stored: _StoredReason) -> Reason:
    feature, value, percentile, high, weight, text = stored
    direction = "high" if high else "low"
    return Reason(feature, value, percentile, direction, weight, text or sentence(feature, value, percentile, direction))
