"""CAP: what a client's coverage of the space costs.

The artefact of arXiv 2606.05725, after B4B (Dubiński et al., NeurIPS 2023): texts fall into 2,048 buckets of a
random-hyperplane hash; cost = λ + w_c(exp((coverage / β) ln(α / λ)) − 1) + α(w_n · share of queries in new buckets + w_s ·
spread), with α 8, β 0.19, λ 5e-4 and weights 0.05, 0.35, 0.45. Spread is the entropy of the bucket counts over its maximum.
"""

from __future__ import annotations

from math import exp, log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
BITS = 11
ALPHA, BETA, LAMBDA = 8.0, 0.19, 5e-4
W_COVERAGE, W_NEW, W_SPREAD = 0.05, 0.35, 0.45


class Cap:
    """Needs no fit beyond its hyperplanes and the buckets that the reference visits."""

    name = "CAP"

    def __init__(self, reference: Floats) -> None:
        self._centre = reference.mean(axis=0)
        self._planes = np.random.default_rng(0).standard_normal((reference.shape[1], BITS)).astype(np.float32)
        self._known = set(self._buckets(reference).tolist())

    def _buckets(self, rows: Floats) -> NDArray[np.int64]:
        found: NDArray[np.int64] = (((rows - self._centre) @ self._planes) > 0) @ (1 << np.arange(BITS))
        return found

    def statistic(self, window: Floats) -> float:
        """Cost of a window, shape (k, d)."""
        buckets, counts = np.unique(self._buckets(window), return_counts=True)
        coverage = len(buckets) / 2**BITS
        shares = counts / counts.sum()
        spread = float(-(shares * np.log(shares)).sum()) / log(max(2, len(window)))
        new = sum(int(count) for bucket, count in zip(buckets.tolist(), counts, strict=True) if bucket not in self._known)
        cost = LAMBDA + W_COVERAGE * (exp(coverage / BETA * log(ALPHA / LAMBDA)) - 1.0)
        return cost + ALPHA * (W_NEW * new / len(window) + W_SPREAD * spread)
