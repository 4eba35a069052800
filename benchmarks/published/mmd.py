"""MMD: "An Embarrassingly Simple Detector" (Liu, Guo and Dong, arXiv 2606.05725), with its own settings and as a matched
test.

The kernel is the mean of four Gaussians at {½, 1, 2, 4} times the median distance of the reference. The statistic of a
window is the mean over 20 random reference draws of the same size of the unbiased MMD² (Gretton et al., JMLR 2012). The
paper's null is 1,000 pairs of disjoint reference windows and its threshold their 95th percentile; the statistic averages 20
draws and the null does not, so that test is far stricter than it says. Everything is a product of the kernel matrix with
windows as columns of ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
WIDTHS = (0.5, 1.0, 2.0, 4.0)
DRAWS = 20
BANK = 400
"""Reference windows that the draws are taken from."""

NULL_PAIRS = 1000
PERCENTILE = 95.0


class Mmd:
    """All texts of a pair embedded, the first `reference` rows of which are the reference."""

    name = "MMD"

    def __init__(self, rows: Floats, reference: int, seed: int) -> None:
        squares = np.square(rows).sum(axis=1)
        distances = np.maximum(squares[:, None] + squares[None, :] - 2.0 * (rows @ rows.T), 0.0)
        inside = distances[:reference, :reference]
        median = float(np.median(np.sqrt(inside[np.triu_indices(reference, 1)])))
        kernel = np.zeros_like(distances)
        for width in WIDTHS:
            kernel += np.exp(-distances / (2.0 * (width * median) ** 2)) / len(WIDTHS)
        np.fill_diagonal(kernel, 0.0)
        self._kernel = kernel
        self._reference = reference
        self._rng = np.random.default_rng(seed)

    def _ones(self, windows: NDArray[np.intp]) -> Floats:
        out = np.zeros((len(self._kernel), len(windows)), np.float32)
        out[windows.T, np.arange(len(windows))] = 1.0
        return out

    def statistics(self, windows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Of windows of row numbers, shape (m, k), each without repeats."""
        count = windows.shape[1]
        size = min(count, self._reference // 2)
        bank = np.array([self._rng.permutation(self._reference)[:size] for _ in range(BANK)])
        own, drawn = self._ones(windows), self._ones(bank)
        weighted = self._kernel @ drawn
        within_bank = np.einsum("nb,nb->b", drawn, weighted, dtype=np.float64) / (size * (size - 1))
        within = np.einsum("nm,nm->m", own, self._kernel @ own, dtype=np.float64) / (count * (count - 1))
        across = (own.T @ weighted).astype(np.float64) / (count * size)
        every = within[:, None] + within_bank[None, :] - 2.0 * across
        return np.array([row[self._rng.permutation(BANK)[:DRAWS]].mean() for row in every])

    def published_threshold(self, count: int) -> float:
        """The paper's: 95th percentile of the unbiased MMD² of disjoint pairs of reference windows of so many texts."""
        size = min(count, self._reference // 2)
        found = []
        for _ in range(NULL_PAIRS):
            order = self._rng.permutation(self._reference)[: 2 * size]
            one, other = order[:size], order[size:]
            blocks = (self._kernel[np.ix_(one, one)], self._kernel[np.ix_(other, other)], self._kernel[np.ix_(one, other)])
            inner = (float(blocks[0].sum()) + float(blocks[1].sum())) / (size * (size - 1))
            found.append(inner - 2.0 * float(blocks[2].mean()))
        return float(np.percentile(found, PERCENTILE))
