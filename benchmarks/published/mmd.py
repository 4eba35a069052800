"""Maximum mean discrepancy (Gretton et al., JMLR 2012) with the settings of arXiv 2606.05725.

Kernel: mean of four Gaussians at {½, 1, 2, 4} times the median distance of reference queries. A window's score is the mean,
over 20 random reference draws of its size, of the unbiased squared discrepancy. The published null are single
discrepancies of 1,000 disjoint pairs of reference windows, which vary more than a mean of twenty: a test that is called 5 %
is far stricter. `matched_null` scores windows as they are scored in use, against references that do not hold them.

Every sum over a window is one product with the kernel matrix of the whole pool, computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTHS = (0.5, 1.0, 2.0, 4.0)
DRAWS = 20
BANDWIDTH_SAMPLE = 2000

Kernel = NDArray[np.float32]
Rows = NDArray[np.float32]
"""Membership of windows, one a row: 1 for each query of the pool that it holds."""


def median_distance(reference: NDArray[np.float32], rng: np.random.Generator) -> float:
    """Median Euclidean distance of different reference queries; 1.0 where all are equal."""
    chosen = reference[rng.choice(len(reference), min(BANDWIDTH_SAMPLE, len(reference)), replace=False)]
    squared = squared_distances(chosen, chosen)[np.triu_indices(len(chosen), 1)]
    apart = squared[squared > 1e-9]
    return float(np.sqrt(np.median(apart))) if len(apart) else 1.0


def squared_distances(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean, of embeddings of shapes (m, width) and (n, width): shape (m, n)."""
    squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2.0 * (one @ other.T)
    clipped: NDArray[np.float32] = np.maximum(squared, 0.0)
    return clipped


def kernel(one: NDArray[np.float32], other: NDArray[np.float32], median: float) -> Kernel:
    """Mean of the four Gaussians, shape (m, n); the widest is computed, and each other is a fourth power of the next."""
    each = np.exp(squared_distances(one, other) / np.float32(-2.0 * (WIDTHS[-1] * median) ** 2))
    total = each.copy()
    for _ in WIDTHS[1:]:
        each = each**4
        total += each
    mean: Kernel = total / np.float32(len(WIDTHS))
    return mean


def within(matrix: Kernel, windows: Rows) -> NDArray[np.float64]:
    """Mean kernel of different queries of each window, shape (windows,)."""
    size = windows.sum(axis=1, dtype=np.float64)
    whole = np.einsum("wn,wn->w", windows @ matrix, windows, dtype=np.float64) - windows @ np.diag(matrix)
    mean: NDArray[np.float64] = whole / (size * (size - 1.0))
    return mean


def between(matrix: Kernel, windows: Rows, others: Rows) -> NDArray[np.float64]:
    """Mean kernel of each window's queries and the other's of the same row, shape (windows,)."""
    sizes = windows.sum(axis=1, dtype=np.float64) * others.sum(axis=1, dtype=np.float64)
    mean: NDArray[np.float64] = np.einsum("wn,wn->w", windows @ matrix, others, dtype=np.float64) / sizes
    return mean


def membership(count: int, places: NDArray[np.intp]) -> Rows:
    """Rows of 0 and 1 over a pool of `count` queries, of places in it, shape (windows, size)."""
    rows = np.zeros((len(places), count), np.float32)
    np.put_along_axis(rows, places, np.float32(1.0), axis=1)
    return rows


@dataclass(frozen=True, slots=True)
class Mmd:
    """The test against one reference pool: embeddings of shape (n, width), their kernel, and the median distance."""

    reference: NDArray[np.float32]
    matrix: Kernel
    median: float

    @classmethod
    def fit(cls, reference: NDArray[np.float32], rng: np.random.Generator) -> Mmd:
        """Of unit embeddings, n ≥ 2."""
        median = median_distance(reference, rng)
        return cls(reference, kernel(reference, reference, median), median)

    def statistic(self, window: NDArray[np.float32], rng: np.random.Generator) -> float:
        """Mean unbiased squared discrepancy to `DRAWS` reference draws of the window's size."""
        size = len(window)
        own = kernel(window, window, self.median)
        own_mean = (float(own.sum(dtype=np.float64)) - size) / (size * (size - 1))
        to_each = kernel(window, self.reference, self.median).mean(axis=0, dtype=np.float64)
        draws = membership(len(self.reference), self._draw(DRAWS, size, rng))
        return own_mean + float((within(self.matrix, draws) - 2.0 * (draws @ to_each) / size).mean())

    def published_null(self, size: int, windows: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Sorted discrepancies of disjoint pairs of reference windows; needs 2 · size ≤ n."""
        both = self._draw(windows, 2 * size, rng)
        one, other = (membership(len(self.reference), half) for half in (both[:, :size], both[:, size:]))
        matrix = self.matrix
        return np.sort(within(matrix, one) + within(matrix, other) - 2.0 * between(matrix, one, other))

    def matched_null(self, size: int, windows: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Sorted scores of reference windows, each against draws from the rest of the reference; needs 2 · size ≤ n."""
        count = len(self.reference)
        scores = np.zeros(windows)
        for at in range(windows):
            order = rng.permutation(count)
            window = membership(count, order[None, :size])
            rest = order[size:]
            places = np.stack([rng.choice(rest, size, replace=False) for _ in range(DRAWS)])
            draws = membership(count, places)
            to_each = (window @ self.matrix)[0] / size
            scores[at] = within(self.matrix, window)[0] + (within(self.matrix, draws) - 2.0 * draws @ to_each / size).mean()
        return np.sort(scores)

    def _draw(self, windows: int, size: int, rng: np.random.Generator) -> NDArray[np.intp]:
        return np.stack([rng.choice(len(self.reference), size, replace=False) for _ in range(windows)])
