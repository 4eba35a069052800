"""Isolation forest as plain arrays: fitted by scikit-learn, exported, and walked by numpy.

The numbers agree with `sklearn.ensemble.IsolationForest.score_samples` (up to its sign) to the rounding of a sum. Every row
goes through the same operations in the same order whatever the batch, so the batch leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

TREES = 100
FEATURES_PER_TREE = 0.5
"""Each tree sees half of the features: oddness in few of them must not drown in the others. Full trees were no better."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees side by side.

    Attributes:
        feature: int32 of shape (trees, nodes); column of the split, −1 at a leaf.
        threshold: float64; go left when the value, rounded to float32 as scikit-learn does, is at most this.
        left: int32; right: int32; child nodes.
        depth: float64; at a leaf, its depth plus the expected depth of what it still holds.
        scale: expected depth of a tree, over which the mean depth is taken.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    depth: NDArray[np.float64]
    scale: float

    def isolations(self, rows: NDArray[np.float64]) -> list[float]:
        """How easily each row (shape (n, d)) is isolated, in (0, 1): about 0.5 for an ordinary one, higher when it is
        alone."""
        x = rows.astype(np.float32)
        trees = np.arange(len(self.feature))
        numbers = np.arange(len(x))[:, None]
        node = np.zeros((len(x), len(trees)), np.int32)
        while True:
            feature = self.feature[trees, node]
            inner = feature >= 0
            if not inner.any():
                break
            goes_left = x[numbers, feature] <= self.threshold[trees, node]
            child = np.where(goes_left, self.left[trees, node], self.right[trees, node])
            node = np.where(inner, child, node)
        total = np.zeros(len(x))
        for tree in trees:  # one after the other: numpy's own sum may order its additions by the number of rows
            total += self.depth[tree, node[:, tree]]
        return [2.0 ** (-value / (len(trees) * self.scale)) for value in total.tolist()]


def expected_depth(samples: float) -> float:
    """Mean depth of a leaf in a random tree of so many samples (Liu, Ting, Zhou 2008, equation 1)."""
    if samples <= 1:
        return 0.0
    if samples == 2:
        return 1.0
    return 2.0 * (log(samples - 1.0) + 0.5772156649015329) - 2.0 * (samples - 1.0) / samples


def fit(rows: NDArray[np.float64], seed: int) -> Forest:
    """Forest of a history's rows, shape (n, d), n ≥ 2."""
    return export(fit_sklearn(rows, seed))


def fit_sklearn(rows: NDArray[np.float64], seed: int) -> Any:
    """The scikit-learn estimator that `export` takes apart; needed for fitting only, and slow to import."""
    from sklearn.ensemble import IsolationForest

    estimator = IsolationForest(
        n_estimators=TREES, max_samples=min(len(rows), 1024), max_features=FEATURES_PER_TREE, random_state=seed
    )
    return estimator.fit(rows)


def export(estimator: Any) -> Forest:
    """scikit-learn's trees → arrays, padded to the largest tree."""
    trees = [
        (item.tree_, columns) for item, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True)
    ]
    shape = (len(trees), max(tree.node_count for tree, _ in trees))
    feature, left, right = np.full(shape, -1, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    threshold, depth = np.zeros(shape), np.zeros(shape)
    for number, (tree, columns) in enumerate(trees):
        nodes = slice(0, tree.node_count)
        inner = tree.children_left >= 0
        feature[number, nodes] = np.where(inner, np.asarray(columns)[np.maximum(tree.feature, 0)], -1)
        threshold[number, nodes] = np.where(inner, tree.threshold, 0.0)
        left[number, nodes] = np.where(inner, tree.children_left, 0)
        right[number, nodes] = np.where(inner, tree.children_right, 0)
        held = np.array([expected_depth(float(samples)) for samples in tree.n_node_samples])
        # scikit-learn counts nodes on the path; a depth is one less.
        depth[number, nodes] = np.where(inner, 0.0, tree.compute_node_depths() - 1.0 + held)
    return Forest(feature, threshold, left, right, depth, expected_depth(float(estimator._max_samples)))
