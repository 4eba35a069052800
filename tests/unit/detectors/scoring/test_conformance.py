"""The conformance suite: our scorers pass it, and each of its checks rejects a scorer that is bad in that one way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from detectors import conformance
from detectors.catalogue import INDEX
from detectors.conformance import CHECKS, Check, Nonconformity
from detectors.contract import STATUS_CODE, FeatureMatrix, Reason, Score, ScoreColumn, ScoreStatus
from detectors.model import Model, rules_only
from detectors.scorers.registry import RULES

SCORERS = ("boosted", "leak", "pooled", "mixture", "tails", "isolation", *RULES)
COLUMN = INDEX["valuable_share"]


def test_every_scorer_of_a_model_is_in_the_suite(model: Model) -> None:
    """The list that the suite runs over is the list of scorers of a fitted model."""
    assert tuple(scorer.name for scorer in model.scorers) == SCORERS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SCORERS)
def test_our_scorer_obeys(name: str, check: Check, model: Model, mixed_matrix: FeatureMatrix) -> None:
    """Every scorer of a fitted model passes every check."""
    check(next(scorer for scorer in model.scorers if scorer.name == name), mixed_matrix)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_rules_without_a_history_obey(check: Check, mixed_matrix: FeatureMatrix) -> None:
    """The named rules pass every check without peers, too."""
    for scorer in rules_only().scorers:
        check(scorer, mixed_matrix)


Change = Callable[[FeatureMatrix, list[Score]], list[Score]]


@dataclass
class Toy:
    """A conforming scorer: the share of valuable answers. `change` spoils its scores."""

    change: Change = lambda matrix, scores: scores
    name: str = "toy"
    version: str = "1"
    monotone_in: tuple[str, ...] = ("valuable_share",)
    worth_telling: float = 0.0

    def columns(self, matrix: FeatureMatrix) -> ScoreColumn:
        """The spoilt scores as columns."""
        scores = self.score(matrix)
        codes = [STATUS_CODE[score.status] for score in scores]
        return ScoreColumn(np.array(codes, np.int8), np.array([score.value for score in scores]))

    def reasons(self, matrix: FeatureMatrix, row: int) -> tuple[Reason, ...]:
        """Those of the score."""
        return self._row(matrix, row).reasons

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """The scores, spoilt."""
        return self.change(matrix, [self._row(matrix, row) for row in range(len(matrix))])

    def _row(self, matrix: FeatureMatrix, row: int) -> Score:
        value = float(matrix.values[row, COLUMN])
        if not np.isfinite(matrix.values[row]).all():
            return Score(self.name, self.version, ScoreStatus.FAILED)
        if matrix.evidence[row] < 5:
            return Score(self.name, self.version, ScoreStatus.WARMING_UP)
        if not matrix.present[row, COLUMN]:
            return Score(self.name, self.version, ScoreStatus.NOT_APPLICABLE)
        why = Reason("valuable_share", value, None, "high", 1.0, f"The share is {value:.2f}.")
        return Score(self.name, self.version, ScoreStatus.SCORED, value, (why,))


def _scored(change: Callable[[FeatureMatrix, int, Score], Score]) -> Change:
    """Spoil the scores that are numbers, row by row."""

    def apply(matrix: FeatureMatrix, scores: list[Score]) -> list[Score]:
        return [
            change(matrix, row, score) if score.status is ScoreStatus.SCORED else score for row, score in enumerate(scores)
        ]

    return apply


def _reworded(**fields: object) -> Change:
    """Spoil the reasons."""
    return _scored(lambda _, __, score: replace(score, reasons=tuple(replace(r, **fields) for r in score.reasons)))


class Restless:
    """Takes more away with every call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, matrix: FeatureMatrix, scores: list[Score]) -> list[Score]:
        """The scores, less with every call."""
        self.calls += 1
        return _scored(lambda _, __, score: replace(score, value=score.value / (1 + self.calls)))(matrix, scores)


def _alone(matrix: FeatureMatrix, scores: list[Score]) -> list[Score]:
    return _scored(lambda _, __, score: replace(score, value=score.value / len(matrix)))(matrix, scores)


def _by_position(matrix: FeatureMatrix, scores: list[Score]) -> list[Score]:
    if len(matrix) == 1:
        return scores
    return _scored(lambda _, row, score: replace(score, value=score.value * (0.5 if row == 3 else 1.0)))(matrix, scores)


def _scribble(matrix: FeatureMatrix, scores: list[Score]) -> list[Score]:
    if len(matrix):
        matrix.values[0, COLUMN] += 0.125
    return scores


