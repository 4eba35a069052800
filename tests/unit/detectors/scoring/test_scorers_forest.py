"""The exported forest against scikit-learn's own scores."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.scorers import forest


def _rows(seed: int, count: int) -> np.ndarray:
    dice = np.random.default_rng(seed)
    # Many equal values, as surprises have: most features of most rows are at their peers' bulk.
    return np.where(dice.uniform(size=(count, 18)) < 0.4, 0.0, dice.exponential(1.0, (count, 18)))


@pytest.mark.parametrize("count", [2, 3, 40, 1500])
def test_exported_trees_score_as_scikit_learn_does(count: int) -> None:
    """Two to the power of the isolation is minus `score_samples` to 1e-9, on the fitted rows and on others."""
    fitted = forest.fit_sklearn(_rows(1, count), seed=5)
    ours = forest.export(fitted)
    for rows in (_rows(1, count), _rows(2, 300)):
        np.testing.assert_allclose(2.0 ** ours.isolations(rows), -fitted.score_samples(rows), rtol=0, atol=1e-9)


def test_a_row_has_the_same_bits_alone_and_in_a_batch() -> None:
    """No sum over trees depends on how many rows are scored together."""
    ours = forest.fit(_rows(1, 400), seed=5)
    rows = _rows(3, 257)
    whole = ours.isolations(rows)
    assert [ours.isolations(rows[at : at + 1])[0] for at in range(len(rows))] == whole.tolist()
    assert len(ours.isolations(rows[:0])) == 0


def test_the_same_seed_gives_the_same_trees() -> None:
    """Fitting twice gives equal arrays, and another seed other ones."""
    first, second, other = (forest.fit(_rows(1, 200), seed) for seed in (5, 5, 6))
    assert np.array_equal(first.threshold, second.threshold)
    assert first.threshold.shape != other.threshold.shape or not np.array_equal(first.threshold, other.threshold)


@pytest.mark.parametrize(("samples", "depth"), [(0, 0.0), (1, 0.0), (2, 1.0), (256, 10.2447)])
def test_expected_depth_is_that_of_the_paper(samples: int, depth: float) -> None:
    """c(n) of Liu, Ting and Zhou, with its special cases."""
    assert forest.expected_depth(samples) == pytest.approx(depth, abs=1e-3)
