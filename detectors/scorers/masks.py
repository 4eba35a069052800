"""Trees as bit masks: where a row ends up in every tree, without a walk.

QuickScorer (Lucchese et al., SIGIR 2015): a split that a row fails rules out the leaves on its left, so a row's leaf is the
lowest bit that the masks of all failed splits leave over. Which splits of a feature a value fails depends only on how many
of the feature's thresholds lie below it, so their masks are combined once, for every such count, and a row costs one search
and one AND of a line of masks per feature. A row comes out alike in any batch: there is no arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 1024
"""Rows taken at once, so that their masks stay in the cache of a core."""

_FEW = 64
"""Rows below which one call for all additions is faster than one for each column."""

_WORDS = ((8, np.uint8), (16, np.uint16), (64, np.uint64))
MOST_LEAVES = 64

_DE_BRUIJN = 0x03F79D71B4CB0A89
_PLACE = np.zeros(64, np.intp)
for _bit in range(64):
    _PLACE[((_DE_BRUIJN << _bit) & 0xFFFFFFFFFFFFFFFF) >> 58] = _bit
_LOWEST16 = np.zeros(1 << 16, np.uint8)
for _bit in range(15, -1, -1):
    _LOWEST16[1 << _bit :: 1 << (_bit + 1)] = _bit


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree as arrays by node; node 0 is the root.

    Attributes:
        feature: column of the split; −1 at a leaf.
        threshold: a row goes left when its value is at most this.
        left: child; right: child.
        missing_left: where a value that is NaN goes.
        value: of a leaf.
    """

    feature: Sequence[int]
    threshold: Sequence[float]
    left: Sequence[int]
    right: Sequence[int]
    missing_left: Sequence[bool]
    value: Sequence[float]


@dataclass(frozen=True)
class MaskTrees:
    """Trees side by side.

    Attributes:
        columns: those that some split looks at, ascending.
        thresholds: by column, sorted and different.
        masks: by column, of shape (thresholds + 2, trees): what is left when so many thresholds lie below the value; the
            last line for NaN.
        values: float64 of shape (trees, leaves of the largest), by leaf from the left; where masks have eight bits, of
            shape (trees, 256), by mask: that saves a look-up.
    """

    columns: tuple[int, ...]
    thresholds: tuple[NDArray[np.float64], ...]
    masks: tuple[NDArray[np.unsignedinteger], ...]
    values: NDArray[np.float64]

    def sums(self, rows: NDArray[np.float64], start: float = 0.0) -> NDArray[np.float64]:
        """`start` and the values of the leaves that a row ends up in, added tree after tree.

        Args:
            rows: float64 of shape (n, columns); NaN is missing.
            start: what the sum begins with.
        """
        count, trees = len(rows), len(self.values)
        out = np.empty(count)
        line = np.arange(trees) * self.values.shape[1]
        flat = self.values.ravel()
        bins = self._bins(rows)
        for begin in range(0, count, CHUNK):
            part = slice(begin, min(count, begin + CHUNK))
            left = np.full((part.stop - begin, trees), self.masks[0].dtype.type(-1 % (1 << (8 * self.masks[0].itemsize))))
            held = np.empty_like(left)
            for at, table in enumerate(self.masks):
                np.take(table, bins[at][part], axis=0, out=held, mode="clip")
                np.bitwise_and(left, held, out=left)
            leaf = left if left.dtype == np.uint8 else _lowest(left)
            out[part] = summed(flat[leaf + line], start)
        return out

    def _bins(self, rows: NDArray[np.float64]) -> list[NDArray[np.intp]]:
        """How many thresholds lie below each value; one more than all of them for NaN, which sorts behind everything."""
        found = []
        for column, thresholds in zip(self.columns, self.thresholds, strict=True):
            values = np.ascontiguousarray(rows[:, column])
            bins = np.searchsorted(thresholds, values, side="left")
            bins[np.isnan(values)] = len(thresholds) + 1
            found.append(bins)
        return found


def compiled(trees: Sequence[Tree]) -> MaskTrees:
    """Masks of trees.

    Raises:
        ValueError: a tree has more than 64 leaves.
    """
    orders = [_leaves(tree) for tree in trees]
    most = max(len(leaves) for leaves, _ in orders)
    bits, word = next(known for known in _WORDS if known[0] >= most)
    full = (1 << bits) - 1
    splits: dict[int, list[tuple[float, int, bool, int]]] = {}
    values = np.zeros((len(trees), most))
    for number, (tree, (leaves, spans)) in enumerate(zip(trees, orders, strict=True)):
        values[number, : len(leaves)] = [tree.value[leaf] for leaf in leaves]
        for node, (first, middle) in spans.items():
            ruled_out = ((1 << middle) - 1) ^ ((1 << first) - 1)
            entry = (float(tree.threshold[node]), number, bool(tree.missing_left[node]), full ^ ruled_out)
            splits.setdefault(int(tree.feature[node]), []).append(entry)
    # Of a history in which nobody differs no tree has a split: then a column without thresholds stands for all of them.
    splits = splits or {0: []}
    columns = tuple(sorted(splits))
    thresholds, masks = [], []
    for column in columns:
        known = np.unique([entry[0] for entry in splits[column]])
        table = np.full((len(known) + 2, len(trees)), full, word)
        for threshold, number, missing_left, mask in splits[column]:
            table[int(np.searchsorted(known, threshold)) + 1, number] &= word(mask)
            if not missing_left:
                table[-1, number] &= word(mask)
        table[:-1] = np.bitwise_and.accumulate(table[:-1], axis=0)
        thresholds.append(known)
        masks.append(table)
    if bits == 8:
        values = np.pad(values, ((0, 0), (0, 8 - most)))[:, _LOWEST16[:256]]
    return MaskTrees(columns, tuple(thresholds), tuple(masks), values)


def _leaves(tree: Tree) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """Leaves from left to right, and for every split the first leaf below it and the first on its right."""
    leaves: list[int] = []
    spans: dict[int, tuple[int, int]] = {}
    todo: list[tuple[int, int]] = [(0, -1)]  # node, and the first leaf below it once its left side is done
    while todo:
        node, first = todo.pop()
        if first >= 0:
            spans[node] = (first, len(leaves))
            todo.append((int(tree.right[node]), -1))
        elif tree.feature[node] < 0:
            leaves.append(node)
            if len(leaves) > MOST_LEAVES:
                raise ValueError(f"a tree has more than {MOST_LEAVES} leaves")
        else:
            todo += [(node, len(leaves)), (int(tree.left[node]), -1)]
    return leaves, spans


def _lowest(masks: NDArray[np.unsignedinteger]) -> NDArray[np.intp]:
    """Number of the lowest bit that is set."""
    if masks.dtype == np.uint64:
        alone = masks & (~masks + np.uint64(1))
        found: NDArray[np.intp] = _PLACE[(alone * np.uint64(_DE_BRUIJN)) >> np.uint64(58)]
        return found
    return np.asarray(_LOWEST16[masks], np.intp)


def summed(values: NDArray[np.float64], start: float = 0.0) -> NDArray[np.float64]:
    """Sum of every row, from the left and one after the other: numpy's own sum may order its additions by the shape."""
    if len(values) < _FEW:
        whole = np.concatenate([np.full((len(values), 1), start), values], axis=1)
        return np.asarray(np.add.accumulate(whole, axis=1)[:, -1])
    total = np.full(len(values), start)
    for column in range(values.shape[1]):
        total += values[:, column]
    return total
