"""Cells: what is rare, who belongs, and that no large operation costs more than a small one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detectors.campaign import cells
from detectors.campaign.contents import Contents, usual
from detectors.campaign.fleet import Columns, heat
from detectors.campaign.grouping import REACH, adjacency, assembled, groups
from detectors.campaign.trace import Kind, Trace

MakeTrace = Callable[..., Trace]
Make = Callable[[Sequence[Trace]], Columns]
MARK = [(Kind.TAIL, 1)]


def test_a_mark_that_settled_customers_have_ties_nobody(crowd: list[Trace], columns: Make, make_trace: MakeTrace) -> None:
    """However hot the keys are that have it too."""
    common = [make_trace(f"old-{n}", MARK) for n in range(12)]
    hot = [make_trace(f"hot-{n}", MARK, hot=True, age_d=1.0) for n in range(6)]
    assert len(cells.cells(columns([*crowd, *hot]))) == 1
    assert len(cells.cells(columns([*crowd, *common, *hot]))) == 0


def test_an_organisation_is_counted_once(crowd: list[Trace], columns: Make, make_trace: MakeTrace) -> None:
    """Three keys of two organisations are no cell."""
    held = [make_trace(f"k-{n}", MARK, hot=True, age_d=1.0, org=f"o-{n % 2}") for n in range(9)]
    assert len(cells.cells(columns([*crowd, *held]))) == 0


def test_honest_keys_in_a_cell_of_harvesters_are_left_out(crowd: list[Trace], columns: Make, make_trace: MakeTrace) -> None:
    """Ten members and six customers who happen to have the mark."""
    members = [make_trace(f"m-{n}", MARK, hot=True, age_d=1.0) for n in range(10)]
    others = [make_trace(f"o-{n}", MARK, age_d=1.0) for n in range(6)]
    fleet = columns([*crowd, *members, *others])
    found, strength = cells.pure(cells.cells(fleet), fleet)
    assert {fleet.traces[at].key_id[0] for at in found.of(0).tolist()} == {"m"}
    assert all(strength[at] > 0.9 for at in found.of(0).tolist())


def test_a_few_hot_keys_make_no_cell_of_a_crowd(crowd: list[Trace], columns: Make, make_trace: MakeTrace) -> None:
    """All keys of a cell have a say in what it is."""
    app = [make_trace(f"a-{n}", MARK, hot=n < 8, age_d=0.5) for n in range(80)]
    fleet = columns([*crowd, *app])
    assert len(cells.pure(cells.cells(fleet), fleet)[0]) == 0


def test_a_large_cell_costs_as_many_ties_per_key_as_a_small_one() -> None:
    """Twenty-four thousand keys are not three hundred million pairs, and hang together."""
    one = cells.Cells(
        np.array([Kind.TAIL << 32 | 1], np.uint64),
        np.array([6.0]),
        np.array([0.001]),
        np.array([0, 24_000]),
        np.arange(24_000),
    )
    ties = adjacency(one, 24_000)
    assert ties.nnz <= 2 * REACH * 24_000
    assert (np.diff(ties.indptr) >= REACH).all()


def test_heat_rises_with_the_score_and_is_an_e_value(make_trace: MakeTrace) -> None:
    """Honest keys, whose scores are uniform, have a mean of exp(heat) of at most one."""
    scores = (np.arange(2000) + 0.5) / 2000
    found = heat([make_trace(f"k-{n}", score=float(score)) for n, score in enumerate(scores)])
    assert (np.diff(found) >= 0.0).all()
    assert np.exp(found).mean() <= 1.0


def test_parts_of_one_operation_are_not_apart_and_two_operations_are(columns: Make, make_trace: MakeTrace) -> None:
    """By what their keys ask about, with keys for units."""
    fleet = columns([make_trace(f"{topic}-{n}", topic=topic) for topic in (1, 2, 5) for n in range(10)])
    by_topic = {
        topic: np.array([at for at, one in enumerate(fleet.traces) if one.key_id.startswith(f"{topic}-")])
        for topic in (1, 2)
    }
    first, second = Contents.of(by_topic[1][:5], fleet), Contents.of(by_topic[1][5:], fleet)
    other = Contents.of(by_topic[2], fleet)
    assert not first.apart(second)
    assert first.same(second, usual(fleet))
    assert first.apart(other)
    assert first.plus(second).apart(other)
    assert not first.same(other, usual(fleet))
    assert first.plus(second).distance(other)[0] == Contents.of(by_topic[1], fleet).distance(other)[0]


def test_two_known_operators_are_never_one(columns: Make, make_trace: MakeTrace) -> None:
    """Whatever they have in common besides."""
    fleet = columns([make_trace(f"k-{n}") for n in range(12)])
    parts = [np.arange(0, 4), np.arange(4, 8), np.arange(8, 12)]
    ties = {(0, 1): 50.0, (1, 2): 40.0}
    assert len(assembled(parts, ties, (), (), fleet)[0]) == 1
    assert len(assembled(parts, ties, (), (0, 1), fleet)[0]) == 2


def test_no_cells_give_no_groups(crowd: list[Trace], columns: Make) -> None:
    """And no error."""
    fleet = columns(crowd)
    assert groups(cells.pure(cells.cells(fleet), fleet)[0], fleet) == []
    assert groups(cells.cells(columns([])), columns([])) == []
