"""Faults raise their alerts: the shipped rules, with every wait and window a tenth as long."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("alert", ["StillwatchFallbackActive", "StillwatchStateDown"])
def test_a_frozen_state_server_pages(seen: Any, alert: str) -> None:
    """It fires after its wait, and ended once the server went on. `python -m benchmarks alerts` shows it in real time."""
    assert alert not in seen.before
    assert seen.fired[alert] is not None
    assert seen.healed


def test_a_spool_that_fills_is_seen_while_it_fills(seen: Any) -> None:
    """Its size shows while the state server is away, which is when the alert about it has to fire."""
    assert seen.spooled > 0


def test_a_service_without_workers_pages(seen: Any) -> None:
    """The worker cannot say itself that it is gone; its absence does."""
    assert "StillwatchNoWorker" not in seen.before
    assert seen.fired["StillwatchNoWorker"] is not None


def test_nothing_pages_before_the_faults(seen: Any) -> None:
    """A campaign that is handled is no reason to wake anybody; only tickets about its flags and actions are open."""
    assert set(seen.before) <= {"StillwatchFlagRate", "StillwatchWouldHave"}
