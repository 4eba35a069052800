"""SEAT: how many pairs of queries of one account are nearly the same?

Zhang, Chen and Wagner, AISec 2021: pairs nearer than τ under a similarity encoder are counted, and an account with many is
banned. The encoder here is the run's embedding; τ is chosen as in the artefact of arXiv 2606.05725, by the rate of such
pairs among honest texts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
PAIR_RATE = 1e-3
"""Of honest pairs: the artefact's 1e-4 is for accounts of 1,500 queries; windows of a hundred hold 4,950 pairs."""


class Seat:
    """Fitted on a reference, float32 of shape (n, d): its τ."""

    name = "SEAT"

    def __init__(self, reference: Floats) -> None:
        one, other = np.triu_indices(len(reference), 1)
        near = (reference @ reference.T)[one, other]
        self._least = float(np.quantile(near, 1.0 - PAIR_RATE))

    def statistic(self, window: Floats) -> float:
        """Share of near pairs of a window, shape (k, d)."""
        one, other = np.triu_indices(len(window), 1)
        return float(((window @ window.T)[one, other] >= self._least).mean())
