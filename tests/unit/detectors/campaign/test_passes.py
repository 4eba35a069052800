"""Moments of passes: whole minutes of event time, once what belongs to them is there, and only when something is new."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detectors.campaign.passes import FRESH, PASS_US, PAUSE_US, SETTLE_US, newest, worthwhile

TIMES = st.integers(0, 2**53)
NOW_US = 1_790_000_000_000_000


@given(fleet_us=TIMES)
def test_a_pass_waits_until_its_exchanges_are_answered_and_not_longer(fleet_us: int) -> None:
    """The newest one is over for SETTLE_US, and the next one is not."""
    at_us = newest(fleet_us)
    assert at_us % PASS_US == 0
    assert at_us >= 0
    assert at_us <= max(0, fleet_us - SETTLE_US)
    assert at_us + PASS_US > fleet_us - SETTLE_US


@given(fleet_us=TIMES, later_us=TIMES)
def test_moments_never_go_back(fleet_us: int, later_us: int) -> None:
    """However far the fleet has come."""
    early, late = sorted((fleet_us, later_us))
    assert newest(early) <= newest(late)


def test_nothing_new_is_no_reason_for_a_pass() -> None:
    """However long ago the last one was."""
    assert not worthwhile(NOW_US, 0, 0, 1000)
    assert not worthwhile(NOW_US, NOW_US - 100 * PAUSE_US, 0, 0)


def test_much_that_is_new_is_looked_at_at_once_and_little_after_a_pause() -> None:
    """A hundredth of the keys, or ten minutes."""
    last_us = NOW_US - PASS_US
    assert worthwhile(NOW_US, last_us, round(FRESH * 1000), 1000)
    assert not worthwhile(NOW_US, last_us, round(FRESH * 1000) - 1, 1000)
    assert worthwhile(NOW_US, NOW_US - PAUSE_US, 1, 1_000_000)
    assert not worthwhile(NOW_US, NOW_US - PAUSE_US + PASS_US, 1, 1_000_000)


def test_the_first_pass_is_made_for_the_first_key() -> None:
    """There is none before it to wait from."""
    assert worthwhile(NOW_US, 0, 1, 1_000_000)
