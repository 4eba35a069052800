"""Exact log tails.

The constants marked mpmath were made with mpmath 1.3 at 60 digits: the regularised incomplete gamma function, the finite
sum of binomial terms, and for the fused score the series (1 − α) G₁ + α G₂ = α Gamma(2n + J), J negative binomial, which is
a different formula than the one under test.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, log, nan

import numpy as np
import pytest
from scipy import special, stats

from detectors.watermark.tails import (
    log_binomial_tail,
    log_binomial_tails,
    log_dual_tail,
    log_gamma_tail,
    log_gamma_tails,
)

LN10 = log(10)

GAMMA = [  # n, s, ln Q(n, s); mpmath
    (64, 296.27295787856264, -138.49363244624890755),
    (1000, 5000, -2396.3215937672061059),
    (1000, 1100, -6.8501250144362652883),
    (200000, 260000, -7532.9651811804897676),
    (1, 800, -800.0),
    (0.5, 900, -903.97411711064387808),
    (10, 0.5, -1.7096700294950519369e-10),
    (50, 20, -1.2458926157331799409e-8),
    (1e7, 10030000.0, -48.089895512281550615),
    (1e7, 12000000.0, -176791.80061190829995),
    (3e4, 31500.5, -39.410447471002581081),
    (12345.5, 20000, -1703.6807753784875735),
    (150, 3000, -2407.0097788142587859),
    (1e7, 9990000.0, -0.00078045769314158543132),
    (5, 1e6, -999947.91600759848685),
    (1e6, 995000, -2.7495807372797476492e-7),
    (3308234, 3299469.6236999924, -7.0813600543416412314e-7),
    (5e7, 49960000.0, -7.6432606672130920513e-9),
]
BINOMIAL = [  # n, p, k, ln P[Bin(n, p) >= k]; mpmath
    (1000, 0.25, 900, -954.48216354123579066),
    (50, 0.25, 29, -14.144294205197731917),
    (200, 0.25, 78, -11.627661315039960375),
    (10**7, 0.5, 5010000, -22.784945856044176029),
    (10**7, 0.5, 5100000, -2005.1795602286531294),
    (10**6, 0.25, 300000, -6406.9993601611474847),
    (40000, 0.5, 30000, -5237.4562992343713866),
    (300, 0.01, 300, -1381.5510557964274042),
    (2000, 0.9, 2000, -210.72103131565255311),
    (1000, 0.5, 400, -9.0084127066861157267e-11),
    (10**7, 0.001, 20000, -3873.1279256049848808),
    (12, 0.25, 1, -0.03218890050452663943),
]
DUAL = [  # n, s, alpha, ln P[(1 - a) G1 + a G2 >= s]; mpmath
    (32, 60.0, 0.1, -12.008195495038455651),
    (200, 300.0, 0.1, -25.582997614346012473),
    (1000, 1400.0, 0.1, -79.688828957331715428),
    (1000, 5000.0, 0.1, -2751.3328843806863298),
    (1, 3.0, 0.3, -3.7275131432420604376),
    (2, 900.0, 0.25, -1192.0989929480075796),
    (20000, 24000.0, 0.1, -431.29026398726149808),
    (500, 400.0, 0.1, -4.8085465420818904768e-8),
    (64, 200.0, 0.45, -127.57117950105322134),
    (300, 700.0, 0.01, -152.19244559004334094),
    (32, 200.0, 0.9, -129.43733591936445027),
]


def approximate_dual_tail(n: int, s: float, alpha: float) -> float:
    """The moment-matched ln p that engines publish: Gamma(n / v) of s / v, v = (1 − α)² + α²."""
    v = (1 - alpha) ** 2 + alpha**2
    return log_gamma_tail(n / v, s / v)


@pytest.mark.parametrize(
    ("found", "log10_p"),
    [
        (log_gamma_tail(64, 296.27295787856264), -60.14702035014),
        (log_gamma_tail(1000, 5000), -1040.709245038703),
        (log_gamma_tail(1000, 1100), -2.9749714941171),
        (log_binomial_tail(1000, 0.25, 900), -414.526336701036),
        (log_gamma_tail(200000, 260000), -3271.5252105562),
    ],
)
def test_known_answers_in_decimal_logarithms(found: float, log10_p: float) -> None:
    """Published to about thirteen digits, far below what a float can hold as a probability."""
    assert found / LN10 == pytest.approx(log10_p, rel=1e-12)


@pytest.mark.parametrize(("n", "s", "wanted"), GAMMA)
def test_the_gamma_tail_is_exact_from_near_one_to_a_million_digits(n: float, s: float, wanted: float) -> None:
    """The relative error of the logarithm is far below the promised 1e-9."""
    assert log_gamma_tail(n, s) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("n", "p", "k", "wanted"), BINOMIAL)
def test_the_binomial_tail_is_exact(n: int, p: float, k: int, wanted: float) -> None:
    """At every size up to ten million trials."""
    assert log_binomial_tail(n, p, k) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("n", "s", "alpha", "wanted"), DUAL)
def test_the_dual_tail_is_exact(n: int, s: float, alpha: float, wanted: float) -> None:
    """Quadrature over the split agrees with the series over a negative binomial."""
    assert log_dual_tail(n, s, alpha) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("n", [1, 7, 300, 10**5, 10**7])
def test_the_gamma_tail_has_no_seam_where_scipy_underflows(n: int) -> None:
    """Between the incomplete gamma function and the continued fraction the slope stays smooth."""
    scores = n + np.sqrt(n) * np.linspace(30, 45, 400) + np.linspace(500, 800, 400) * (n < 1000)
    slopes = np.diff(log_gamma_tails(n, scores)) / np.diff(scores)
    assert (slopes < 0).all()
    assert np.abs(np.diff(slopes, 2)).max() < 1e-4 * np.abs(slopes).max()


def test_every_tail_agrees_with_scipy_where_scipy_holds_a_number() -> None:
    """Over counts of one to a million and p of 1e-250 to nearly one."""
    for n in (1, 10, 1000, 10**6):
        scores = n + np.sqrt(n) * np.linspace(-1, 25, 40)
        expected = stats.gamma.logsf(scores, n)
        finite = expected > -575
        assert log_gamma_tails(n, scores)[finite] == pytest.approx(expected[finite], rel=1e-9)
        hits = np.unique(np.round(n * 0.25 + np.sqrt(n * 0.19) * np.linspace(-1, 25, 40)).clip(1, n))
        assert log_binomial_tails(n, 0.25, hits) == pytest.approx(stats.binom.logsf(hits - 1, n, 0.25), rel=1e-9)


def test_the_two_tails_of_a_count_and_of_a_waiting_time_are_one_identity() -> None:
    """Q(n, s) is the chance of fewer than n events of a Poisson process; a binomial tail at k = n is n ln p."""
    n, s = 40, 900.0
    terms = [i * log(s) - special.gammaln(i + 1) for i in range(n)]
    assert log_gamma_tail(n, s) == pytest.approx(special.logsumexp(terms) - s, rel=1e-13)
    assert log_binomial_tail(5000, 0.125, 5000) == pytest.approx(5000 * log(0.125), rel=1e-13)


@pytest.mark.parametrize("n", [1, 30, 20_000])
def test_tails_fall_with_the_score_and_rise_with_the_count(n: int) -> None:
    """A higher score is never less remarkable, and more trials never make it more so."""
    scores = np.linspace(0, 6 * n + 200, 300)
    assert (np.diff(log_gamma_tails(n, scores)) < 0).sum() > 200
    assert (np.diff(log_gamma_tails(n, scores)) <= 0).all()
    assert (np.diff(log_gamma_tails(np.arange(1, 200), 300.0)) > 0).all()
    assert (np.diff(log_binomial_tails(n, 0.25, np.arange(n + 2))) <= 0).all()
    assert (np.diff(log_binomial_tails(np.arange(50, 200), 0.25, 50)) > 0).all()
    dual = [log_dual_tail(n, float(score), 0.1) for score in scores[::10]]
    assert (np.diff(dual) <= 0).all()


def test_the_dual_tail_is_the_gamma_tail_at_its_ends_and_symmetric() -> None:
    """α = 0 and 1 leave one stream; ½ is the mean of both; α and 1 − α are the same sum."""
    for n, s in [(5, 9.0), (300, 420.0), (1000, 2500.0)]:
        assert log_dual_tail(n, s, 0.0) == log_gamma_tail(n, s) == log_dual_tail(n, s, 1.0)
        assert log_dual_tail(n, s, 0.5) == log_gamma_tail(2 * n, 2 * s)
        assert log_dual_tail(n, s, 0.5 - 1e-9) == pytest.approx(log_gamma_tail(2 * n, 2 * s), rel=1e-9)
        assert log_dual_tail(n, s, 1e-13) == pytest.approx(log_gamma_tail(n, s), rel=1e-9)
        assert log_dual_tail(n, s, 0.2) == pytest.approx(log_dual_tail(n, s, 0.8), rel=1e-13)
    below = (3_308_234, 3_299_469.6236999924)  # far below the mean of millions, where a power series is not enough
    assert log_dual_tail(*below, 1e-13) == pytest.approx(log_gamma_tail(*below), rel=1e-9)


def test_the_dual_tail_of_one_trial_is_the_closed_form() -> None:
    """For two exponentials of means a and b it is (a e^(−s/a) − b e^(−s/b)) / (a − b)."""
    for s in (0.01, 0.5, 2.0, 40.0):
        closed = (0.7 * exp(-s / 0.7) - 0.3 * exp(-s / 0.3)) / 0.4
        assert log_dual_tail(1, s, 0.3) == pytest.approx(log(closed), rel=1e-11)


def test_the_dual_tail_is_what_simulation_finds_and_the_approximation_is_not() -> None:
    """Four million sums: the exact p lies within the noise, the moment-matched one does not."""
    random = np.random.default_rng(20261126)
    n, alpha, draws, score = 32, 0.1, 4_000_000, 46.0
    sums = (1 - alpha) * random.standard_gamma(n, draws) + alpha * random.standard_gamma(n, draws)
    seen = int((sums >= score).sum())
    exact = exp(log_dual_tail(n, score, alpha)) * draws
    approximate = exp(approximate_dual_tail(n, score, alpha)) * draws
    noise = exact**0.5
    assert abs(seen - exact) < 3 * noise
    assert seen - approximate > 5 * noise


@pytest.mark.parametrize(
    ("n", "ratios"),
    [(32, (1.04, 1.19, 1.41, 1.91, 2.71)), (200, (1.02, 1.09, 1.18, 1.39, 1.68)), (1000, (1.01, 1.04, 1.08, 1.18, 1.29))],
)
def test_the_moment_matched_p_of_two_keys_is_too_small_deep_in_the_tail(n: int, ratios: tuple[float, ...]) -> None:
    """True over nominal p at a nominal 1e-2, 1e-4, 1e-6, 1e-9, 1e-12, for α = 0.1 (run with -s to see the table)."""
    v = 0.9**2 + 0.1**2
    found = []
    for nominal in (1e-2, 1e-4, 1e-6, 1e-9, 1e-12):
        score = v * float(special.gammainccinv(n / v, nominal))
        found.append(exp(log_dual_tail(n, score, 0.1) - approximate_dual_tail(n, score, 0.1)))
    print(n, [round(ratio, 3) for ratio in found])
    assert found == pytest.approx(ratios, abs=0.0051)


def test_nothing_scored_is_no_evidence_and_the_impossible_is_minus_infinity() -> None:
    """A sum of nothing is 0; more hits than trials cannot be."""
    assert log_gamma_tail(0, 0) == log_binomial_tail(0, 0.5, 0) == log_dual_tail(0, 0, 0.1) == 0.0
    assert log_gamma_tail(5, 0) == log_binomial_tail(5, 0.5, -1) == log_dual_tail(5, 0, 0.1) == 0.0
    assert log_gamma_tail(0, 1) == log_binomial_tail(3, 0.5, 4) == log_dual_tail(0, 1, 0.1) == -inf


def test_ten_million_trials_far_in_the_tail_stay_finite() -> None:
    """A corpus of ten million tokens with a strong mark: p of 1e-90000 is a number here."""
    assert log_gamma_tail(10**7, 1.2e7) == pytest.approx(-176791.8006, abs=1e-3)
    dual = log_dual_tail(10**7, 1.2e7, 0.1)
    assert dual < log_gamma_tail(10**7, 1.2e7)  # a sum of two varies less than one
    assert dual == pytest.approx(-213471.66, abs=0.01)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: log_gamma_tail(-1, 2), "n: must be"),
        (lambda: log_gamma_tail(nan, 2), "n: must be"),
        (lambda: log_gamma_tail(2.0**54, 2), "n: must be"),
        (lambda: log_gamma_tail(3, -0.5), "s: must be"),
        (lambda: log_gamma_tail(3, inf), "s: must be"),
        (lambda: log_binomial_tail(-3, 0.5, 1), "n: must be"),
        (lambda: log_binomial_tail(3, 0.0, 1), "p: must be"),
        (lambda: log_binomial_tail(3, 1.0, 1), "p: must be"),
        (lambda: log_binomial_tail(3, nan, 1), "p: must be"),
        (lambda: log_binomial_tails(2.5, 0.5, 1), "n: must be"),
        (lambda: log_binomial_tails(3, 0.5, 1.5), "k: must be"),
        (lambda: log_dual_tail(-1, 1.0, 0.1), "n: must be"),
        (lambda: log_dual_tail(3, nan, 0.1), "s: must be"),
        (lambda: log_dual_tail(3, 1.0, 1.1), "alpha: must be"),
        (lambda: log_dual_tail(3, 1.0, nan), "alpha: must be"),
    ],
)
def test_a_bad_argument_is_named_with_its_rule(call: Callable[[], object], rule: str) -> None:
    """One ValueError, which begins with the field."""
    with pytest.raises(ValueError, match=f"^{rule}"):
        call()
