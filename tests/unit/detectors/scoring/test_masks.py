"""Trees as masks against a walk from node to node."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.scorers.masks import Tree, compiled, summed

COLUMNS = 5


def _grown(dice: np.random.Generator, leaves: int) -> Tree:
    """A random tree: any leaf may be the next to be split."""
    feature, threshold, left, right = [-1], [0.0], [0], [0]
    missing = [False]
    open_leaves = [0]
    while len(open_leaves) < leaves:
        node = open_leaves.pop(int(dice.integers(len(open_leaves))))
        feature[node], threshold[node] = int(dice.integers(COLUMNS)), float(dice.integers(-3, 4))
        missing[node] = bool(dice.integers(2))
        left[node], right[node] = len(feature), len(feature) + 1
        open_leaves += [left[node], right[node]]
        for _ in range(2):
            feature.append(-1)
            threshold.append(0.0)
            left.append(0)
            right.append(0)
            missing.append(False)
    return Tree(feature, threshold, left, right, missing, dice.normal(size=len(feature)).tolist())


def _walk(tree: Tree, row: np.ndarray) -> float:
    node = 0
    while tree.feature[node] >= 0:
        value = row[tree.feature[node]]
        goes_left = tree.missing_left[node] if np.isnan(value) else value <= tree.threshold[node]
        node = tree.left[node] if goes_left else tree.right[node]
    return tree.value[node]


def _rows(dice: np.random.Generator, count: int) -> np.ndarray:
    rows = dice.integers(-4, 5, (count, COLUMNS)).astype(float)  # many lie on a threshold
    return np.where(dice.uniform(size=rows.shape) < 0.2, np.nan, rows)


@pytest.mark.parametrize("leaves", [2, 8, 9, 16, 17, 64])
def test_masks_find_the_leaf_that_a_walk_finds(leaves: int) -> None:
    """For every width of mask, with missing values and values on a threshold, to the last bit of the sum."""
    dice = np.random.default_rng(leaves)
    trees = [_grown(dice, leaves) for _ in range(12)]
    rows = _rows(dice, 150)
    expected = [sum((_walk(tree, row) for tree in trees), 0.5) for row in rows]
    assert compiled(trees).sums(rows, 0.5).tolist() == expected


def test_a_tree_beside_a_larger_one_keeps_its_leaves() -> None:
    """Trees of different sizes, one of them a single leaf, share a table."""
    dice = np.random.default_rng(3)
    trees = [_grown(dice, leaves) for leaves in (1, 3, 30)]
    rows = _rows(dice, 40)
    assert compiled(trees).sums(rows).tolist() == [sum((_walk(tree, row) for tree in trees), 0.0) for row in rows]


def test_a_tree_of_more_leaves_than_a_word_has_bits_is_refused() -> None:
    """65 leaves are one too many."""
    dice = np.random.default_rng(1)
    with pytest.raises(ValueError, match="more than 64 leaves"):
        compiled([_grown(dice, 65)])


def test_trees_without_a_split_say_the_same_of_every_row() -> None:
    """A history in which nobody differs grows trees of one leaf each."""
    dice = np.random.default_rng(1)
    trees = [_grown(dice, 1) for _ in range(3)]
    rows = _rows(dice, 5)
    assert compiled(trees).sums(rows, 0.5).tolist() == [sum((_walk(tree, row) for tree in trees), 0.5) for row in rows]


def test_a_sum_has_the_same_bits_for_one_row_and_for_many() -> None:
    """Both ways of adding start at the left."""
    values = np.random.default_rng(2).normal(size=(200, 333))
    assert summed(values, 0.1).tolist() == [float(summed(row[None], 0.1)[0]) for row in values]
    assert len(summed(values[:0])) == 0
