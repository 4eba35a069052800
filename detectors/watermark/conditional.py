"""The exact tail of a codeword's score, given the text.

Given the text, its table is a set of fixed numbers, and an innocent tenant's codeword is drawn independently of them: one
of the symbols at each position, each with the same probability. So the score is a sum of independent draws from the
table's rows, whatever the text repeats, however it was tokenised, and whoever else it went through. The rows are put on a
fine grid and the score is defined on that grid, so its distribution is the convolution of the rows, without
approximation: only positive numbers are added, hence every tail keeps its digits down to symbols^−positions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELLS = 1 << 14
"""Of the grid, over the whole range of the score: a rounding of at most half a cell per position."""

LEAST = -700.0
"""Natural logarithm below which a tail is not told apart: the end of float64."""


class ConditionalNull:
    """Of the sum over positions of one entry of each row.

    Args:
        table: float of shape (positions, symbols).
        cells: of the grid.
    """

    __slots__ = ("_first", "_log_tail", "grid", "mean", "spread")

    def __init__(self, table: NDArray[np.floating], cells: int = CELLS) -> None:
        low = table.min(axis=1, keepdims=True)
        spans = (table - low).max(axis=1)
        step = max(float(spans.sum()) / cells, 1e-12)
        self.grid: NDArray[np.int32] = np.rint((table - low) / step).astype(np.int32)
        """The table on the grid: int32 of the same shape; a codeword's score is the sum of its entries."""
        self.mean = float(self.grid.mean(axis=1).sum())
        self.spread = float(np.sqrt(self.grid.var(axis=1).sum()))
        with np.errstate(divide="ignore"):
            tail = np.cumsum(_distribution(self.grid)[::-1])[::-1]
            self._log_tail = np.maximum(np.log(np.minimum(tail, 1.0)), LEAST)

    def scores(self, words: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Of codewords, on the grid.

        Args:
            words: uint8 of shape (codewords, positions).

        Returns:
            int64 of shape (codewords,).
        """
        return _gathered(self.grid, words)

    def log_tail(self, scores: NDArray[np.int64]) -> NDArray[np.float64]:
        """ln P[score of an innocent ≥ these]; float64 of the same shape."""
        inside = np.minimum(scores, len(self._log_tail) - 1)
        return np.asarray(np.where(scores < len(self._log_tail), self._log_tail[inside], LEAST))


def _distribution(grid: NDArray[np.int32]) -> NDArray[np.float64]:
    """Of the sum of one entry per row, each with the same probability; float64 of shape (highest sum + 1,)."""
    made = np.ones(1)
    for row in grid:
        places, times = np.unique(row, return_counts=True)
        wider = np.zeros(len(made) + int(places[-1]))
        for place, share in zip(places.tolist(), (times / len(row)).tolist(), strict=True):
            wider[place : place + len(made)] += share * made
        made = wider
    return made


def _gathered(grid: NDArray[np.int32], words: NDArray[np.uint8], block: int = 1 << 15) -> NDArray[np.int64]:
    """Sums over positions, two positions a look-up: half the work of one at a time."""
    positions, symbols = grid.shape
    half = positions // 2
    pairs = (grid[0 : 2 * half : 2, :, None] + grid[1 : 2 * half : 2, None, :]).reshape(half, symbols * symbols)
    total = np.zeros(len(words), np.int64)
    for first in range(0, len(words), block):
        part = words[first : first + block].T
        joint = part[0 : 2 * half : 2].astype(np.intp) * symbols + part[1 : 2 * half : 2]
        score = np.zeros(part.shape[1], np.int64)
        for number in range(half):
            score += pairs[number].take(joint[number])
        if positions % 2:
            score += grid[-1].take(part[-1])
        total[first : first + block] = score
    return total
