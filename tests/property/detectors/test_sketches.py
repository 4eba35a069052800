"""Counting sketches against an exact count of the same stream: the stated error, and what a merge of two halves keeps."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.sketch.cells import CELLS, GENERATION_US, CellMap
from detectors.sketch.distinct import Distinct, spread
from detectors.sketch.topk import SpaceSaving

U64 = st.integers(0, 2**64 - 1)

# Whole weights up to 2^20, so that every sum is exact and a bound can be checked without a tolerance.
weighted = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 2**20)), max_size=120)
skewed = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 200)), max_size=300)


# ------------------------------------------------------------------------- space-saving


def _top(stream: Sequence[tuple[int, int]], capacity: int) -> SpaceSaving:
    sketch = SpaceSaving(capacity)
    for item, weight in stream:
        sketch.add(item, float(weight))
    return sketch


def _check_top(sketch: SpaceSaving, stream: Sequence[tuple[int, int]]) -> None:
    exact: Counter[int] = Counter()
    for item, weight in stream:
        exact[item] += weight
    total = sum(exact.values())
    bound = total / sketch.capacity
    assert sketch.total == total
    assert len(sketch.entries) <= sketch.capacity
    for item, (count, error) in sketch.entries.items():
        assert count - error <= exact[item] <= count
        assert error <= bound
    assert all(item in sketch.entries for item, weight in exact.items() if weight > bound)
    top, floor = sketch.top()
    assert floor <= exact[top]
    assert floor >= max(exact.values(), default=0) - bound


@given(weighted, st.integers(1, 12))
def test_topk_keeps_every_count_within_the_total_over_k(stream: list[tuple[int, int]], capacity: int) -> None:
    """count − error ≤ true ≤ count, error ≤ N / k, and whatever weighs more than N / k is kept."""
    _check_top(_top(stream, capacity), stream)


@given(st.lists(weighted, min_size=2, max_size=4), weighted, st.integers(1, 12))
def test_topk_keeps_its_bound_through_merges_and_beyond(
    parts: list[list[tuple[int, int]]], after: list[tuple[int, int]], capacity: int
) -> None:
    """Merging parts, in a chain, and going on with the result stays within N / k of the joint stream."""
    merged, joint = _top(parts[0], capacity), list(parts[0])
    for part in parts[1:]:
        merged = merged.merged(_top(part, capacity))
        joint += part
    _check_top(merged, joint)
    for item, weight in after:
        merged.add(item, float(weight))
    _check_top(merged, joint + after)


@given(weighted, weighted, st.integers(1, 12))
def test_topk_merges_the_same_from_either_side(a: list[tuple[int, int]], b: list[tuple[int, int]], capacity: int) -> None:
    """The bytes of a merge do not depend on which sketch is asked."""
    left, right = _top(a, capacity), _top(b, capacity)
    assert left.merged(right).to_bytes() == right.merged(left).to_bytes()


@given(weighted, st.integers(1, 12), st.integers(1, 500))
def test_topk_scaled_by_a_power_of_two_and_back_is_unchanged(
    stream: list[tuple[int, int]], capacity: int, steps: int
) -> None:
    """Moving to another landmark loses no bit."""
    sketch = _top(stream, capacity)
    before = sketch.to_bytes()
    sketch.scale(2.0**-steps)
    sketch.scale(2.0**steps)
    assert sketch.to_bytes() == before


def test_a_floor_does_not_pretend_weight_in_a_stream_of_all_different_items() -> None:
    """Where every item comes once, no item's certain weight is more than one."""
    sketch = _top([(item, 1) for item in range(10_000)], 8)
    assert sketch.top()[1] == 1.0


# ----------------------------------------------------------------------------- distinct


def _distinct(items: Sequence[int], registers: int) -> Distinct:
    count = Distinct(registers)
    for item in items:
        count.add(item)
    return count


def _hashes(seed: int, size: int) -> list[int]:
    dice = random.Random(seed)
    return [dice.getrandbits(64) for _ in range(size)]


