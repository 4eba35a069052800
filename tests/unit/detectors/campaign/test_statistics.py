"""Statistics of a group: higher for one operation than for strangers, and unknown where nothing tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from detectors.campaign import statistics
from detectors.campaign.trace import Trace
from detectors.sketch.decay import DAY_US, HOUR_US

MakeTrace = Callable[..., Trace]
NOW_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000


def _hours(active: Sequence[int], newest: int = NOW_US // HOUR_US) -> bytes:
    bits = sum(1 << hour for hour in active)
    return bits.to_bytes(21, "little") + newest.to_bytes(4, "little")


@pytest.fixture
def strangers(make_trace: MakeTrace) -> list[Trace]:
    """Forty keys that differ in everything."""
    dice = np.random.default_rng(7)
    found = []
    for n in range(40):
        age = float(dice.uniform(3.0, 300.0))
        found.append(
            make_trace(
                f"s-{n}",
                topic=100 + n,
                age_d=age,
                exchanges=int(dice.lognormal(4.0, 1.5)) + 3,
                at_us=NOW_US - int(dice.integers(0, 24 * 60)) * MINUTE_US,
                hours=_hours(sorted(dice.choice(168, int(dice.integers(3, 60)), replace=False).tolist())),
                contents=dice.bytes(48),
            )
        )
    return found


def test_accounts_made_in_one_hour_are_closer_than_those_of_strangers(
    make_trace: MakeTrace, strangers: list[Trace]
) -> None:
    """Half of them are enough: an operation buys some accounts old."""
    made = [make_trace(f"k-{n}", created_us=NOW_US - DAY_US + n * MINUTE_US) for n in range(6)]
    old = [make_trace(f"old-{n}", created_us=NOW_US - (50 + 90 * n) * DAY_US) for n in range(4)]
    assert statistics.signup_burst([*made, *old]) > statistics.signup_burst(strangers) + 3.0
    assert math.isnan(statistics.signup_burst([make_trace(f"u-{n}", created_us=0) for n in range(9)]))
    assert math.isfinite(statistics.signup_burst([make_trace(f"same-{n}", created_us=NOW_US) for n in range(5)]))


def test_keys_of_one_dispatcher_are_loaded_more_evenly(make_trace: MakeTrace, strangers: list[Trace]) -> None:
    """By exchanges per day, however long each has been there."""
    even = [make_trace(f"k-{n}", age_d=1.0 + n, exchanges=200 * (n + 1)) for n in range(10)]
    assert statistics.equal_load(even) > -0.2
    assert statistics.equal_load(even) > statistics.equal_load(strangers) + 0.8
    assert math.isnan(statistics.equal_load([make_trace(f"few-{n}", exchanges=2) for n in range(10)]))


def test_keys_that_work_the_same_hours_are_known_by_them(make_trace: MakeTrace, strangers: list[Trace]) -> None:
    """Also where the newest trace of one is a day older than that of another."""
    hour = NOW_US // HOUR_US
    shift = [30, 31, 32, 33, 60, 61, 62]
    mine = [make_trace(f"k-{n}", hours=_hours([at - n for at in shift], hour - n)) for n in range(8)]
    assert statistics.same_hours(mine) == 1.0
    assert statistics.same_hours(strangers) < 0.4
    assert math.isnan(statistics.same_hours(mine[:2]))
    stale = [make_trace("gone", hours=_hours([0, 1], hour - 500)), *mine]
    assert 0.0 <= statistics.same_hours(stale) < 1.0


def test_keys_of_one_pool_are_nearer_to_their_centre(make_trace: MakeTrace, strangers: list[Trace]) -> None:
    """What chance makes of few exchanges is taken off."""
    mine = [make_trace(f"k-{n}", topic=1) for n in range(10)]
    assert statistics.same_contents(mine) > statistics.same_contents(strangers) + 0.1
    assert math.isnan(statistics.same_contents([make_trace(f"few-{n}", topic=1, pooled=4.0) for n in range(10)]))
    assert math.isnan(statistics.same_contents([make_trace(f"none-{n}", pool=b"", pooled=0.0) for n in range(10)]))


def test_keys_that_begin_as_others_fall_silent_are_a_handover(make_trace: MakeTrace, strangers: list[Trace]) -> None:
    """Banned at noon, replaced by one."""
    noon = NOW_US - DAY_US
    banned = [make_trace(f"b-{n}", at_us=noon + n * MINUTE_US, first_us=noon - 9 * DAY_US) for n in range(5)]
    fresh = [make_trace(f"f-{n}", at_us=NOW_US, first_us=noon + (6 + n) * MINUTE_US) for n in range(4)]
    assert statistics.succession([*banned, *fresh]) == 4.0
    assert statistics.succession([*banned, make_trace("one", at_us=NOW_US, first_us=noon + 6 * MINUTE_US)]) == 0.0
    late = [make_trace(f"l-{n}", at_us=NOW_US, first_us=noon + 5 * HOUR_US) for n in range(4)]
    assert statistics.succession([*banned, *late]) == 0.0
    assert statistics.succession(fresh) == 0.0
    assert statistics.succession(strangers) <= 2.0


def test_keys_of_one_exchange_do_not_follow_themselves(make_trace: MakeTrace) -> None:
    """Each ends when it begins."""
    once = [make_trace(f"k-{n}", at_us=at, first_us=at) for n, at in enumerate((NOW_US - DAY_US, NOW_US - DAY_US + 1))]
    last = make_trace("last", at_us=NOW_US, first_us=NOW_US - 9 * DAY_US)
    assert statistics.succession([*once, last]) == 0.0


def test_a_group_that_turns_to_new_models_is_told_from_single_keys_that_do(make_trace: MakeTrace) -> None:
    """The mean over its keys, from a fifth on."""
    moved = [make_trace(f"k-{n}", pivot=0.6) for n in range(6)]
    mixed = [make_trace(f"m-{n}", pivot=0.9 if n == 0 else 0.0) for n in range(6)]
    assert statistics.pivot(moved) == pytest.approx(0.6)
    assert statistics.pivot(mixed) == 0.0


def test_contents_are_counted_by_the_keys_that_asked_them(make_trace: MakeTrace) -> None:
    """Each content once for each key."""
    first, second = b"\x01\x00\x00\x02\x00\x00", b"\x02\x00\x00\x03\x00\x01"
    held = [make_trace("a", contents=first), make_trace("b", contents=second), make_trace("c", contents=b"")]
    assert sorted(statistics.content_counts(held).tolist()) == [1, 1, 2]
    assert len(statistics.content_counts([])) == 0


def test_less_overlap_of_more_contents_is_stronger() -> None:
    """And as much as a crowd has is none at all."""
    assert statistics.disjoint_nats(0, 200) > statistics.disjoint_nats(0, 50) > 0.0
    assert statistics.disjoint_nats(0, 200) > statistics.disjoint_nats(4, 200) > 0.0
    assert statistics.disjoint_nats(10, 200) == 0.0
    assert statistics.disjoint_nats(100, 200) == 0.0
    # Chernoff's bound is above the tail itself: the odds against no overlap are not overstated.
    assert statistics.disjoint_nats(0, 100) == pytest.approx(-100 * math.log(1 - statistics.CROWD_OVERLAP))
