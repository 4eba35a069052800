"""Isolation forest as plain arrays: fitted by scikit-learn, exported, and evaluated by `masks`.

The numbers agree with `sklearn.ensemble.IsolationForest.score_samples`, which is −2 to their power, to the rounding of a
sum. Every row goes through the same operations in the same order whatever the batch, so the batch leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.scorers.masks import MaskTrees, Tree, compiled

TREES = 64
SAMPLES = 64
"""Rows that a tree isolates from one another (Liu, Ting, Zhou 2008: what is alone shows among few), so that its leaves are
the bits of one word."""

FEATURES_PER_TREE = 0.5
"""Each tree sees half of the features: oddness in few of them must not drown in the others."""


@dataclass(frozen=True)
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

    @cached_property
    def _masks(self) -> MaskTrees:
        parts = [part.tolist() for part in (self.feature, self.threshold, self.left, self.right, self.depth)]
        never = [False] * self.feature.shape[1]
        return compiled(
            [
                Tree(feature, threshold, left, right, never, depth)
                for feature, threshold, left, right, depth in zip(*parts, strict=True)
            ]
        )

    def isolations(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """How easily each row (shape (n, d)) is isolated: minus its mean depth over the expected one, so about −1 for an
        ordinary row and nearer to 0 when it is alone.

        Raises:
            ValueError: a tree has more than 64 leaves.
        """
        depths = self._masks.sums(rows.astype(np.float32).astype(np.float64))
        return -depths / (len(self.feature) * self.scale)


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
        n_estimators=TREES, max_samples=min(len(rows), SAMPLES), max_features=FEATURES_PER_TREE, random_state=seed
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
