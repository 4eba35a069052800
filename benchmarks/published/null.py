"""Where a window's score stands among those of windows drawn from reference traffic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

NULL_WINDOWS = 1000
"""As published."""

Embeddings = NDArray[np.float32]
Score = Callable[[Embeddings], float]


def drawn(
    pool: Embeddings, size: int, score: Score, rng: np.random.Generator, windows: int = NULL_WINDOWS
) -> NDArray[np.float64]:
    """Sorted scores of windows drawn from a pool, each without replacement; windows share texts with each other.

    Args:
        pool: of shape (n, width), n ≥ size.
        size: queries a window.
    """
    scores = [score(pool[rng.choice(len(pool), size, replace=False)]) for _ in range(windows)]
    return np.sort(np.array(scores))


def upper(null: NDArray[np.float64], score: float) -> float:
    """P-value of a score that is odd when it is high, (1 + reference windows at or above it) / (1 + all of them)."""
    at_least = len(null) - int(np.searchsorted(null, score, "left"))
    return (1 + at_least) / (1 + len(null))


def two_sided(null: NDArray[np.float64], score: float) -> float:
    """P-value of a score that is odd on either side: twice the smaller of both, at most 1."""
    at_most = int(np.searchsorted(null, score, "right"))
    return min(1.0, 2.0 * min(upper(null, score), (1 + at_most) / (1 + len(null))))
