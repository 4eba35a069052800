"""The log tells when the model API goes away and when it is back, and is not flooded meanwhile."""

from __future__ import annotations

import logging

import pytest

from app.gateway.presence import WARN_EVERY_SEC, Presence


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    """Time that a test moves."""
    return _Clock()


@pytest.fixture
def presence(clock: _Clock, caplog: pytest.LogCaptureFixture) -> Presence:
    """Of an upstream that was there until now."""
    caplog.set_level(logging.INFO, "app.gateway.presence")
    return Presence(clock)


def test_an_absence_is_one_warning_and_one_line_when_it_is_over(
    presence: Presence, clock: _Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """However many requests fail, and however long it takes."""
    presence.there()
    for _ in range(100):
        presence.away("the upstream cannot be reached: Connection refused")
        clock.now += WARN_EVERY_SEC
    presence.there()
    presence.there()
    warning, back = caplog.records
    assert (warning.levelname, back.levelname) == ("WARNING", "INFO")
    assert "Connection refused" in warning.message
    assert "100 failed attempts" in back.message


def test_one_that_comes_and_goes_is_warned_of_now_and_then(
    presence: Presence, clock: _Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in WARN_EVERY_SEC; an absence that was not warned of is warned of if it lasts, else it ends without a line."""
    presence.away("gone")
    presence.there()
    for _ in range(20):
        clock.now += 1
        presence.away("gone")
        presence.there()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    presence.away("gone")
    clock.now += WARN_EVERY_SEC
    presence.away("gone")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]
