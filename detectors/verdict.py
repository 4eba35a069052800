"""Scores → Verdict: levels by a policy that is data, hysteresis in event time, reasons, and what has leaked.

A level rises at once and falls one step at a time, after the evidence for it has been gone for as long as the policy
asks. More evidence never lowers a level: the level called for rises with every score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from detectors.catalogue import INDEX
from detectors.contract import Level, Reason, Score, ScoreStatus, Status, Verdict
from detectors.policy import CalibratedPolicy, Policy, RulePolicy
from detectors.scorers.base import reason as reason_of
from detectors.scorers.leak import FEATURE as LEAK

MAX_REASONS = 5
CLEAR_REASONS = 2
"""Reasons kept of an entity that is clear: enough to see what moves it, and most entities are clear."""


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
        authorised: uses the entity's contract allows.
        leak: evidence of the leak accountant at this moment, see `detectors.leak`; 0 where nobody may go by it.
    """

    entity_id: str
    entity_kind: str
    at_us: int
    valuable: int
    evidence: int
    authorised: tuple[str, ...] = ()
    leak: float = 0.0


def judge(
    policy: Policy,
    model_id: str,
    standing: Standing,
    moment: Moment,
    scores: Sequence[Score],
    held: tuple[Reason, ...] = (),
) -> Verdict:
    """The verdict at a moment; moves `standing` on.

    Args:
        policy: what scores mean.
        model_id: of the model the policy belongs to.
        standing: the entity's memory, changed in place.
        moment: facts about the entity.
        scores: of every scorer of the model.
        held: reasons of the verdict before, which explain a level that is still held though nothing calls for it now.
    """
    warm = moment.evidence >= policy.least_evidence and any(score.status is ScoreStatus.SCORED for score in scores)
    called, excused = level_called(policy, moment, scores) if warm else (Level.CLEAR, True)
    leaking = is_leaking(policy, moment) and warm
    _move(policy, standing, moment, called)
    level = Level(standing.level)
    reasons = held if called < level and held else _reasons(policy, scores, MAX_REASONS if level else CLEAR_REASONS)
    if leaking:
        reasons = _with_leak(reasons, scores, moment.leak)
    return Verdict(
        entity_id=moment.entity_id,
        entity_kind=moment.entity_kind,
        status=Status.JUDGED if warm else Status.WARMING_UP,
        score=combined(policy, moment, scores) if warm else 0.0,
        level=level,
        at_us=moment.at_us,
        since_us=standing.since_us,
        flagged_us=standing.flagged_us,
        reasons=reasons,
        # Reasons stand once, in order of weight; each score keeps its number.
        scores=tuple(replace(score, reasons=()) if score.reasons else score for score in scores),
        leaked=0 if standing.leak_base is None else max(0, moment.valuable - standing.leak_base),
        evidence=moment.evidence,
        authorised=bool(moment.authorised) and excused,
        model_id=model_id,
        leaking=leaking,
    )


def level_called(policy: Policy, moment: Moment, scores: Sequence[Score]) -> tuple[Level, bool]:
    """Level that the scores call for, and whether the entity's contract covers everything that calls for one."""
    rare = _peer_score(policy, scores) if moment.evidence >= policy.peers_evidence else 0.0
    called = Level.WATCH if rare >= policy.watch else Level.CLEAR
    if policy.suspect is not None and rare >= policy.suspect and not moment.authorised:
        called = Level.SUSPECT
    excused = True
    for score in scores:
        calibrated = policy.calibrated.get(score.scorer)
        if calibrated is not None and score.status is ScoreStatus.SCORED and moment.evidence >= calibrated.least_evidence:
            found = _calibrated_level(calibrated, score.value)
            called = max(called, min(found, Level.WATCH) if moment.authorised else found)
        rule = policy.rules.get(score.scorer)
        if rule is None or score.status is not ScoreStatus.SCORED:
            continue
        found = _rule_level(policy, rule, score.value, rare, moment.evidence)
        if _is_excused(rule, moment):
            found = min(found, Level.WATCH)
        elif found > Level.CLEAR:
            excused = False
        called = max(called, found)
    if is_leaking(policy, moment):
        called = max(called, Level.WATCH)
    return called, excused


def is_leaking(policy: Policy, moment: Moment) -> bool:
    """Whether the leak accountant's alarm stands: never for a contracted use."""
    return moment.leak >= policy.alarm and not moment.authorised


def combined(policy: Policy, moment: Moment, scores: Sequence[Score]) -> float:
    """One score in [0, 1] that ranks entities: the p-value of what was learned, shrunk by every rule in proportion to its
    score.

    Where the learned scorer says nothing it is the peer scorers' p-value, and without any of them 1: then the rules alone
    speak.
    """
    learned = [score.value for score in scores if score.scorer == policy.ranks_by and score.status is ScoreStatus.SCORED]
    doubt = 1.0 - (learned[0] if learned else _peer_score(policy, scores))
    for score in scores:
        rule = policy.rules.get(score.scorer)
        if rule is not None and score.status is ScoreStatus.SCORED and not _is_excused(rule, moment):
            doubt *= 1.0 - rule.weight * score.value
    return 1.0 - doubt


def _peer_score(policy: Policy, scores: Sequence[Score]) -> float:
    found = [score.value for score in scores if score.scorer in policy.peer_scorers and score.status is ScoreStatus.SCORED]
    return max(found, default=0.0)


def _calibrated_level(policy: CalibratedPolicy, value: float) -> Level:
    if policy.suspect is not None and value >= policy.suspect:
        return Level.SUSPECT
    return Level.WATCH if value >= policy.watch else Level.CLEAR


def _rule_level(policy: Policy, rule: RulePolicy, value: float, rare: float, evidence: int) -> Level:
    if rule.confirmed is not None and value >= rule.confirmed and evidence >= policy.confirmed_evidence:
        return Level.CONFIRMED
    if rule.suspect is not None and value >= rule.suspect:
        return Level.SUSPECT
    if rule.suspect_if_rare is not None and value >= rule.suspect_if_rare and rare >= policy.rare:
        return Level.SUSPECT
    return Level.WATCH if rule.watch is not None and value >= rule.watch else Level.CLEAR


def _is_excused(rule: RulePolicy, moment: Moment) -> bool:
    return any(use in rule.excused_by for use in moment.authorised)


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


def _with_leak(reasons: tuple[Reason, ...], scores: Sequence[Score], leak: float) -> tuple[Reason, ...]:
    """The reasons, the accountant's among them: what is done about a key may rest on that one alone."""
    if any(reason.feature == LEAK for reason in reasons):
        return reasons
    given = (reason for score in scores for reason in score.reasons if reason.feature == LEAK)
    return (*reasons[: MAX_REASONS - 1], next(given, None) or reason_of(INDEX[LEAK], leak, None, "high", 1.0))


def _reasons(policy: Policy, scores: Sequence[Score], most: int) -> tuple[Reason, ...]:
    """Of the rules that found something, strongest first, then of the peer scorers; each feature once."""
    scored = [score for score in scores if score.status is ScoreStatus.SCORED and score.reasons]
    # A rule's half is its threshold; a peer score is a rank and says nothing below the top.
    scored.sort(key=lambda score: (score.scorer in policy.peer_scorers, -score.value, score.scorer))
    kept: dict[str, Reason] = {}
    for score in scored:
        for reason in sorted(score.reasons, key=lambda reason: (-reason.weight, reason.feature)):
            kept.setdefault(reason.feature, reason)
    return tuple(kept.values())[:most]
