"""Wrong tokens are counted by place, within bounds, and forgiven with time."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from app.admin import failures
from app.admin.failures import BURST, EVERY_SEC, MAX_PLACES, Failures, place_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that the test turns: [seconds]."""
    now = [1000.0]
    monkeypatch.setattr(failures.time, "monotonic", lambda: now[0])
    return now


def test_a_burst_is_free_and_then_each_takes_its_time(clock: Any) -> None:
    """So many at once, then one for each interval; the wait that is told is enough."""
    counted = Failures()
    for _ in range(BURST):
        assert counted.wait_sec("a") == 0
        counted.note("a")
    wait = counted.wait_sec("a")
    assert 0 < wait <= EVERY_SEC + 1
    clock[0] += wait
    assert counted.wait_sec("a") == 0
    counted.note("a")
    assert counted.wait_sec("a") > 0


def test_all_is_forgiven_with_time(clock: Any) -> None:
    """After a minute of quiet a whole burst is free again."""
    counted = Failures()
    for _ in range(BURST):
        counted.note("a")
    clock[0] += BURST * EVERY_SEC
    for _ in range(BURST):
        assert counted.wait_sec("a") == 0
        counted.note("a")


def test_places_do_not_pay_for_each_other(clock: Any) -> None:
    """An attacker's address is limited and another one is not."""
    counted = Failures()
    for _ in range(BURST * 3):
        counted.note("attacker")
    assert counted.wait_sec("attacker") > 0
    assert counted.wait_sec("operator") == 0


def test_memory_is_bounded(clock: Any) -> None:
    """However many addresses send wrong tokens, so many are remembered at most, the last ones."""
    counted = Failures()
    for number in range(MAX_PLACES * 3):
        counted.note(str(number))
    assert len(counted._full_until) == MAX_PLACES
    assert str(MAX_PLACES * 3 - 1) in counted._full_until


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:db8:1:2::1", "20010db800010002"),
        ("testclient", ""),
        (None, ""),
    ],
)
def test_a_place_is_what_one_attacker_holds(host: str | None, place: str) -> None:
    """One IPv4 address, or the /64 of an IPv6 address, whose 2^64 addresses one machine may use in turn."""
    client = None if host is None else (host, 1)
    assert place_of(Request({"type": "http", "client": client, "headers": []})) == place
