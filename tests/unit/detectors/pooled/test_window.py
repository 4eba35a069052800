"""The combined test of one window."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.pooled import window
from detectors.pooled.style import NUMBERS, style

Floats = NDArray[np.float32]
WIDTH = 12


def _rows(seed: int, count: int, away: float = 0.0) -> Floats:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, WIDTH))
    rows[:, 0] += away
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> window.WindowTest:
    """Reference around the origin; the background lies to one side, on another axis than attacks do."""
    background = _rows(2, 300)
    background[:, 1] += 3.0
    return window.fit(_rows(1, 500), background, 1)


def test_honest_windows_are_as_rare_as_they_say(fitted: window.WindowTest) -> None:
    """Of 100 fresh windows of 60, about five have p ≤ 0.05: one reference of 500 may be off by as many again and more."""
    p_values = np.array([fitted.p_value(_rows(100 + at, 60)) for at in range(100)])
    assert (p_values <= 0.05).sum() <= 16
    assert (p_values <= 0.005).sum() <= 3


@pytest.mark.parametrize("share", [0.15, 0.5, 1.0])
def test_what_resembles_neither_side_is_seen(fitted: window.WindowTest, share: float) -> None:
    """Nine of 60 exchanges far off on an axis that the background says nothing about are found, and so are more."""
    foreign = round(share * 60)
    mixed = np.concatenate([_rows(7, 60 - foreign), _rows(8, foreign, 6.0)])
    assert fitted.p_value(mixed) <= 0.005


def test_what_resembles_other_traffic_is_seen(fitted: window.WindowTest) -> None:
    """Exchanges like the background's have a high density ratio, and the ratio's statistics find them."""
    foreign = _rows(9, 9)
    foreign[:, 1] += 3.0
    assert fitted.p_values(np.concatenate([_rows(10, 51), foreign]))["mixture_ratio"] <= 0.005


def test_what_resembles_known_harvests_is_seen_better_where_they_are_known() -> None:
    """A third of 60 somewhat towards known harvests, and not their opposite, is rare by the statistic that learned them."""
    harvest = _rows(14, 300)
    harvest[:, 2] += 3.0
    test = window.fit(_rows(1, 500), _rows(2, 300), 1, harvest, slice(2, 4))
    foreign, opposite = _rows(15, 20), _rows(15, 20)
    foreign[:, 2] += 2.0
    opposite[:, 2] -= 2.0
    like, unlike = (test.p_values(np.concatenate([_rows(16, 40), part])) for part in (foreign, opposite))
    assert tuple(like) == (*window.NAMES, "combined")
    assert like["mixture_harvest"] <= 0.005 < unlike["mixture_harvest"]


def test_a_window_as_large_as_the_reference_is_judged(fitted: window.WindowTest) -> None:
    """More than half the reference: honest is not rare, foreign is."""
    assert fitted.p_value(_rows(11, 450)) > 0.005
    assert fitted.p_value(_rows(12, 450, 1.0)) <= 0.005


def test_same_window_same_p_values(fitted: window.WindowTest) -> None:
    """Chance comes from the seed alone."""
    again = window.fit(_rows(1, 500), np.concatenate([_rows(2, 300) + 3.0 * np.eye(WIDTH, dtype=np.float32)[1]]), 1)
    some = _rows(13, 60)
    assert fitted.p_values(some) == fitted.p_values(some) == again.p_values(some)


def test_a_small_reference_is_refused() -> None:
    """Fewer than a hundred exchanges are no reference."""
    with pytest.raises(ValueError, match="needs 100"):
        window.fit(_rows(1, 99), _rows(2, 50), 1)


def test_style_says_how_and_not_what() -> None:
    """Two questions of one form are closer than a question and a form letter; no text is zeros."""
    one, other, letter = (
        style(text)
        for text in (
            "Which river runs through Köln?",
            "Which tower stands in Paris?",
            "Dear all,\n\n1) AGENDA: 10:30\n2) ...",
        )
    )
    assert one.shape == (NUMBERS,)
    assert one @ other > one @ letter
    assert not style("").any()
