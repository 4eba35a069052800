"""The rule of foreign reasoning: what gives it support, and what does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detectors.contract import ScoreStatus
from detectors.features import FeatureRow, stack
from detectors.scorers import foreign_reasoning

MakeRow = Callable[..., FeatureRow]


@pytest.mark.parametrize(
    ("blocks", "share", "score"),
    [(12.0, 0.6, 1.0), (1.0, 1.0, 0.0), (3.5, 1.0, 0.5), (60.0, 0.04, 0.0), (0.0, 0.0, 0.0)],
)
def test_many_blocks_in_many_exchanges_are_needed(make_row: MakeRow, blocks: float, share: float, score: float) -> None:
    """One stray block, or strays among thousands of exchanges, are nothing; a dozen in most exchanges are everything."""
    row = make_row(60, foreign_reasoning=blocks, foreign_reasoning_share=share)
    (found,) = foreign_reasoning.make(None).score(stack([row]))
    assert (found.status, found.value) == (ScoreStatus.SCORED, pytest.approx(score))


def test_where_nothing_is_known_there_is_no_score(make_row: MakeRow) -> None:
    """Absent features support nothing, and say nothing."""
    (found,) = foreign_reasoning.make(None).score(stack([make_row(500)]))
    assert (found.value, found.reasons) == (0.0, ())
