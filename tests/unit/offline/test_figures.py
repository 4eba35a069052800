"""Figures of labelled keys agree with what is counted by hand, and their intervals know what is independent."""

from __future__ import annotations

import numpy as np
import pytest

from app.offline import figures
from app.offline.figures import Case


def _case(number: int, abusive: bool, score: float, unit: str = "", **more: object) -> Case:
    return Case(f"k{number}", unit or f"u{number}", "g", abusive, score, score > 0.9, 100, **more)  # type: ignore[arg-type]


def test_the_area_counts_pairs() -> None:
    """Of four pairs two are right and one is a tie: 0.625; with one kind alone there is none."""
    scores, bad = np.array([0.9, 0.4, 0.4, 0.5]), np.array([True, True, False, False])
    assert figures.auroc(scores, bad) == pytest.approx(2.5 / 4)
    assert figures.auroc(scores, np.ones(4, np.bool_)) is None


def test_a_threshold_lets_no_more_honest_keys_above_it_than_it_says() -> None:
    """At one in a hundred exactly one of a hundred lies strictly above; ties never put more there."""
    honest = np.arange(100) / 100
    assert (honest > figures.threshold(honest, 0.01)).sum() == 1
    assert (honest > figures.threshold(honest, 0.005)).sum() == 0
    tied = np.repeat([0.1, 0.9], [90, 10])
    assert (tied > figures.threshold(tied, 0.05)).sum() == 0


def test_the_figures_of_a_small_set() -> None:
    """Shares, groups, times and curves are those that one counts."""
    cases = [_case(number, False, number / 100) for number in range(90)]
    cases += [_case(90 + n, True, 0.95, requests_to_flag=10 * (n + 1), hours_to_flag=1.0) for n in range(3)]
    cases += [_case(99, True, 0.2)]
    found = figures.figures(cases)
    assert (found.honest, found.abusive) == (90, 4)
    assert found.own_recall.value == 0.75
    assert found.recalls[1].found.value == 0.75
    assert (found.to_flag.value, found.taken.value) == (20.0, 25.0)
    assert [(point.x, point.y) for point in found.detection] == [(10.0, 0.25), (20.0, 0.5), (30.0, 0.75)]
    assert found.roc[-1].x == found.roc[-1].y == 1.0
    assert [(group.abusive, group.keys) for group in found.groups] == [(False, 90), (True, 4)]


def test_keys_of_one_customer_are_one_when_intervals_are_made() -> None:
    """A hundred keys of two customers say less than a hundred customers; those of one say nothing."""
    wide, narrow, alone = (
        figures.figures([_case(n, True, 0.95 if n % 2 else 0.1, unit=unit(n)) for n in range(100)])
        for unit in (lambda n: f"u{n % 2}", lambda n: f"u{n}", lambda n: "u")
    )
    for one in (wide, narrow):
        assert one.own_recall.low is not None
        assert one.own_recall.high is not None
    assert (wide.own_recall.low, wide.own_recall.high) == (0.0, 1.0)
    assert 0.35 < (narrow.own_recall.low or 0) < 0.5 < (narrow.own_recall.high or 0) < 0.65
    assert alone.own_recall.low is None


def test_none_of_so_many_has_the_exact_bound() -> None:
    """No false positive among ninety customers may still be four in a hundred."""
    found = figures.figures([_case(n, False, 0.1) for n in range(90)]).own_false
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 90))


def test_no_key_at_all_is_no_figure() -> None:
    """Everything is empty and nothing fails."""
    found = figures.figures([])
    assert found.auroc.value is found.own_recall.value is None
    assert found.roc == found.groups == found.detection == ()
