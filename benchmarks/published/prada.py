"""PRADA: are the distances from each query to the nearest earlier one normally distributed?

Juuti et al., EuroS&P 2019, arXiv 1805.02628, and its reference code: a query joins the growing set when it is farther than
a threshold T from it, T = max(T, mean − standard deviation of the set's distances); outliers beyond three standard
deviations are dropped; the statistic is the W of Shapiro and Wilk. Adapted: texts have no predicted class, so there is one
set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import shapiro

Floats = NDArray[np.float32]


class Prada:
    """Needs no fit: it compares a client with its own past."""

    name = "PRADA"

    def __init__(self, reference: Floats) -> None:
        del reference

    def statistic(self, window: Floats) -> float:
        """1 − W of the nearest distances of a window, shape (k, d), in its order: higher is less normal."""
        squares = np.square(window).sum(axis=1)
        distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2.0 * (window @ window.T), 0.0))
        kept = [0]
        grown: list[float] = []
        nearest = []
        bar = 0.0
        for at in range(1, len(window)):
            least = float(distances[at, kept].min())
            nearest.append(least)
            if least > bar:
                kept.append(at)
                grown.append(least)
                bar = max(bar, float(np.mean(grown) - np.std(grown)))
        values = np.array(nearest)
        inside = values[np.abs(values - values.mean()) <= 3.0 * values.std()]
        if len(inside) < 3 or np.ptp(inside) == 0.0:
            return 1.0
        return 1.0 - float(shapiro(inside).statistic)
