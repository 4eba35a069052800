"""Exact upper tails of the watermark statistics, as natural logarithms that never underflow.

    log_gamma_tail(n, s)         ln P[Gamma(n, 1) ≥ s]: a Gumbel score s, the sum of n values −ln(1 − u)
    log_binomial_tail(n, p, k)   ln P[Bin(n, p) ≥ k]: k green tokens of n
    log_dual_tail(n, s, alpha)   ln P[(1 − α) G₁ + α G₂ ≥ s]: the fused score of two independent Gumbel streams

A probability of 10⁻³⁰⁰⁰ is no rarity for a whole data set, and is 0 as a float. Where scipy's incomplete gamma and beta
functions hold a number they are used; beyond, the continued fraction of the same function times a prefactor in the log
domain (Press et al., Numerical Recipes, 3rd ed., 6.2 and 6.4). The prefactor is a deviance and a Stirling remainder
(Loader, Fast and Accurate Computation of Binomial Probabilities, 2000), since n ln s − s − ln Γ(n) loses its digits for
large n. The relative error of the logarithm is below 10⁻⁹, for p near one too, where the logarithm is minus the lower tail.

Zero trials are the sum of nothing: the tail at 0 is 1. The functions in the plural take arrays: microseconds a value.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Numbers = NDArray[np.float64]

LEAST = 1e-280
"""Below it scipy's values lose digits to subnormal numbers or are 0."""

MOST_TRIALS = 2**53
"""Beyond it a float no longer counts in ones."""

SERIES_UNTIL = 1000.0
SERIES_DEVIATIONS = 4.0
"""Where scipy's lower tail is its power series; nearer to the mean it has an expansion that is exact."""

STEPS = 20_000
"""Of a continued fraction; a few hundred are needed at most."""

STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
"""Of the series of ln Γ(n + 1) beyond Stirling's formula, in odd powers of 1/n (Abramowitz and Stegun 6.1.41)."""

STIRLING_FROM = 16.0
"""With six terms the series is exact to 10⁻¹⁷ from here on."""

NEGLIGIBLE = 60.0
"""e⁻⁶⁰ of the peak: where an integrand is cut off."""

FEWEST_POINTS, MOST_POINTS = 256, 65_536
AGREEMENT = 1e-12


def log_gamma_tail(n: float, s: float) -> float:
    """Ln Q(n, s): the probability that a sum of n unit exponentials is at least s.

    Raises:
        ValueError: n or s is negative or not finite.
    """
    return float(log_gamma_tails(n, s))


def log_binomial_tail(n: int, p: float, k: int) -> float:
    """Ln P[Bin(n, p) ≥ k]; minus infinity for k > n.

    Raises:
        ValueError: n is negative, p is not strictly between 0 and 1, or k is not finite.
    """
    return float(log_binomial_tails(n, p, k))


def log_gamma_tails(n: ArrayLike, s: ArrayLike) -> Numbers:
    """`log_gamma_tail` of arrays that broadcast together."""
    shapes, scores = _at_least_zero("n", n), _at_least_zero("s", s)
    if (shapes > MOST_TRIALS).any():
        raise ValueError(f"n: must be at most {MOST_TRIALS}")
    shapes, scores = np.broadcast_arrays(shapes, scores)
    result = np.where(scores > 0, -np.inf, 0.0)
    some = (shapes > 0) & (scores > 0)
    result[some] = _log_gamma_tails(shapes[some], scores[some])
    return result


def log_binomial_tails(n: ArrayLike, p: ArrayLike, k: ArrayLike) -> Numbers:
    """`log_binomial_tail` of arrays that broadcast together."""
    trials, share, hits = _at_least_zero("n", n), np.asarray(p, dtype=np.float64), np.asarray(k, dtype=np.float64)
    if (trials != np.floor(trials)).any() or (trials > MOST_TRIALS).any():
        raise ValueError(f"n: must be a whole number of at most {MOST_TRIALS}")
    if not ((share > 0) & (share < 1)).all():
        raise ValueError("p: must be strictly between 0 and 1")
    if not np.isfinite(hits).all() or (hits != np.floor(hits)).any():
        raise ValueError("k: must be a whole number")
    trials, share, hits = np.broadcast_arrays(trials, share, hits)
    result = np.where(hits > trials, -np.inf, 0.0)
    some = (hits > 0) & (hits <= trials)
    result[some] = _log_binomial_tails(trials[some], share[some], hits[some])
    return result


