"""Marginal Mahalanobis distance (Podolskiy et al., AAAI 2021): how far from the Gaussian of reference queries.

The score of a window is the mean over its queries. The null needs reference queries that the Gaussian was not fitted to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-6


class Mahalanobis:
    """Fitted on a reference: its mean, shape (width,), main directions as columns, and variances along them."""

    name = "Mahalanobis"

    def __init__(self, reference: NDArray[np.float32]) -> None:
        self.mean = reference.mean(axis=0, dtype=np.float64)
        centred = reference - self.mean
        variances, self.directions = np.linalg.eigh(centred.T @ centred / len(reference))
        self.variances = np.maximum(variances, 0.0) + RIDGE
        self._centre, self._axes = self.mean.astype(np.float32), self.directions.astype(np.float32)

    def distances(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Squared distance of each, shape (k,)."""
        along = (embeddings - self._centre) @ self._axes
        squared: NDArray[np.float64] = (along**2 / self.variances).sum(axis=1)
        return squared

    def statistic(self, window: NDArray[np.float32]) -> float:
        """Mean squared distance of a window, shape (k, width)."""
        return float(self.distances(window).mean())