@given(st.lists(U64, max_size=60), st.sampled_from([16, 64, 128]))
def test_distinct_is_exact_up_to_an_eighth_of_its_registers(items: list[int], registers: int) -> None:
    """Few items are counted without error, whatever their hashes."""
    wanted = list(dict.fromkeys(items))[: registers // 8]
    assert _distinct([*wanted, *wanted], registers).estimate == len(wanted)


@given(st.lists(U64, max_size=300), st.integers(1, 3))
def test_distinct_ignores_repeats_and_never_falls(items: list[int], times: int) -> None:
    """Seeing an item again changes no bit, and no item lowers the estimate."""
    count, before = Distinct(64), 0.0
    for item in items:
        count.add(item)
        assert count.estimate >= before
        before = count.estimate
    held = count.to_bytes()
    for item in items * times:
        count.add(item)
    assert count.to_bytes() == held


@pytest.mark.parametrize("registers", [64, 128])
@pytest.mark.parametrize("size", [100, 1_000, 4_000])
def test_distinct_has_the_standard_error_it_states(registers: int, size: int) -> None:
    """Over 60 independent streams the root mean square error is that of HIP, 0.83 / √m, within its own sampling error."""
    errors = [_distinct(_hashes(seed, size), registers) for seed in range(60)]
    rms = sqrt(sum((count.estimate / size - 1) ** 2 for count in errors) / len(errors))
    assert rms <= 0.83 / sqrt(registers) * 1.3


@pytest.mark.parametrize("size", [1_000, 4_000])
def test_a_merged_distinct_has_the_classical_error(size: int) -> None:
    """The union of two overlapping halves is within 1.04 / √m, root mean square over 60 streams."""
    errors = []
    for seed in range(60):
        items = _hashes(seed, size)
        halves = _distinct(items[: size * 2 // 3], 128), _distinct(items[size // 3 :], 128)
        errors.append(halves[0].merged(halves[1]).estimate / size - 1)
    assert sqrt(sum(error * error for error in errors) / len(errors)) <= 1.04 / sqrt(128) * 1.3


@given(st.lists(U64, max_size=200), st.lists(U64, max_size=200))
def test_a_merge_of_distincts_is_symmetric_and_between_its_bounds(a: list[int], b: list[int]) -> None:
    """Not below the larger side, not above the sum, the same from either side, and registers equal those of the whole."""
    left, right = _distinct(a, 64), _distinct(b, 64)
    merged = left.merged(right)
    assert merged.to_bytes() == right.merged(left).to_bytes()
    assert max(left.estimate, right.estimate) <= merged.estimate <= left.estimate + right.estimate + 1e-9
    whole = _distinct([*a, *b], 64)
    if merged.exact is None:
        assert merged.to_bytes()[9:] == whole.to_bytes()[9:]
    else:
        assert whole.exact is not None
        assert merged.exact.keys() == whole.exact.keys()


@given(st.sets(U64, max_size=200))
def test_the_mix_of_bits_loses_nothing(items: set[int]) -> None:
    """Different hashes stay different, so that weak ones may be counted."""
    assert len({spread(item) for item in items}) == len(items)


# -------------------------------------------------------------------------------- cells

visits = st.lists(st.tuples(st.integers(0, CELLS - 1), st.integers(0, 4 * GENERATION_US)), max_size=80)


def _cells(stream: Sequence[tuple[int, int]]) -> CellMap:
    cells = CellMap()
    for cell, at in stream:
        cells.visit(cell, at)
    return cells


@given(visits)
def test_cells_hold_what_was_visited_in_the_last_two_generations(stream: list[tuple[int, int]]) -> None:
    """Exactly the cells of the newest generation and the one before it, in any order of arrival."""
    newest = max((at // GENERATION_US for _, at in stream), default=0)
    assert _cells(stream).visited() == len({cell for cell, at in stream if at // GENERATION_US >= newest - 1})


@given(visits, visits)
def test_merged_cells_are_those_of_the_joint_stream(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    """The union is exact, from either side."""
    merged = _cells(a).merged(_cells(b))
    assert merged.to_bytes() == _cells(b).merged(_cells(a)).to_bytes() == _cells([*a, *b]).to_bytes()


@given(visits)
def test_a_cell_is_fresh_once(stream: list[tuple[int, int]]) -> None:
    """A visit is fresh exactly when the map did not hold the cell."""
    cells = CellMap()
    for cell, at in stream:
        held = (
            {n for n in range(CELLS) if (cells.now | cells.before) >> n & 1}
            if at // GENERATION_US == cells.generation
            else None
        )
        fresh = cells.visit(cell, at)
        assert held is None or fresh == (cell not in held)


@pytest.mark.parametrize("items", [50, 200, 600])
def test_the_estimate_of_cells_counts_evenly_spread_items(items: int) -> None:
    """Linear counting is unbiased where items fall evenly; averaged over 40 streams it is within three per cent."""
    total = 0.0
    for seed in range(40):
        dice = random.Random(seed)
        total += _cells([(dice.randrange(CELLS), 0) for _ in range(items)]).estimate()
    assert total / 40 == pytest.approx(items, rel=0.03)


def test_a_full_map_reads_as_one_cell_short_of_full() -> None:
    """The estimate stays finite."""
    full = _cells([(cell, 0) for cell in range(CELLS)])
    assert full.visited() == CELLS
    assert 0 < full.estimate() < 4_000
