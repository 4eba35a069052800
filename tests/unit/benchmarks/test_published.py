"""Published detectors on cases that a hand can compute."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.published import cap, mmd, null, prada, seat
from benchmarks.published.mahalanobis import Mahalanobis


def _rows(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def _unit(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_p_value_counts_the_reference_windows_beyond_the_score() -> None:
    """One of four reference windows is at or above 3, so the p-value is 2/5; two-sided it is twice the smaller side."""
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    assert null.upper(scores, 3.0) == 2 / 5
    assert null.upper(scores, 9.0) == 1 / 5
    assert null.two_sided(scores, 9.0) == 2 / 5
    assert null.two_sided(scores, -9.0) == 2 / 5
    assert null.two_sided(scores, 1.5) == 1.0


def test_reference_windows_hold_no_text_twice() -> None:
    """A window is drawn without replacement: of a pool of its own size it is the pool."""
    pool = np.arange(5, dtype=np.float32)[:, None]
    assert null.drawn(pool, 5, lambda window: float(window.sum()), np.random.default_rng(0), 7).tolist() == [10.0] * 7


def test_prada_measures_to_the_nearest_other_query() -> None:
    """Points at 0, 1, 3 and 7 on a line lie 1, 1, 2 and 4 from their nearest."""
    line = _rows([0, 0], [1, 0], [3, 0], [7, 0])
    assert prada.nearest_distances(line) == pytest.approx([1, 1, 2, 4], abs=1e-3)


def test_prada_finds_outliers_less_normal_than_a_bell() -> None:
    """Quantiles of a normal distribution score near 0, two far-apart lumps high, equal distances nothing."""
    bell = np.array([math.sqrt(2) * value for value in np.random.default_rng(0).standard_normal(200)])
    lumps = np.repeat([0.0, 1.0], 100)
    assert prada.abnormality(bell) < 0.02 < 0.3 < prada.abnormality(lumps)
    assert prada.abnormality(np.ones(9)) == 0.0


def test_seat_counts_similar_pairs() -> None:
    """Two of four queries are equal and the rest at right angles: one pair of six."""
    window = _rows([1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1])
    detector = seat.Seat(_unit(50, 0))
    detector.bound = 0.9
    assert detector.statistic(window) == pytest.approx(1 / 6)


def test_seats_bound_is_what_one_reference_pair_in_a_hundred_reaches() -> None:
    """The bound is the 99th percentile of the cosines of pairs."""
    reference = _unit(60, 1)
    one, other = np.triu_indices(60, 1)
    share = ((reference @ reference.T)[one, other] >= seat.similarity_bound(reference, np.random.default_rng(0))).mean()
    assert share == pytest.approx(0.01, abs=0.001)


def test_cap_costs_what_its_formula_says() -> None:
    """Nothing visited costs λ; a coverage of β costs λ + 0.05 (α/λ − 1); novelty and spread add 2.8 and 3.6."""
    assert cap.cost(0.0, 0.0, 0.0) == pytest.approx(0.0005)
    assert cap.cost(0.19, 0.0, 0.0) == pytest.approx(0.0005 + 0.05 * (8 / 0.0005 - 1))
    assert cap.cost(0.0, 1.0, 2.0) == pytest.approx(0.0005 + 2.8 + 3.6)


def test_cap_visits_one_bucket_with_one_query_repeated() -> None:
    """Ten equal queries visit one bucket of 2,048, a tenth of a new bucket each, and do not spread."""
    assert cap.Cap(_unit(9, 0)).statistic(np.repeat(_unit(1, 2), 10, axis=0)) == pytest.approx(
        cap.cost(1 / 2048, 0.1, 0.0), rel=1e-3
    )


def test_mahalanobis_counts_in_units_of_the_spread() -> None:
    """Where values spread by 1 along one axis and 2 along the other, a point at (1, 2) lies at 1 + 1."""
    reference = _rows([1, 2], [1, -2], [-1, 2], [-1, -2])
    assert Mahalanobis(reference).statistic(_rows([1, 2], [1, 2])) == pytest.approx(2.0, rel=1e-4)
    assert Mahalanobis(reference).distances(_rows([0, 0]))[0] == pytest.approx(0.0, abs=1e-6)


def test_the_kernel_is_the_mean_of_four_gaussians() -> None:
    """At the median distance 1, two points 1 apart have the mean of exp(−1/2σ²) for σ = ½, 1, 2 and 4."""
    expected = np.mean([math.exp(-1 / (2 * width**2)) for width in (0.5, 1.0, 2.0, 4.0)])
    assert mmd.kernel(_rows([0, 0]), _rows([1, 0]), 1.0)[0, 0] == pytest.approx(expected, rel=1e-5)


def test_a_windows_score_is_the_mean_unbiased_discrepancy() -> None:
    """With draws of all the reference, the score is the textbook sum over pairs."""
    reference, window = _unit(6, 3), _unit(6, 4)
    detector = mmd.Mmd.fit(reference, np.random.default_rng(0))
    own, other = (mmd.kernel(rows, rows, detector.median) for rows in (window, reference))
    between = mmd.kernel(window, reference, detector.median).mean()
    expected = sum((matrix.sum() - 6) / 30 for matrix in (own, other)) - 2 * between
    assert detector.statistic(window, np.random.default_rng(0)) == pytest.approx(expected, abs=1e-6)


def test_the_published_null_is_wider_than_the_scores_own() -> None:
    """A mean of twenty draws varies less than single pairs, which is why the published level is not what it says."""
    rng = np.random.default_rng(0)
    detector = mmd.Mmd.fit(_unit(300, 5), rng)
    published, matched = detector.published_null(40, 200, rng), detector.matched_null(40, 200, rng)
    assert np.quantile(published, 0.95) > 1.2 * np.quantile(matched, 0.95)
