"""The exact tail of a codeword's score, given the text."""

from __future__ import annotations

import itertools

import numpy as np

from detectors.watermark.conditional import ConditionalNull


def test_tail_share_all_codewords_score_as() -> None:
    """The tail is the share of all codewords that score as much."""
    table = np.random.default_rng(1).exponential(size=(5, 4))
    null = ConditionalNull(table)
    words = np.array(list(itertools.product(range(4), repeat=5)), np.uint8)
    scores = null.scores(words)
    expected = [(scores >= score).mean() for score in scores]
    np.testing.assert_allclose(np.exp(null.log_tail(scores)), expected, rtol=1e-12)


def test_grid_moves_score_by_half_cell() -> None:
    """The grid moves a score by half a cell per position at most."""
    table = np.random.default_rng(2).exponential(size=(128, 16)) * 7
    null = ConditionalNull(table)
    words = np.random.default_rng(3).integers(0, 16, (200, 128)).astype(np.uint8)
    exact = (table - table.min(axis=1, keepdims=True))[np.arange(128), words].sum(axis=1)
    step = (table - table.min(axis=1, keepdims=True)).max(axis=1).sum() / (1 << 14)
    assert np.abs(null.scores(words) * step - exact).max() <= 128 * step / 2


def test_best_possible_codeword_has_smallest_tail() -> None:
    """The best possible codeword has the smallest tail there is."""
    table = np.random.default_rng(4).exponential(size=(128, 16))
    null = ConditionalNull(table)
    best = null.scores(table.argmax(axis=1).astype(np.uint8)[None])
    np.testing.assert_allclose(null.log_tail(best)[0], -128 * np.log(16), rtol=1e-9)


def test_tail_beyond_end_floats_cut_not() -> None:
    """A tail beyond the end of floats is cut and not minus infinity."""
    table = np.random.default_rng(5).exponential(size=(512, 16))
    null = ConditionalNull(table)
    assert null.log_tail(null.scores(table.argmax(axis=1).astype(np.uint8)[None]))[0] == -700.0


def test_table_nothing_says_nothing() -> None:
    """A table of nothing says nothing."""
    null = ConditionalNull(np.zeros((64, 16)))
    assert null.log_tail(null.scores(np.zeros((3, 64), np.uint8))).tolist() == [0.0, 0.0, 0.0]


def test_odd_number_positions_scored_whole() -> None:
    """An odd number of positions is scored whole."""
    table = np.random.default_rng(6).exponential(size=(7, 16))
    null = ConditionalNull(table)
    words = np.random.default_rng(7).integers(0, 16, (50, 7)).astype(np.uint8)
    np.testing.assert_array_equal(null.scores(words), null.grid[np.arange(7), words].sum(axis=1))


def test_share_innocent_codewords_below_p_value() -> None:
    """The share of innocent codewords below a p value is that p value even on a text that repeats one row."""
    row = np.random.default_rng(8).exponential(size=16) * 50
    table = np.zeros((128, 16))
    table[[3, 70]] = row
    table[5] = np.random.default_rng(9).exponential(size=16)
    null = ConditionalNull(table)
    words = np.random.default_rng(10).integers(0, 16, (100_000, 128)).astype(np.uint8)
    p = np.exp(null.log_tail(null.scores(words)))
    for level in (0.1, 0.01, 0.001):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level / 100_000)
