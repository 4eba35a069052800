"""What every scorer must obey, as checks that raise: the suite for a new scorer, ours or somebody else's.

    for check in CHECKS:
        check(scorer, matrix)

`matrix` holds rows that the scorer can judge (from a history, or made by hand); the checks derive the awkward ones. A check
that passes says nothing about whether a scorer is any good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import STATUSES, FeatureMatrix, Score, Scorer, ScoreStatus


class Nonconformity(AssertionError):
    """A scorer broke a rule; the message names the check and the rule."""


Check = Callable[[Scorer, FeatureMatrix], None]


def _require(holds: object, check: str, rule: str) -> None:
    if not holds:
        raise Nonconformity(f"{check}: {rule}")


def _with(
    matrix: FeatureMatrix,
    values: NDArray[np.float64] | None = None,
    present: NDArray[np.bool_] | None = None,
    evidence: NDArray[np.int64] | None = None,
) -> FeatureMatrix:
    return FeatureMatrix(
        matrix.values if values is None else values,
        matrix.present if present is None else present,
        matrix.evidence if evidence is None else evidence,
        matrix.groups,
        matrix.pool,
    )


def one_score_per_row(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """As many scores as rows, none for no rows, each with the scorer's own name and version."""
    scores = scorer.score(matrix)
    _require(len(scores) == len(matrix), "one_score_per_row", "there must be one score per row")
    _require(len(scorer.score(matrix.take([]))) == 0, "one_score_per_row", "no rows must give no scores")
    for score in scores:
        _require(
            (score.scorer, score.version) == (scorer.name, scorer.version) and scorer.name and scorer.version,
            "one_score_per_row",
            "a score must carry the scorer's name and version",
        )