def log_dual_tail(n: int, s: float, alpha: float) -> float:
    """Ln P[(1 − α) G₁ + α G₂ ≥ s] for independent G₁, G₂ ~ Gamma(n, 1).

    G₁ + G₂ is Gamma(2n) and independent of B = G₁ / (G₁ + G₂), which is Beta(n, n), so the tail is the mean of
    Q(2n, s / (α + (1 − 2α) B)) over B: one smooth integral, taken by the trapezoidal rule over the logit of B, which
    converges exponentially for such an integrand. The points double until the result no longer moves.

    Raises:
        ValueError: n is negative or no whole number, s is negative or not finite, or alpha is not in 0..1.
    """
    if not 0 <= n <= MOST_TRIALS / 2 or n != int(n):
        raise ValueError(f"n: must be a whole number from 0 to {MOST_TRIALS // 2}")
    if not (isfinite(s) and s >= 0):
        raise ValueError("s: must be finite and at least 0")
    if not 0 <= alpha <= 1:
        raise ValueError("alpha: must be from 0 to 1")
    less = min(alpha, 1 - alpha)
    if n == 0 or s == 0 or less == 0:
        return log_gamma_tail(n, s)
    if less == 0.5:
        return log_gamma_tail(2 * n, 2 * s)
    if s < n:  # below the mean the lower tail is the small one
        return float(np.log1p(-np.exp(_log_mean_over_split(n, s, less, lower=True)))) + 0.0
    return _log_mean_over_split(n, s, less, lower=False)


