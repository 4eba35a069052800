"""The exact upper tail of a weighted sum of fair coins, as a logarithm.

X = Σ wₗ Bₗ with whole weights and Bₗ ~ Bin(n, ½). Its distribution is tilted until its mean is the score asked for, and
the characteristic function of the tilted one is summed over so many frequencies that nothing wraps round: an exponential
change of measure takes out the tiny factor, so the sum itself keeps its digits however deep in the tail it lies
(Daniels, Saddlepoint Approximations in Statistics, 1954, but with the integral done and not approximated).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special

Numbers = NDArray[np.float64]

BEYOND = 50.0
"""e⁻⁵⁰: what may lie outside the window of the sum, and from where a frequency's share is left out."""

BLOCK = 65_536
MOST_WEIGHT = 4096


def whole_weights(weights: Sequence[float]) -> tuple[int, ...]:
    """Weights as whole numbers without a common factor; where they are not whole, rounded to 1/4096 of the largest.

    Raises:
        ValueError: one is negative or not finite, or all are 0.
    """
    given = np.asarray(weights, dtype=np.float64)
    if given.ndim != 1 or not len(given) or not (np.isfinite(given) & (given >= 0)).all() or not given.any():
        raise ValueError("weights: must be finite and at least 0, one of them above 0")
    whole = given if (given == np.floor(given)).all() else np.round(given * (MOST_WEIGHT / given.max()))
    numbers = [int(weight) for weight in whole]
    common = gcd(*numbers)
    return tuple(number // common for number in numbers)


def log_weighted_tail(n: int, weights: Sequence[int], score: int) -> float:
    """Ln P[Σ wₗ Bin(n, ½) ≥ score], for whole weights.

    Thirty weights below 300 take 0.1 s for a thousand tokens, a second for a hundred thousand.

    Raises:
        ValueError: n is negative, or a weight is.
    """
    if n < 0:
        raise ValueError("n: must be at least 0")
    some = np.array([weight for weight in weights if weight != 0], dtype=np.float64)
    if (some < 0).any():
        raise ValueError("weights: must be at least 0")
    top = n * int(some.sum())
    if score <= 0:
        return 0.0
    if score > top:
        return -inf
    if score == top:
        return -n * len(some) * log(2)
    if 2 * score <= top:  # the mirror image: X and top − X are alike
        return float(np.log1p(-np.exp(_log_upper(n, some, top - score + 1))))
    return _log_upper(n, some, score)


def _log_upper(n: int, weights: Numbers, score: int) -> float:
    """The tail above the mean, below the top."""
    if score == n * weights.sum():
        return -n * len(weights) * log(2)
    theta = _tilt(n, weights, score)
    shares = special.expit(theta * weights)
    variance = n * float((weights**2 * shares * (1 - shares)).sum())
    jump = float(weights.max())
    # Bernstein: a deviation beyond this has probability e^-BEYOND
    reach = int(BEYOND / 3 * jump + sqrt((BEYOND / 3 * jump) ** 2 + 2 * BEYOND * variance)) + 2
    reach = min(reach, n * int(weights.sum()))
    total = 0.0
    for start in range(0, reach + 1, BLOCK):
        total += _block(n, weights, shares, score, theta, reach, np.arange(start, min(start + BLOCK, reach + 1)))
    cumulant = n * float((np.logaddexp(0, theta * weights) - log(2)).sum())
    return min(0.0, cumulant - theta * score + log(total / (2 * reach + 1)))


def _block(
    n: int, weights: Numbers, shares: Numbers, score: int, theta: float, reach: int, index: NDArray[np.int64]
) -> float:
    """What some frequencies and their mirror images add to the sum over k of e^(−θk) P[X = score + k]."""
    frequencies = 2 * reach + 1

    def turned(by: float) -> Numbers:  # whole turns are taken off as whole numbers: a long phase would lose its digits
        return np.asarray(2 * np.pi / frequencies * (int(by) * index % frequencies), np.float64)

    size = np.zeros(len(index))
    for weight, share in zip(weights, shares, strict=True):
        size += np.log1p(-4 * share * (1 - share) * np.sin(turned(weight) / 2) ** 2)
    index = index[n / 2 * size > -BEYOND]
    if not len(index):
        return 0.0
    transform = np.zeros(len(index), complex)
    for weight, share in zip(weights, shares, strict=True):
        transform += np.log(1 - share + share * np.exp(1j * turned(weight)))
    characteristic = np.exp(n * transform - 1j * turned(score))
    steps = theta + 2j * np.pi / frequencies * index
    with np.errstate(invalid="ignore", divide="ignore"):
        kernel = np.expm1(-(reach + 1) * steps) / np.expm1(-steps)
    values = (characteristic * np.where(steps == 0, reach + 1, kernel)).real
    return float(2 * values.sum() - values[index == 0].sum())


def _tilt(n: int, weights: Numbers, score: int) -> float:
    """The θ at which the tilted mean is the score: one root, bracketed and halved."""
    low, high = 0.0, 1.0 / float(weights.min())
    while n * float((weights * special.expit(high * weights)).sum()) < score and high < 700:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if n * float((weights * special.expit(middle * weights)).sum()) < score:
            low = middle
        else:
            high = middle
        if high - low <= 1e-15 * high:
            break
    return (low + high) / 2
