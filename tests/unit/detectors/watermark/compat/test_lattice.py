"""The exact tail of a weighted sum of fair coins."""

from __future__ import annotations

from fractions import Fraction
from math import inf, log, log1p

import numpy as np
import pytest

from detectors.watermark.compat.lattice import log_weighted_tail, whole_weights
from detectors.watermark.tails import log_binomial_tail

LINEAR = whole_weights([290 - 9 * layer for layer in range(30)])


def counted(n: int, weights: tuple[int, ...], score: int) -> float:
    """The tail by counting every outcome in whole numbers."""
    ways = np.array([1], dtype=object)
    for weight in weights * n:
        longer = np.zeros(len(ways) + weight, dtype=object)
        longer[: len(ways)] += ways
        longer[weight:] += ways
        ways = longer
    share = Fraction(int(sum(ways[score:])), 2 ** (n * len(weights)))
    if share > Fraction(1, 2):
        return log1p(-float(1 - share))
    return log(share.numerator) - log(share.denominator)


@pytest.mark.parametrize(("n", "weights"), [(1, (3, 2)), (3, (40, 31, 22, 13, 4)), (20, (40, 31, 22, 13, 4)), (40, (7, 1))])
def test_it_is_what_counting_every_outcome_gives(n: int, weights: tuple[int, ...]) -> None:
    """From the bottom of the scores to the top."""
    top = n * sum(weights)
    for score in sorted(
        {1, 2, top // 7, top // 3, top // 2, top // 2 + 1, top * 3 // 5, top * 9 // 10, top - 1, top} - {0}
    ):
        assert log_weighted_tail(n, weights, score) == pytest.approx(counted(n, weights, score), rel=1e-11)


@pytest.mark.parametrize(("n", "k"), [(300, 151), (300, 200), (300, 299), (9000, 4000), (90_000, 60_000), (90_000, 89_000)])
def test_equal_weights_are_the_binomial_tail(n: int, k: int) -> None:
    """For one coin a token and for thirty, as deep as the logarithm goes."""
    assert log_weighted_tail(n, [1], k) == pytest.approx(log_binomial_tail(n, 0.5, k), rel=1e-10)
    assert log_weighted_tail(n // 30, [1] * 30, k) == pytest.approx(log_binomial_tail(n // 30 * 30, 0.5, k), rel=1e-10)
    assert log_weighted_tail(n // 30, [5] * 30, 5 * k - 4) == pytest.approx(
        log_weighted_tail(n // 30, [1] * 30, k), rel=1e-10
    )


def test_it_falls_with_the_score() -> None:
    """Over the whole range of two hundred tokens of thirty layers."""
    top = 200 * sum(LINEAR)
    tails = [log_weighted_tail(200, LINEAR, score) for score in range(top // 3, top, top // 12)]
    assert (np.diff(tails) < 0).all()


def test_simulation_agrees() -> None:
    """Fifty thousand draws."""
    random = np.random.default_rng(5)
    sums = random.binomial(50, 0.5, (50_000, len(LINEAR))) @ np.array(LINEAR)
    for deviations in (0.0, 1.0, 2.5):
        score = int(sums.mean() + deviations * sums.std())
        expected = float(np.exp(log_weighted_tail(50, LINEAR, score))) * len(sums)
        assert abs((sums >= score).sum() - expected) < 4 * expected**0.5


def test_the_ends_are_certain_and_impossible() -> None:
    """At most 0, and beyond the top."""
    assert log_weighted_tail(10, (2, 1), 0) == log_weighted_tail(10, (2, 1), -5) == log_weighted_tail(0, (2, 1), 0) == 0.0
    assert log_weighted_tail(10, (2, 1), 31) == log_weighted_tail(0, (2, 1), 1) == -inf
    assert log_weighted_tail(10, (2, 0), 20) == -10 * log(2)


def test_weights_become_whole_numbers_without_a_common_factor() -> None:
    """As they are where they are whole, else to 1/4096 of the largest."""
    assert whole_weights([6, 4, 2]) == (3, 2, 1)
    assert whole_weights([1.0, 0.5, 0.0]) == (2, 1, 0)
    assert whole_weights(np.linspace(10, 1, 2).tolist()) == (10, 1)


@pytest.mark.parametrize("weights", [[], [0.0], [-1.0, 2.0], [float("nan")]])
def test_weights_that_weigh_nothing_are_named(weights: list[float]) -> None:
    """One ValueError."""
    with pytest.raises(ValueError, match=r"^weights: must be"):
        whole_weights(weights)
    with pytest.raises(ValueError, match=r"^n: must be"):
        log_weighted_tail(-1, (1,), 1)
    with pytest.raises(ValueError, match=r"^weights: must be"):
        log_weighted_tail(1, (1, -1), 1)
