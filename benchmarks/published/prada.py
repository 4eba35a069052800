"""PRADA (Juuti et al., EuroS&P 2019), per window: distances of honest queries to their neighbours look normal.

The score is 1 − W of Shapiro and Wilk over each query's distance to the nearest other one of the window, without outliers
beyond three standard deviations. The original keeps a growing set per client and predicted class instead of a window and
has no two-sided threshold; text has no predicted class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import shapiro

SIGMAS = 3.0
LEAST = 3
"""Shapiro and Wilk need three values."""


def nearest_distances(window: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean distance of each query to the nearest other one, shape (n,), of embeddings of shape (n, width), n ≥ 2."""
    squares = (window.astype(np.float64) ** 2).sum(axis=1)
    squared = squares[:, None] + squares[None, :] - 2.0 * (window @ window.T).astype(np.float64)
    np.fill_diagonal(squared, np.inf)
    nearest: NDArray[np.float64] = np.sqrt(np.maximum(squared.min(axis=1), 0.0))
    return nearest


def abnormality(distances: NDArray[np.float64]) -> float:
    """1 − W in [0, 1], higher for values less like a normal distribution; 0.0 where all are equal or fewer than three."""
    spread = float(distances.std())
    if len(distances) < LEAST or spread <= 1e-12:
        return 0.0
    kept = distances[np.abs(distances - distances.mean()) <= SIGMAS * spread]
    if len(kept) < LEAST:
        kept = distances
    if float(np.ptp(kept)) <= 1e-12:
        return 0.0
    return 1.0 - float(shapiro(kept).statistic)


class Prada:
    """Needs no fit: it compares a window with a bell curve."""

    name = "PRADA"

    def __init__(self, reference: NDArray[np.float32]) -> None:
        del reference

    def statistic(self, window: NDArray[np.float32]) -> float:
        """Of a window, shape (k, width), k ≥ 2."""
        return abnormality(nearest_distances(window))
