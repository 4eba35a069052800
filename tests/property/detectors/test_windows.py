"""Sketches over time against a plain record of the same stream: rings, decay, gaps, recent items, repeats, models."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.sketch.clockface import HOURS, HourRing
from detectors.sketch.decay import DAY, HOUR, WEEK, Window
from detectors.sketch.gaps import FLOOR_US, increments, regularity, variation
from detectors.sketch.models import CAPACITY, ModelTable
from detectors.sketch.recent import RecentSet, SimilarWindow
from detectors.sketch.repeats import BINS, Repeats

NOW_US = 1_790_000_000_000_000

skewed = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 200)), max_size=120)
"""Few items often, many rarely; no item more often than a count of one byte holds."""


# ---------------------------------------------------------------------------- hour ring

marks = st.lists(st.integers(400_000, 400_000 + 3 * HOURS), max_size=60)


def _ring(hours: Sequence[int]) -> HourRing:
    ring = HourRing()
    for hour in hours:
        ring.mark(hour)
    return ring


@given(marks)
def test_the_ring_holds_the_active_hours_of_the_last_week(hours: list[int]) -> None:
    """Count, span, longest pause and hours of the day agree with a plain set, whatever the order of arrival."""
    ring = _ring(hours)
    held = sorted({hour for hour in hours if hour > max(hours) - HOURS}) if hours else []
    assert ring.active() == len(held)
    assert ring.span() == (held[-1] - held[0] + 1 if held else 0)
    pauses = [later - earlier - 1 for earlier, later in pairwise(held)]
    assert ring.longest_idle() == max(pauses, default=0)
    by_hour = Counter(hour % 24 for hour in held)
    assert ring.by_hour_of_day() == [by_hour[hour] for hour in range(24)]


@given(marks, marks)
def test_merged_rings_are_the_ring_of_the_joint_stream(a: list[int], b: list[int]) -> None:
    """The union of active hours is exact, from either side."""
    merged = _ring(a).merged(_ring(b))
    assert merged.to_bytes() == _ring(b).merged(_ring(a)).to_bytes() == _ring([*a, *b]).to_bytes()


# -------------------------------------------------------------------------------- decay

ages = st.lists(st.integers(0, 30 * 86_400_000_000), min_size=1, max_size=40)


def _decayed(times: Sequence[int], window: Window, now: int) -> float:
    """The way a profile keeps a sum: at a landmark that moves on with the newest time."""
    landmark, total = 0, 0.0
    for at in times:
        moved = max(landmark, window.landmark(at))
        total *= window.shift(landmark, moved)
        landmark = moved
        total += window.weight(at, landmark)
    return total * window.fade(now, landmark)


@pytest.mark.parametrize("window", [HOUR, DAY, WEEK])
@given(ages)
def test_a_decayed_sum_is_the_sum_of_decayed_observations(window: Window, ages: list[int]) -> None:
    """Each observation weighs 2^(−age / half-life), in any order of arrival and across landmarks, to rounding."""
    times = [NOW_US - age for age in ages]
    exact = sum(2.0 ** (-(NOW_US - at) / window.half_life_us) for at in times)
    assert _decayed(times, window, NOW_US) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("window", [HOUR, DAY, WEEK])
def test_a_steady_stream_reads_as_its_count_in_the_window(window: Window) -> None:
    """A hundred observations per window length, long enough to settle, read as a hundred within one per cent."""
    step = window.length_us // 100
    times = [NOW_US - n * step for n in range(2_000)][::-1]
    assert _decayed(times, window, NOW_US) == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("window", [HOUR, DAY, WEEK])
@given(st.integers(0, 10**6), st.integers(0, 40), st.floats(1e-3, 1e12))
def test_moving_a_sum_to_a_later_landmark_is_exact(window: Window, landmark: int, steps: int, value: float) -> None:
    """The factor is a power of two, so two moves are one, and what is too old to matter becomes nothing."""
    once = value * window.shift(landmark, landmark + steps)
    middle = landmark + steps // 2
    assert value * window.shift(landmark, middle) * window.shift(middle, landmark + steps) == once or once == 0.0


@given(st.integers(-(10**15), 10**17))
def test_no_time_overflows_a_fade(now: int) -> None:
    """A clock that is wrong by decades gives a number, not an error."""
    for window in (HOUR, DAY, WEEK):
        assert window.fade(now, window.landmark(NOW_US)) >= 0.0


# --------------------------------------------------------------------------------- gaps


@given(st.lists(st.integers(FLOOR_US, 10**12), min_size=2, max_size=50))
def test_the_moments_of_gaps_are_those_of_the_list(gaps: list[int]) -> None:
    """Variation and regularity from five sums agree with two passes over the gaps."""
    sums = [sum(column) for column in zip(*map(increments, gaps), strict=True)]
    seconds = [gap / 1e6 for gap in gaps]
    mean = sum(seconds) / len(seconds)
    deviation = sqrt(sum((gap - mean) ** 2 for gap in seconds) / len(seconds))
    assert variation(*sums[:3]) == pytest.approx(deviation / mean, abs=1e-4)
    assert 0.0 <= regularity(sums[0], *sums[3:]) <= 1.0


def test_a_metronome_and_a_poisson_stream_read_as_stated() -> None:
    """Regularity is 1 for equal gaps and about 0.28 for exponential ones; variation 0 and 1."""
    dice = random.Random(7)
    for gaps, even, varied in (
        ([60_000_000] * 100, 1.0, 0.0),
        ([round(dice.expovariate(1) * 6e7) for _ in range(20_000)], 0.28, 1.0),
    ):
        sums = [sum(column) for column in zip(*map(increments, gaps), strict=True)]
        assert regularity(sums[0], *sums[3:]) == pytest.approx(even, abs=0.01)
        assert variation(*sums[:3]) == pytest.approx(varied, abs=0.03)


# ------------------------------------------------------------------------------- models


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 10**6)), max_size=80))
def test_up_to_eight_models_are_counted_exactly(calls: list[tuple[int, int]]) -> None:
    """First call by time, not by arrival; the share since a time is that of the calls to models first called after it."""
    table = ModelTable()
    for model, at in calls:
        table.add(f"m{model}", at, 1.0)
    first = {model: min(at for name, at in calls if name == model) for model, _ in calls}
    since = 500_000
    young = sum(1 for model, _ in calls if first[model] >= since)
    assert table.share_since(since) == (young / len(calls) if calls else 0.0)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10**6)), max_size=60),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10**6)), max_size=60),
)
def test_merged_models_are_bounded_and_symmetric(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    """The eight most used of both are kept, the same from either side; no model is younger than on either side."""
    left, right = ModelTable(), ModelTable()
    for table, calls in ((left, a), (right, b)):
        for model, at in calls:
            table.add(f"m{model}", at, 1.0)
    merged = left.merged(right)
    assert merged.to_bytes() == right.merged(left).to_bytes()
    assert len(merged.entries) <= CAPACITY
    for item, (first, count) in merged.entries.items():
        both = [table.entries[item] for table in (left, right) if item in table.entries]
        assert (first, count) == (min(entry[0] for entry in both), sum(entry[1] for entry in both))


# ------------------------------------------------------------------------------ windows


@given(skewed, st.integers(1, 20))
def test_the_recent_set_is_the_last_distinct_items(stream: list[int], capacity: int) -> None:
    """It agrees with a plain least-recently-seen list at every step."""
    window = RecentSet(capacity)
    oracle: OrderedDict[int, None] = OrderedDict()
    for item in stream:
        assert window.see(item) == (item in oracle)
        oracle.pop(item, None)
        oracle[item] = None
        if len(oracle) > capacity:
            oracle.popitem(last=False)
        assert list(window.items) == list(oracle)


@given(skewed, skewed, st.integers(1, 20))
def test_merged_recent_sets_hold_the_newest_of_both(a: list[int], b: list[int], capacity: int) -> None:
    """Bounded, symmetric, only items of the two, and the newest of each side stays where there is room for both."""
    left, right = RecentSet(capacity), RecentSet(capacity)
    for window, stream in ((left, a), (right, b)):
        for item in stream:
            window.see(item)
    merged = left.merged(right)
    assert merged.to_bytes() == right.merged(left).to_bytes()
    assert len(merged.items) == min(capacity, len({**left.items, **right.items}))
    assert set(merged.items) <= {*left.items, *right.items}
    if capacity >= 2:
        assert all(next(reversed(window.items)) in merged.items for window in (left, right) if window.items)


signatures = st.lists(st.lists(st.integers(0, 3), min_size=16, max_size=16).map(bytes), min_size=1, max_size=50)


@given(signatures, st.integers(1, 12))
def test_the_similar_window_compares_with_the_last_few(stream: list[bytes], capacity: int) -> None:
    """Nearest less median over one less median, as a plain list of the last signatures gives it."""
    window = SimilarWindow(capacity)
    for n, signature in enumerate(stream):
        held = stream[max(0, n - capacity) : n]
        agreeing = sorted(sum(x == y for x, y in zip(one, signature, strict=True)) for one in held)
        median = agreeing[(len(held) - 1) // 2] if len(held) >= 8 else 0
        wanted = 0.0 if not held else 1.0 if median == 16 else (agreeing[-1] - median) / (16 - median)
        assert window.excess(signature) == wanted
        window.push(signature)


@given(signatures, signatures, st.integers(1, 12))
def test_merged_similar_windows_are_bounded_and_symmetric(a: list[bytes], b: list[bytes], capacity: int) -> None:
    """The newest signature of each side is held, and the bytes do not depend on which side is asked."""
    left, right = SimilarWindow(capacity), SimilarWindow(capacity)
    for window, stream in ((left, a), (right, b)):
        for signature in stream:
            window.push(signature)
    merged = left.merged(right)
    assert merged.to_bytes() == right.merged(left).to_bytes()
    assert merged.filled <= capacity
    if capacity >= 2:
        assert merged.excess(a[-1]) == merged.excess(b[-1]) == 1.0 or merged.filled >= 8


# ------------------------------------------------------------------------------ repeats


@given(skewed)
def test_multiplicities_are_exact_while_no_item_returns_after_it_was_pushed_out(stream: list[int]) -> None:
    """With room for every item, the histogram is that of the whole stream."""
    repeats = Repeats(300)
    counts: Counter[int] = Counter()
    for item in stream:
        counts[item] += 1
        assert repeats.see(item, 1.0) == counts[item]
    wanted = [0.0] * BINS
    for count in counts.values():
        wanted[min(count, BINS) - 1] += count
    assert repeats.histogram(1.0) == wanted


@given(skewed, st.integers(1, 20))
def test_no_occurrence_is_lost_and_forgetting_only_hides_repetition(stream: list[int], capacity: int) -> None:
    """Occurrences add up, and at any multiplicity no more lie at it or above than truly do."""
    repeats = Repeats(capacity)
    for item in stream:
        repeats.see(item, 1.0)
    histogram = repeats.histogram(1.0)
    exact = [0.0] * BINS
    for count in Counter(stream).values():
        exact[min(count, BINS) - 1] += count
    assert sum(histogram) == len(stream)
    for at in range(BINS):
        assert sum(histogram[at:]) <= sum(exact[at:])


@given(skewed, skewed, st.integers(1, 20))
def test_merged_repeats_keep_every_occurrence(a: list[int], b: list[int], capacity: int) -> None:
    """The occurrences of both sides are all in the merge, in a bounded window, the same from either side."""
    left, right = Repeats(capacity), Repeats(capacity)
    for repeats, stream in ((left, a), (right, b)):
        for item in stream:
            repeats.see(item, 1.0)
    merged = left.merged(right, 1.0)
    assert merged.to_bytes() == right.merged(left, 1.0).to_bytes()
    assert len(merged.live) <= capacity
    assert sum(merged.histogram(1.0)) == len(a) + len(b)


@settings(max_examples=10)
@given(st.integers(2, 16), st.integers(10, 60))
def test_k_copies_of_every_request_stand_in_bin_k(copies: int, questions: int) -> None:
    """Rejection sampling leaves all its weight at its own multiplicity."""
    repeats = Repeats(64)
    for question in range(questions):
        for _ in range(copies):
            repeats.see(question, 1.0)
    assert repeats.histogram(1.0)[copies - 1] == copies * questions