def columns_agree(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """Columns hold the scores' statuses and values, and a value worth telling about has the scorer's reasons."""
    column, scores = scorer.columns(matrix), scorer.score(matrix)
    same = [STATUSES[code] for code in column.status.tolist()] == [score.status for score in scores]
    same = same and column.value.tolist() == [score.value for score in scores]
    _require(same, "columns_agree", "a score must be what its column says")
    for row, score in enumerate(scores):
        told = score.status is ScoreStatus.SCORED and score.value >= scorer.worth_telling
        expected = tuple(scorer.reasons(matrix, row)) if told else ()
        _require(
            score.reasons == expected, "columns_agree", "reasons belong to values worth telling about, and to no others"
        )


def range_of_scores(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """A score that is a number lies in [0, 1], and one that is not carries none."""
    for score in scorer.score(matrix):
        if score.status is ScoreStatus.SCORED:
            inside = math.isfinite(score.value) and 0.0 <= score.value <= 1.0
            _require(inside, "range_of_scores", "a score must lie in [0, 1]")
        else:
            empty = score.value == 0.0 and not score.reasons
            _require(empty, "range_of_scores", "a status must carry no value and no reasons")


def abstains_without_evidence(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """Without any exchange there is a status, never a number."""
    nothing = _with(matrix, np.zeros_like(matrix.values), np.zeros_like(matrix.present), np.zeros_like(matrix.evidence))
    for score in scorer.score(nothing):
        _require(score.status is not ScoreStatus.SCORED, "abstains_without_evidence", "no evidence must give no number")


def judges_with_evidence(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """A scorer that abstains from every row would pass every other check."""
    scored = any(score.status is ScoreStatus.SCORED for score in scorer.score(matrix))
    _require(scored, "judges_with_evidence", "some row must be scored")


def deterministic(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """The same rows give the same scores, the second time too."""
    _require(list(scorer.score(matrix)) == list(scorer.score(matrix)), "deterministic", "two calls must agree exactly")


def batch_independent(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """A row's score is the same alone as in a batch, to the last bit."""
    whole = list(scorer.score(matrix))
    alone = [score for row in range(len(matrix)) for score in scorer.score(matrix.take([row]))]
    _require(whole == alone, "batch_independent", "a row must score alike alone and in a batch")


def order_independent(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """Rows in another order give the same scores in that order."""
    whole = list(scorer.score(matrix))
    backwards = list(range(len(matrix)))[::-1]
    _require(
        list(scorer.score(matrix.take(backwards))) == whole[::-1], "order_independent", "order must not change a score"
    )


def leaves_input_alone(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """The matrix is as it was."""
    copy = _with(matrix, matrix.values.copy(), matrix.present.copy(), matrix.evidence.copy())
    scorer.score(copy)
    same = (
        np.array_equal(copy.values, matrix.values)
        and np.array_equal(copy.present, matrix.present)
        and np.array_equal(copy.evidence, matrix.evidence)
    )
    _require(same, "leaves_input_alone", "scoring must not change its input")


def absent_is_absent(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """What stands in an absent cell does not matter."""
    other = np.where(matrix.present, matrix.values, 0.77)
    _require(
        list(scorer.score(_with(matrix, other)))
        == list(scorer.score(_with(matrix, np.where(matrix.present, matrix.values, 0.0)))),
        "absent_is_absent",
        "an absent feature must not be read",
    )


def survives_extremes(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """Range ends, huge values and whole columns absent give scores in range or a status; nothing raises."""
    lows = np.array([feature.low for feature in CATALOGUE])
    highs = np.array([feature.high if math.isfinite(feature.high) else 1e300 for feature in CATALOGUE])
    extremes = [np.broadcast_to(lows, matrix.values.shape).copy(), np.broadcast_to(highs, matrix.values.shape).copy()]
    everything = np.ones_like(matrix.present)
    for values in extremes:
        for present in (everything, np.zeros_like(matrix.present), matrix.present):
            for evidence in (matrix.evidence, np.full_like(matrix.evidence, np.iinfo(np.int64).max)):
                _survives(scorer, _with(matrix, values, present, evidence), "survives_extremes")


def rejects_nonsense(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """NaN and infinity, which no feature ever is, give FAILED for that row and leave the others alone."""
    whole = list(scorer.score(matrix))
    for nonsense in (math.nan, math.inf, -math.inf):
        values = matrix.values.copy()
        values[0, :] = nonsense
        scores = _survives(scorer, _with(matrix, values), "rejects_nonsense")
        _require(scores[0].status is ScoreStatus.FAILED, "rejects_nonsense", "a row that is not finite must be FAILED")
        _require(scores[1:] == whole[1:], "rejects_nonsense", "one bad row must not change another")


def _survives(scorer: Scorer, matrix: FeatureMatrix, check: str) -> list[Score]:
    try:
        with np.errstate(all="raise"):
            scores = list(scorer.score(matrix))
    except Exception as error:
        raise Nonconformity(f"{check}: it raised {type(error).__name__}") from error
    for score in scores:
        inside = score.status is not ScoreStatus.SCORED or (math.isfinite(score.value) and 0.0 <= score.value <= 1.0)
        _require(inside, check, "a score must stay in [0, 1]")
    return scores


def monotone(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """Moving a feature to its suspicious side never lowers a score, for the features that the scorer declares.

    A scorer declares them as `monotone_in`, names of the catalogue; one that declares none promises nothing. Evidence and
    peer groups stay, so that nothing else changes.
    """
    declared: Sequence[str] = getattr(scorer, "monotone_in", ())
    before = list(scorer.score(matrix))
    for name in declared:
        column = INDEX[name]
        feature = CATALOGUE[column]
        _require(feature.suspicious != "both", "monotone", f"{name} has no suspicious side to be monotone in")
        top = feature.high if math.isfinite(feature.high) else 1e9
        for share in (0.3, 1.0):
            values = matrix.values.copy()
            target = top if feature.suspicious == "high" else feature.low
            moved = values[:, column] + share * (target - values[:, column])
            values[:, column] = np.where(matrix.present[:, column], moved, values[:, column])
            for old, new in zip(before, scorer.score(_with(matrix, values)), strict=True):
                if old.status is ScoreStatus.SCORED is new.status:
                    _require(new.value >= old.value - 1e-12, "monotone", f"more of {feature.name} must not lower a score")


def reasons_well_formed(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """Reasons name present features of the catalogue with their values; weights are in [0, 1] and sum to at most 1."""
    for row, score in enumerate(scorer.score(matrix)):
        names = [reason.feature for reason in score.reasons]
        _require(len(set(names)) == len(names), "reasons_well_formed", "a feature may be named once")
        for reason in score.reasons:
            _require(reason.feature in INDEX, "reasons_well_formed", "a reason must name a feature of the catalogue")
            column = INDEX[reason.feature]
            _require(matrix.present[row, column], "reasons_well_formed", "a reason must not name an absent feature")
            _require(reason.value == matrix.values[row, column], "reasons_well_formed", "a reason gives the row's value")
            _require(reason.direction in ("high", "low"), "reasons_well_formed", "a direction is high or low")
            known = reason.percentile is None or 0.0 <= reason.percentile <= 100.0
            _require(known, "reasons_well_formed", "a percentile lies in [0, 100]")
            _require(0.0 <= reason.weight <= 1.0, "reasons_well_formed", "a weight lies in [0, 1]")
            sentence = reason.text.startswith("The ") and reason.text.endswith(".") and len(reason.text) < 400
            _require(sentence, "reasons_well_formed", "a reason is one sentence")
        total = sum(reason.weight for reason in score.reasons)
        _require(total <= 1.0 + 1e-9, "reasons_well_formed", "weights must sum to at most 1")


def tells_nothing_of_the_client(scorer: Scorer, matrix: FeatureMatrix) -> None:
    """A reason's text depends on its feature, its numbers and its direction alone, not on which row or group it is from."""
    marked = FeatureMatrix(
        matrix.values,
        matrix.present,
        matrix.evidence,
        tuple((f"secret-plan/{row}/{groups[0]}", *groups[1:]) for row, groups in enumerate(matrix.groups)),
        matrix.pool,
    )
    for score in scorer.score(marked):
        for reason in score.reasons:
            _require("secret-plan" not in reason.text, "tells_nothing_of_the_client", "a reason must not quote its input")


CHECKS: tuple[Check, ...] = (
    one_score_per_row,
    columns_agree,
    range_of_scores,
    abstains_without_evidence,
    judges_with_evidence,
    deterministic,
    batch_independent,
    order_independent,
    leaves_input_alone,
    absent_is_absent,
    survives_extremes,
    rejects_nonsense,
    monotone,
    reasons_well_formed,
    tells_nothing_of_the_client,
)
