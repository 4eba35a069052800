"""Policy: what scores mean, as data. It is saved inside the model, and calibration can only make it more careful.

Rules come in two kinds. The signs of a *certain* one have no honest twin among the known strata: it raises SUSPECT by
itself. A *pattern* has one: by itself it is worth a look (WATCH), and it raises SUSPECT only where the peer-group
scorers, which know nothing of the rule, find the entity rare as well.
"""

from __future__ import annotations

import math

import msgspec

from detectors.contract import Use
from detectors.scorers import (
    boosted,
    forced_reasoning,
    foreign_reasoning,
    isolation,
    leak,
    logit_sweep,
    mixture,
    pooled,
    probe,
    reconstruction,
    rejection_sampling,
    tails,
    task_harvest,
)
from detectors.sketch.decay import HOUR_US


class RulePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one rule's score leads to. A threshold of None never leads there.

    Attributes:
        watch: score from which the level is at least WATCH.
        suspect: score from which it is at least SUSPECT.
        suspect_if_rare: the same, where the peer scorers find the entity rare (`Policy.rare`).
        confirmed: score from which it is CONFIRMED, given `Policy.confirmed_evidence`.
        weight: how far a score of 1 shrinks the remaining doubt, 0–1; see `verdict.combined`.
        excused_by: contracted uses under which the rule finds nothing but what was agreed.
    """

    watch: float | None = 0.5
    suspect: float | None = None
    suspect_if_rare: float | None = None
    confirmed: float | None = None
    weight: float = 0.9
    excused_by: tuple[str, ...] = ()


CERTAIN = RulePolicy(suspect=0.5, confirmed=0.95, weight=0.999)
PATTERN = RulePolicy(suspect_if_rare=0.5)

_EVALUATION: Use = "evaluation"
_SYNTHETIC: Use = "synthetic_data"

RULES: dict[str, RulePolicy] = {
    logit_sweep.NAME: CERTAIN,
    foreign_reasoning.NAME: CERTAIN,
    forced_reasoning.NAME: msgspec.structs.replace(CERTAIN, excused_by=(_SYNTHETIC,)),
    rejection_sampling.NAME: RulePolicy(
        suspect=0.75, suspect_if_rare=0.5, weight=0.99, excused_by=(_EVALUATION, _SYNTHETIC)
    ),
    task_harvest.NAME: msgspec.structs.replace(PATTERN, excused_by=(_SYNTHETIC,)),
    reconstruction.NAME: msgspec.structs.replace(PATTERN, excused_by=(_EVALUATION, _SYNTHETIC)),
    probe.NAME: msgspec.structs.replace(PATTERN, excused_by=(_EVALUATION,)),
}


class CalibratedPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a calibrated scorer's score leads to by itself. Its score is 1 − a p-value among honest peers, so a threshold is
    the share of honest organisations that ever get there.

    Attributes:
        watch: score from which the level is at least WATCH.
        suspect: score from which it is at least SUSPECT; None: never.
        least_evidence: answered exchanges below which it raises nothing.
    """

    watch: float = 0.99
    suspect: float | None = None
    least_evidence: int = 10


STRANGERS_EVIDENCE = 20
"""Answered exchanges below which nothing learned elsewhere is said about a key that can be compared with nobody."""

CALIBRATED: dict[str, CalibratedPolicy] = {
    boosted.NAME: CalibratedPolicy(watch=0.99, suspect=0.995, least_evidence=5),
    leak.NAME: CalibratedPolicy(),
    pooled.NAME: CalibratedPolicy(watch=0.998, least_evidence=20),
    mixture.NAME: CalibratedPolicy(),
}


ALARM = math.log(1000.0)
"""Evidence of the leak accountant, a natural logarithm, from which it raises its alarm: an entity whose valuable responses
are no more suspicious than not gets there once in a thousand of them at most, at the mean (`detectors.leak`)."""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What scores mean.

    Attributes:
        peer_scorers: scorers whose score is 1 − a conformal p-value.
        ranks_by: the calibrated scorer whose score entities are ranked by.
        calibrated: scorers that judge by themselves, by name.
        rules: by the rule's name.
        least_evidence: answered exchanges below which an entity is warming up.
        watch: peer score from which the level is at least WATCH. About one honest organisation in a hundred ever has it.
        rare: peer score that supports a pattern.
        suspect: peer score from which the level is SUSPECT without any rule; None: never. A score of 0.999 needs a thousand
            peers, and even then it is one honest organisation in a thousand per peer scorer.
        peers_evidence: answered exchanges below which peer scores raise nothing: a share of few is extreme by chance.
        confirmed_evidence: answered exchanges below which nothing is CONFIRMED.
        calm_us: how long a level must not have been called for before it falls by one.
        alarm: evidence from which the leak accountant raises its alarm; fitting only ever raises it.
    """

    peer_scorers: tuple[str, ...] = (tails.NAME, isolation.NAME)
    ranks_by: str = boosted.NAME
    calibrated: dict[str, CalibratedPolicy] = msgspec.field(default_factory=CALIBRATED.copy)
    rules: dict[str, RulePolicy] = msgspec.field(default_factory=RULES.copy)
    least_evidence: int = 5
    watch: float = 0.99
    rare: float = 0.9
    suspect: float | None = None
    peers_evidence: int = 20
    confirmed_evidence: int = 40
    calm_us: int = 24 * HOUR_US
    alarm: float = ALARM


def without_history() -> Policy:
    """The policy of a model that knows nobody here: what was learned elsewhere is worth a look and no more, and not before
    there are enough exchanges that a share of them is no chance."""
    learned = {
        name: msgspec.structs.replace(one, suspect=None, least_evidence=max(STRANGERS_EVIDENCE, one.least_evidence))
        for name, one in CALIBRATED.items()
    }
    return Policy(calibrated=learned)


def demoted(rule: RulePolicy, pattern_too: bool) -> RulePolicy:
    """The rule's policy where honest customers were found to fulfil it: certain becomes pattern, pattern becomes WATCH."""
    return msgspec.structs.replace(
        rule,
        suspect=None,
        confirmed=None,
        suspect_if_rare=None if pattern_too else (rule.suspect_if_rare or rule.suspect),
        weight=min(rule.weight, 0.5 if pattern_too else PATTERN.weight),
    )
