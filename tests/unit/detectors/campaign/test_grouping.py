"""Groups: as large as an operation is, apart where two are, and always the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detectors.campaign import cells
from detectors.campaign.fleet import Columns
from detectors.campaign.grouping import REACH, adjacency, groups
from detectors.campaign.trace import Kind, Trace

MakeTrace = Callable[..., Trace]
Make = Callable[[Sequence[Trace]], Columns]


def _grouped(fleet: Columns) -> list[set[str]]:
    found = groups(cells.pure(cells.cells(fleet), fleet)[0], fleet)
    return [{fleet.traces[at].key_id for at in members.tolist()} for members in found]


def test_an_operation_of_twenty_four_thousand_keys_is_one_group(
    crowd: list[Trace], columns: Make, make_trace: MakeTrace
) -> None:
    """Each key is tied to a few others, and yet nobody is lost."""
    template = make_trace("m", [(Kind.TAIL, 1)], hot=True, topic=1, age_d=1.0)
    large = [
        Trace(f"m-{n}", f"o-{n}", template.at_us, template.first_us, score=0.999, marks=template.marks)
        for n in range(24_000)
    ]
    for at in range(0, len(large), 40):  # every fortieth says what it asks about
        large[at] = make_trace(f"m-{at}", [(Kind.TAIL, 1)], hot=True, topic=1, age_d=1.0)
    fleet = columns([*crowd, *large])
    found = cells.pure(cells.cells(fleet), fleet)[0]
    assert adjacency(found, len(fleet.traces)).nnz <= 2 * REACH * 24_000
    (group,) = groups(found, fleet)
    assert len(group) == 24_000
    assert all(fleet.traces[at].key_id.startswith("m-") for at in group.tolist())


def test_groups_are_disjoint_ascending_and_the_same_each_time(
    crowd: list[Trace], columns: Make, make_trace: MakeTrace
) -> None:
    """Whatever order the traces came in."""
    held = [
        make_trace(f"{at}-{n}", [(Kind.TAIL, at), (Kind.SETUP, 100 + n % 3)], hot=True, topic=at, age_d=1.0)
        for at in range(1, 6)
        for n in range(15)
    ]
    fleet = columns([*crowd, *held])
    found = groups(cells.pure(cells.cells(fleet), fleet)[0], fleet)
    assert all((np.diff(one) > 0).all() for one in found)
    everybody = np.concatenate(found)
    assert len(np.unique(everybody)) == len(everybody) == len(held)
    np.random.default_rng(1).shuffle(held)
    assert _grouped(columns([*held, *crowd])) == _grouped(fleet)


def test_operations_with_payments_of_their_own_stay_apart_under_one_wording(
    crowd: list[Trace], columns: Make, make_trace: MakeTrace
) -> None:
    """A known operator behind each: what both copied from one paper does not make them one."""
    held = [
        make_trace(f"{at}-{n}", [(Kind.TAIL, 9), (Kind.PAYMENT, at)], hot=True, topic=at, age_d=1.0)
        for at in (1, 2)
        for n in range(10)
    ]
    found = _grouped(columns([*crowd, *held]))
    assert sorted(sorted({key[0] for key in one}) for one in found) == [["1"], ["2"]]


def test_a_key_that_two_operations_have_in_common_does_not_unite_them(
    crowd: list[Trace], columns: Make, make_trace: MakeTrace
) -> None:
    """A reseller's key sends the work of both."""
    held = [
        make_trace(f"{at}-{n}", [(Kind.TAIL, at), (Kind.GRAM, at)], hot=True, topic=at, age_d=1.0)
        for at in (1, 2)
        for n in range(12)
    ]
    both = make_trace(
        "both", [(Kind.TAIL, 1), (Kind.GRAM, 1), (Kind.TAIL, 2), (Kind.GRAM, 2)], hot=True, topic=1, age_d=1.0
    )
    found = [{key[0] for key in one if key != "both"} for one in _grouped(columns([*crowd, *held, both]))]
    assert sorted(map(sorted, found)) == [["1"], ["2"]]


def test_an_organisation_says_what_is_usual_by_any_settled_key_of_it(
    crowd: list[Trace], columns: Make, make_trace: MakeTrace
) -> None:
    """Twelve customers of old whose new keys come first have the mark nevertheless."""
    mark = [(Kind.TAIL, 1)]
    customers = [
        make_trace(f"{age}-{name}-{n}", mark, org=f"customer-{n}", age_d=0.1 if age == "new" else 90.0, score=0.88)
        for n in range(12)
        for age, name in (*(("new", at) for at in range(12)), ("old", 12))
    ]
    hot = [make_trace(f"hot-{n}", mark, hot=True, age_d=1.0) for n in range(6)]
    assert len(cells.cells(columns([*crowd, *customers, *hot]))) == 0
