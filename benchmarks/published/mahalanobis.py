"""Mahalanobis: the mean squared distance of a window's texts from the reference, in units of the reference's own spread.

Lee et al., NeurIPS 2018 (out-of-distribution detection); "marginal" in the artefact of arXiv 2606.05725.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SHRINK = 0.1
"""Share of the mean variance in the covariance: a thousand texts do not determine 384 × 384 numbers."""


class Mahalanobis:
    """Fitted on a reference, float32 of shape (n, d)."""

    name = "Mahalanobis"

    def __init__(self, reference: Floats) -> None:
        self._mean = reference.mean(axis=0)
        covariance = np.cov(reference.T.astype(np.float64))
        covariance = (1 - SHRINK) * covariance + SHRINK * np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
        self._root = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)

    def statistic(self, window: Floats) -> float:
        """Mean squared distance of a window, shape (k, d)."""
        return float(np.square((window - self._mean) @ self._root).sum(axis=1).mean())
