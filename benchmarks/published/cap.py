"""Coverage, from "Stealing and Defending the Ends of LLMs" (after B4B, Dubiński et al., NeurIPS 2023): attackers see more.

Random planes cut the embedding space into 2,048 buckets. A window costs more, the more buckets it visited and the wider it
spreads. The original adds noise to answers in proportion to the cost; the adaptation compares costs with a threshold, on
both sides, because many harvests visit less than honest traffic.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BITS = 11
"""2,048 buckets."""
LAMBDA, ALPHA, BETA = 0.0005, 8.0, 0.19
COVERAGE_WEIGHT, NOVELTY_WEIGHT, SPREAD_WEIGHT = 0.05, 0.35, 0.45
MOST_EXPONENT, MOST_SPREAD = 700.0, 1.0


def planes(width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Normals of the planes, float32 of shape (width, BITS)."""
    return rng.standard_normal((width, BITS)).astype(np.float32)


def buckets(embeddings: NDArray[np.float32], cuts: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bucket of each embedding, shape (n,): a bit for each plane it lies above."""
    numbers: NDArray[np.int64] = ((embeddings @ cuts >= 0.0) @ (1 << np.arange(cuts.shape[1]))).astype(np.int64)
    return numbers


def cost(coverage: float, new_rate: float, spread: float) -> float:
    """Of the share of all buckets visited, new buckets a query, and root mean squared distance from the mean."""
    exponent = min(coverage / BETA * math.log(ALPHA / LAMBDA), MOST_EXPONENT)
    novelty = ALPHA * NOVELTY_WEIGHT * new_rate
    return (
        LAMBDA + COVERAGE_WEIGHT * math.expm1(exponent) + novelty + ALPHA * SPREAD_WEIGHT * min(spread / MOST_SPREAD, 1.0)
    )


class Cap:
    """Needs no fit beyond its planes."""

    name = "CAP"

    def __init__(self, reference: NDArray[np.float32]) -> None:
        self.planes = planes(reference.shape[1], np.random.default_rng(0))

    def statistic(self, window: NDArray[np.float32]) -> float:
        """Cost of a window, shape (k, width), as a client's first queries."""
        visited = len(np.unique(buckets(window, self.planes)))
        spread = float(np.sqrt(((window - window.mean(axis=0)) ** 2).sum(axis=1).mean()))
        return cost(visited / 2**BITS, visited / len(window), spread)