def _reads_absent(matrix: FeatureMatrix, scores: list[Score]) -> list[Score]:
    absent = INDEX["logit_bias_diversity"]
    return _scored(
        lambda m, row, score: replace(score, value=min(1.0, score.value + float(m.values[row, absent] == 0.77)))
    )(matrix, scores)


def _overflows(matrix: FeatureMatrix, scores: list[Score]) -> list[Score]:
    if (np.abs(np.where(np.isfinite(matrix.values), matrix.values, 0.0)) > 1e200).any():
        raise FloatingPointError
    return scores


def _ignores_nonsense(_: FeatureMatrix, scores: list[Score]) -> list[Score]:
    return [replace(s, status=ScoreStatus.WARMING_UP) if s.status is ScoreStatus.FAILED else s for s in scores]


def _always_a_number(_: FeatureMatrix, scores: list[Score]) -> list[Score]:
    return [replace(s, status=ScoreStatus.SCORED) if s.status is ScoreStatus.WARMING_UP else s for s in scores]


def _never_a_number(_: FeatureMatrix, scores: list[Score]) -> list[Score]:
    return [
        Score(s.scorer, s.version, ScoreStatus.WARMING_UP if s.status is ScoreStatus.SCORED else s.status) for s in scores
    ]


def _quotes(matrix: FeatureMatrix, scores: list[Score]) -> list[Score]:
    def quote(m: FeatureMatrix, row: int, score: Score) -> Score:
        text = f"The plan is {m.groups[row][0]}."
        return replace(score, reasons=tuple(replace(reason, text=text) for reason in score.reasons))

    return _scored(quote)(matrix, scores)


BAD: dict[str, tuple[Check, Change | type[Restless]]] = {
    "drops a row": (conformance.one_score_per_row, lambda _, scores: scores[:-1]),
    "signs as another": (conformance.one_score_per_row, lambda _, scores: [replace(s, scorer="other") for s in scores]),
    "leaves its reasons out": (conformance.columns_agree, _scored(lambda _, __, score: replace(score, reasons=()))),
    "exceeds 1": (conformance.range_of_scores, _scored(lambda _, __, score: replace(score, value=1.5 + score.value))),
    "a status with a value": (
        conformance.range_of_scores,
        lambda _, scores: [replace(s, value=0.5) if s.status is ScoreStatus.WARMING_UP else s for s in scores],
    ),
    "calls the unknown normal": (conformance.abstains_without_evidence, _always_a_number),
    "never judges": (conformance.judges_with_evidence, _never_a_number),
    "keeps state": (conformance.deterministic, Restless),
    "scales by the batch": (conformance.batch_independent, _alone),
    "treats a position apart": (conformance.order_independent, _by_position),
    "writes into its input": (conformance.leaves_input_alone, _scribble),
    "reads absent cells": (conformance.absent_is_absent, _reads_absent),
    "overflows": (conformance.survives_extremes, _overflows),
    "does not fail nonsense": (conformance.rejects_nonsense, _ignores_nonsense),
    "falls as suspicion rises": (
        conformance.monotone,
        _scored(lambda _, __, score: replace(score, value=1.0 - score.value)),
    ),
    "names an unknown feature": (conformance.reasons_well_formed, _reworded(feature="mood")),
    "names an absent feature": (conformance.reasons_well_formed, _reworded(feature="circadian_flatness", value=0.0)),
    "gives another value": (conformance.reasons_well_formed, _reworded(value=0.123)),
    "weighs too much": (conformance.reasons_well_formed, _reworded(weight=1.1)),
    "has an odd percentile": (conformance.reasons_well_formed, _reworded(percentile=101.0)),
    "speaks in fragments": (conformance.reasons_well_formed, _reworded(text="valuable_share")),
    "quotes the client": (conformance.tells_nothing_of_the_client, _quotes),
}


def test_the_toy_itself_conforms(mixed_matrix: FeatureMatrix) -> None:
    """What the bad scorers spoil is good before they do."""
    for check in CHECKS:
        check(Toy(), mixed_matrix)


def test_every_check_has_a_scorer_to_reject() -> None:
    """No check of the suite goes unproved."""
    assert {check for check, _ in BAD.values()} == set(CHECKS)


@pytest.mark.parametrize("fault", BAD)
def test_its_check_rejects_a_bad_scorer(fault: str, mixed_matrix: FeatureMatrix) -> None:
    """The check that guards against a fault finds it, and says which check it was."""
    check, change = BAD[fault]
    spoilt = change() if isinstance(change, type) else change
    matrix = replace(mixed_matrix, values=mixed_matrix.values.copy())
    with pytest.raises(Nonconformity, match=check.__name__):
        check(Toy(change=spoilt), matrix)
