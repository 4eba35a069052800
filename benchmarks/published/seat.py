"""SEAT (Zhang, Chen and Wagner, AISec 2021), per window: attackers send queries that resemble each other.

The score is the share of pairs in a window at least as similar as the bound, the 99th percentile of the cosines of pairs of
reference queries. The original trains its own encoder, counts pairs per account and bans at a count; here the embedding is
the one every method gets, and both sides count as odd, since collectors of distillation data remove near-duplicates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PERCENTILE = 99.0
PAIRS = 200_000


def similarity_bound(reference: NDArray[np.float32], rng: np.random.Generator) -> float:
    """Cosine that one in a hundred pairs of reference queries reaches, of unit embeddings of shape (n, width), n ≥ 2."""
    one, other = np.triu_indices(len(reference), 1)
    if len(one) > PAIRS:
        chosen = rng.choice(len(one), PAIRS, replace=False)
        one, other = one[chosen], other[chosen]
    return float(np.percentile((reference @ reference.T)[one, other], PERCENTILE))


class Seat:
    """Fitted on a reference: its bound."""

    name = "SEAT"

    def __init__(self, reference: NDArray[np.float32]) -> None:
        self.bound = similarity_bound(reference, np.random.default_rng(0))

    def statistic(self, window: NDArray[np.float32]) -> float:
        """Share of similar pairs, in [0, 1], of a window, shape (k, width), k ≥ 2."""
        similar = window @ window.T >= self.bound
        np.fill_diagonal(similar, False)
        return int(similar.sum()) / (len(window) * (len(window) - 1))
