"""Scores → Verdict: levels by a policy that is data, hysteresis in event time, reasons, and what has leaked.

A level rises at once and falls one step at a time, after the evidence for it has been gone for as long as the policy asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from detectors.contract import Level, Reason, Score, Status, Verdict
from detectors.sketch.decay import HOUR_US

MAX_REASONS = 5


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a score means. Kept inside the model, so that a verdict's `model_id` names it too.

    Attributes:
        calm_us: how long a level must not have been called for before it falls by one.
    """

    calm_us: int = 24 * HOUR_US


class Standing(msgspec.Struct, array_like=True):
    """What an entity's next verdict must know of its earlier ones.

    Attributes:
        level: present level.
        since_us: when it began; 0 before the first verdict.
        called_us: when the evidence last called for the present level or a higher one.
        flagged_us: when SUSPECT was first reached; None if never.
        leak_base: valuable responses taken before the first verdict above CLEAR; None while there was none.
    """

    level: int = 0
    since_us: int = 0
    called_us: int = 0
    flagged_us: int | None = None
    leak_base: int | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """The facts of a scoring moment that do not come from a scorer.

    Attributes:
        at_us: newest event time of the entity; never goes back from one moment to the next.
        valuable: unique valuable responses ever taken.
        evidence: answered exchanges, decayed.
    """

    entity_id: str
    entity_kind: str
    at_us: int
    valuable: int
    evidence: int
    authorised: bool


def judge(policy: Policy, model_id: str, standing: Standing, moment: Moment, scores: Sequence[Score]) -> Verdict:
    """The verdict at a moment; moves `standing` on."""
    called = Level.CLEAR
    _move(policy, standing, moment, called)
    return Verdict(
        entity_id=moment.entity_id,
        entity_kind=moment.entity_kind,
        status=Status.WARMING_UP,
        score=0.0,
        level=Level(standing.level),
        at_us=moment.at_us,
        since_us=standing.since_us,
        flagged_us=standing.flagged_us,
        reasons=_reasons(scores),
        scores=tuple(scores),
        leaked=0 if standing.leak_base is None else max(0, moment.valuable - standing.leak_base),
        evidence=moment.evidence,
        authorised=moment.authorised,
        model_id=model_id,
    )


def _move(policy: Policy, standing: Standing, moment: Moment, called: Level) -> None:
    if not standing.since_us:
        standing.since_us = standing.called_us = moment.at_us
    if called >= standing.level:
        standing.called_us = moment.at_us
    if called > standing.level:
        standing.level, standing.since_us = int(called), moment.at_us
    elif called < standing.level and moment.at_us - standing.called_us >= policy.calm_us:
        standing.level, standing.since_us, standing.called_us = standing.level - 1, moment.at_us, moment.at_us
    if standing.level > Level.CLEAR and standing.leak_base is None:
        standing.leak_base = moment.valuable
    if standing.level >= Level.SUSPECT and standing.flagged_us is None:
        standing.flagged_us = moment.at_us


def _reasons(scores: Sequence[Score]) -> tuple[Reason, ...]:
    found = [reason for score in scores for reason in score.reasons]
    return tuple(sorted(found, key=lambda reason: (-reason.weight, reason.feature))[:MAX_REASONS])