def _at_least_zero(field: str, value: ArrayLike) -> Numbers:
    numbers = np.asarray(value, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError(f"{field}: must be finite and at least 0")
    return numbers


def _log_gamma_tails(n: Numbers, s: Numbers) -> Numbers:
    """Ln Q for one-dimensional arrays of positive n and s."""
    upper = special.gammaincc(n, s)
    far = (upper < LEAST) & (s > n)
    with np.errstate(divide="ignore"):
        result = np.where(upper > 0.5, -0.0, np.log(upper))
    if far.any():
        result[far] = _log_gamma_prefactor(n[far], s[far]) + np.log(_upper_fraction(n[far], s[far]))
    likely = upper > 0.5
    if likely.any():
        result[likely] = np.log1p(-np.exp(_log_gamma_lowers(n[likely], s[likely])))
    return np.asarray(result + 0.0)


def _log_gamma_lowers(n: Numbers, s: Numbers) -> Numbers:
    """Ln P for one-dimensional arrays of positive n and s, at most the mean where it matters."""
    with np.errstate(divide="ignore"):
        result = np.asarray(np.log(special.gammainc(n, s)))
    # scipy stops a power series after 2,000 terms here, too early for n of a million: off by a thousandth
    far = (n > SERIES_UNTIL) & (s < n - SERIES_DEVIATIONS * np.sqrt(n))
    if far.any():
        result[far] = _log_gamma_prefactor(n[far], s[far]) + np.log(_lower_fraction(n[far], s[far]))
    return result


def _log_gamma_prefactor(n: Numbers, s: Numbers) -> Numbers:
    """Ln(e⁻ˢ sⁿ / Γ(n))."""
    excess = (s - n) / n
    return np.asarray(-n * (excess - np.log1p(excess)) + 0.5 * np.log(n / (2 * np.pi)) - _stirling(n))


def _upper_fraction(n: Numbers, s: Numbers) -> Numbers:
    """The continued fraction of the upper tail (Abramowitz and Stegun 6.5.31), by Lentz's method."""
    partial = s + 1 - n
    above = np.full_like(n, np.inf)  # 1/0 of the first step
    below = 1 / partial
    fraction = below.copy()
    for step in range(1, STEPS):
        numerator = step * (n - step)
        partial = partial + 2
        below = 1 / (numerator * below + partial)
        above = partial + numerator / above
        change = above * below
        fraction *= change
        if (np.abs(change - 1) < 1e-15).all():
            break
    return np.asarray(fraction)


def _lower_fraction(n: Numbers, s: Numbers) -> Numbers:
    """The continued fraction of the lower tail (NIST's handbook, 8.9.1), by Lentz's method: fast well below the mean."""
    inverse, above, below = n.copy(), n.copy(), np.zeros_like(n)
    for step in range(1, STEPS):
        numerator = -(n + (step - 1) // 2) * s if step % 2 else step // 2 * s
        partial = n + step
        below = 1 / (partial + numerator * below)
        above = partial + numerator / above
        change = above * below
        inverse *= change
        if (np.abs(change - 1) < 1e-15).all():
            break
    return np.asarray(1 / inverse)


def _log_binomial_tails(n: Numbers, p: Numbers, k: Numbers) -> Numbers:
    """Ln I_p(k, n − k + 1) for one-dimensional arrays with 1 ≤ k ≤ n."""
    upper = special.betainc(k, n - k + 1, p)
    lower = special.betaincc(k, n - k + 1, p)
    far = (upper < LEAST) & (k > n * p)
    with np.errstate(divide="ignore"):
        result = np.where(upper > 0.5, np.log1p(-lower), np.log(upper))
    if far.any():
        result[far] = _log_binomial_far(n[far], p[far], k[far])
    return np.asarray(result + 0.0)


def _log_binomial_far(n: Numbers, p: Numbers, k: Numbers) -> Numbers:
    """Ln I_p(a, b) with a = k, b = n − k + 1, far above the mean: C(n, k) pᵏ (1 − p)ᵇ times a continued fraction."""
    rest = n - k
    prefactor = _stirling(n) - _stirling(k) - _stirling(rest) - _deviance(k, n * p) - _deviance(rest, n * (1 - p))
    prefactor += 0.5 * (np.log(n / k) - np.log(2 * np.pi * np.maximum(rest, 1 / (2 * np.pi)))) + np.log1p(-p)
    a, b = k, rest + 1
    above = np.ones_like(n)
    below = 1 / (1 - (a + b) * p / (a + 1))
    fraction = below.copy()
    for step in range(1, STEPS):
        even = step * (b - step) * p / ((a + 2 * step - 1) * (a + 2 * step))
        below = 1 / (1 + even * below)
        above = 1 + even / above
        fraction *= above * below
        odd = -(a + step) * (a + b + step) * p / ((a + 2 * step) * (a + 2 * step + 1))
        below = 1 / (1 + odd * below)
        above = 1 + odd / above
        change = above * below
        fraction *= change
        if (np.abs(change - 1) < 1e-15).all():
            break
    return np.asarray(prefactor + np.log(fraction))


def _stirling(n: Numbers) -> Numbers:
    """Ln Γ(n + 1) − (n ln n − n + ½ ln 2πn), for n > 0; at n = 0 the same without the last term, which is 0."""
    large = np.maximum(n, STIRLING_FROM)
    series: Any = 0.0
    for coefficient in reversed(STIRLING):
        series = coefficient + series / (large * large)
    some = np.maximum(n, 1e-300)
    small = special.gammaln(some + 1) - (some * np.log(some) - some + 0.5 * np.log(2 * np.pi * some))
    return np.asarray(np.where(n >= STIRLING_FROM, series / large, np.where(n > 0, small, 0.0)))


def _deviance(x: Numbers, mean: Numbers) -> Numbers:
    """X ln(x / mean) + mean − x without cancellation; mean at x = 0."""
    excess = (x - mean) / mean
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (1 + excess) * np.log1p(excess) - excess
    return np.asarray(mean * np.where(x > 0, terms, 1.0))


def _log_mean_over_split(n: int, s: float, alpha: float, *, lower: bool) -> float:
    """Ln E[Q(2n, s / c(B))] or of the lower tail P, c(B) = α + (1 − 2α) B, B ~ Beta(n, n), 0 < α < ½."""
    constant = 0.5 * np.log(n / (4 * np.pi)) + _stirling_shift(n)

    def integrand(logits: Numbers) -> Numbers:
        scales = alpha + (1 - 2 * alpha) * special.expit(logits)
        tails = (_log_gamma_lowers if lower else _log_gamma_tails)(np.full_like(logits, 2.0 * n), s / scales)
        return np.asarray(constant - 2 * n * _log_cosh(logits / 2) + tails)

    start, end = _support(integrand, 2 * NEGLIGIBLE + max(0.0, log(s / n)))
    total = -np.inf
    points = FEWEST_POINTS
    while True:
        grid, step = np.linspace(start, end, points + 1, retstep=True)
        latest = float(special.logsumexp(integrand(grid)) + np.log(step))
        if abs(latest - total) < AGREEMENT * max(1.0, abs(latest)) or points >= MOST_POINTS or latest == -np.inf:
            return min(latest, 0.0)
        total, points = latest, points * 2


def _stirling_shift(n: int) -> float:
    both, one = _stirling(np.array([2.0 * n, float(n)]))
    return float(both - 2 * one)


def _log_cosh(x: Numbers) -> Numbers:
    """Ln cosh x, exact near 0, where it is multiplied by millions."""
    size = np.abs(x)
    near = 0.5 * np.log1p(np.sinh(np.minimum(size, 1.0)) ** 2)
    return np.asarray(np.where(size < 1, near, size + np.log1p(np.exp(-2 * size)) - np.log(2)))


def _support(integrand: Callable[[Numbers], Numbers], reach: float) -> tuple[float, float]:
    """Where a function with one maximum is above e⁻⁶⁰ of it, within ±reach: ever finer grids around what is above."""
    start, end = -reach, reach
    while True:
        grid = np.linspace(start, end, FEWEST_POINTS + 1)
        values = integrand(grid)
        above = np.flatnonzero(values > values.max() - NEGLIGIBLE)
        if not len(above):  # minus infinity everywhere
            return start, end
        narrow = float(grid[max(above[0] - 1, 0)]), float(grid[min(above[-1] + 1, FEWEST_POINTS)])
        if narrow[1] - narrow[0] > 0.75 * (end - start):
            return start, end
        start, end = narrow
