"""The boosted trees: exported ones against scikit-learn, and the shipped ones against what their card promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from detectors.artefacts import Artefact, BadArtefact, load
from detectors.calibrate import Conformal
from detectors.catalogue import CATALOGUE, INDEX
from detectors.conformance import CHECKS, Check
from detectors.contract import FeatureMatrix, ScoreStatus
from detectors.features import FeatureRow, stack
from detectors.scorers.boosted import Boosted, BoostedScorer, exported, shipped, sides

FEATURES = ("elicitation_share", "near_duplicate_rate", "mean_turn_depth", "valuable_share")


def _matrix(seed: int, count: int) -> FeatureMatrix:
    dice = np.random.default_rng(seed)
    values, present = np.zeros((count, len(CATALOGUE))), np.zeros((count, len(CATALOGUE)), np.bool_)
    for name in FEATURES:
        values[:, INDEX[name]] = dice.uniform(size=count).round(2)
        present[:, INDEX[name]] = dice.uniform(size=count) < 0.9
    return FeatureMatrix(np.where(present, values, 0.0), present, np.full(count, 50), (("all",),) * count)


def _inputs(matrix: FeatureMatrix, columns: list[int]) -> np.ndarray:
    at = [INDEX[FEATURES[column]] for column in columns]
    return np.where(matrix.present[:, at], matrix.values[:, at], np.nan)


def _fitted(seed: int, columns: list[int]) -> HistGradientBoostingClassifier:
    matrix = _matrix(seed, 600)
    inputs = _inputs(matrix, columns)
    label = np.nansum(inputs, axis=1) + np.random.default_rng(seed).normal(0.0, 0.3, len(inputs)) > 1.0
    constraints = [sides(FEATURES)[column] for column in columns]
    estimator = HistGradientBoostingClassifier(max_iter=12, max_leaf_nodes=8, monotonic_cst=constraints, random_state=seed)
    return estimator.fit(inputs, label, sample_weight=np.random.default_rng(seed).uniform(0.5, 2.0, len(label)))


@pytest.fixture(scope="module")
def pair() -> Boosted:
    """Two small models on different features, exported together."""
    parts = [(_fitted(1, [0, 1, 2, 3]), np.arange(4)), (_fitted(2, [3, 1]), np.array([3, 1]))]
    return exported(parts, FEATURES, FEATURES[:2], np.array([-1.0, 0.0, 1.0]))


def test_exported_trees_give_exactly_scikit_learns_raw_scores() -> None:
    """Bit for bit, absent features too, on rows that were fitted and on others."""
    estimator = _fitted(1, [0, 1, 2, 3])
    ours = exported([(estimator, np.arange(4))], FEATURES, (), np.zeros(1))
    for matrix in (_matrix(1, 600), _matrix(9, 300)):
        assert ours.log_odds(matrix).tolist() == estimator.decision_function(_inputs(matrix, [0, 1, 2, 3])).tolist()


def test_several_models_are_averaged(pair: Boosted) -> None:
    """Each sees its own features; the log-odds are their mean."""
    matrix = _matrix(4, 200)
    first, second = _fitted(1, [0, 1, 2, 3]), _fitted(2, [3, 1])
    mean = (first.decision_function(_inputs(matrix, [0, 1, 2, 3])) + second.decision_function(_inputs(matrix, [3, 1]))) / 2
    np.testing.assert_allclose(pair.log_odds(matrix), mean, rtol=0, atol=1e-12)


def test_contributions_add_up_to_the_log_odds(pair: Boosted) -> None:
    """What the features add, and what every tree starts from, is the whole of a row's log-odds."""
    matrix = _matrix(5, 20)
    start = (pair.base.sum() + pair.value[:, 0].sum()) / len(pair.base)
    found = [start + pair.contributions(matrix, row).sum() for row in range(len(matrix))]
    np.testing.assert_allclose(found, pair.log_odds(matrix), rtol=0, atol=1e-9)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_shipped_trees_obey_the_suite(check: Check, mixed_matrix: FeatureMatrix) -> None:
    """They pass every check of a scorer with the shipped calibration, monotone features among them."""
    check(BoostedScorer(shipped()), mixed_matrix)


def test_a_history_of_ones_own_replaces_the_shipped_calibration(pair: Boosted) -> None:
    """The same log-odds are common among some peers and rare among others, and unknown peers give no score."""
    matrix = _matrix(6, 1)
    low, high = (Conformal({"all": np.full(600, value)}) for value in (-50.0, 50.0))
    rare, common = (BoostedScorer(pair, peers).columns(matrix).value[0] for peers in (low, high))
    assert rare > 0.99 > common
    unknown = BoostedScorer(pair, Conformal({"elsewhere": np.zeros(600)})).score(matrix)[0]
    assert unknown.status is ScoreStatus.NOT_APPLICABLE


def test_shipped_trees_rank_harvests_above_ordinary_keys(
    harvest_row: Callable[..., FeatureRow], make_row: Callable[..., FeatureRow]
) -> None:
    """Reasoning forced from always new tasks has higher log-odds than an ordinary customer's chat."""
    harvest, ordinary = shipped().log_odds(stack([harvest_row("forced_reasoning"), make_row()]))
    assert harvest > ordinary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card, arrays: card.update(catalogue="0"), "for catalogue 0"),
        (lambda card, arrays: card["features"].append("mood"), "does not know"),
        (lambda card, arrays: arrays.pop("left"), "does not know"),
        (lambda card, arrays: arrays.update(right=arrays["right"] * 0), "do not fit"),
        (lambda card, arrays: arrays.update(left=arrays["left"] + 999), "do not fit"),
        (lambda card, arrays: arrays.update(value=arrays["value"][1:]), "do not fit"),
        (lambda card, arrays: arrays.update(feature=arrays["feature"] + 999), "do not fit"),
    ],
)
def test_an_artefact_that_does_not_fit_is_refused(change: Callable[..., object], message: str) -> None:
    """Another catalogue, unknown features and damaged arrays are one sentence each, and nothing is scored with them."""
    whole = load("boosted")
    spoilt = Artefact(whole.name, {**whole.card, "features": list(whole.card["features"])}, dict(whole.arrays))
    change(spoilt.card, spoilt.arrays)
    with pytest.raises(BadArtefact, match=message):
        Boosted.from_artefact(replace(spoilt))
