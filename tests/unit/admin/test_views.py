"""Stored values → the JSON of the API."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admin import views
from app.enforcement.policy import encode_verdict
from app.settings import ActionRule, Settings
from app.state.gateways import LiveGateways
from app.state.health import PartitionHealth, StateHealth
from detectors.catalogue import CATALOGUE
from detectors.contract import Level
from detectors.model import Model, rules_only
from detectors.profile import Profile

NOW_US = 1_790_000_000_000_000
THROTTLE = ActionRule(action="throttle", factor=0.25, requests_per_min=None, ttl_sec=600)


@given(st.integers(0, 7_258_118_399_999_999))
def test_times_survive_the_journey(at_us: int) -> None:
    """µs → time → µs is the identity from 1970 to 2200."""
    assert views.micros(views.moment(at_us)) == at_us


def test_no_time_is_no_time() -> None:
    """None stays None."""
    assert views.micros(None) is None


@pytest.mark.parametrize(
    ("mode", "stored", "now_us", "action", "would"),
    [
        ("shadow", encode_verdict(Level.SUSPECT, THROTTLE, NOW_US), NOW_US, "observe", "throttle"),
        ("enforce", encode_verdict(Level.SUSPECT, THROTTLE, NOW_US), NOW_US, "throttle", "throttle"),
        ("mixed", encode_verdict(Level.SUSPECT, THROTTLE, NOW_US), NOW_US, "throttle", "throttle"),
        ("unknown", encode_verdict(Level.SUSPECT, THROTTLE, NOW_US), NOW_US, "observe", "throttle"),
        ("enforce", encode_verdict(Level.SUSPECT, THROTTLE, NOW_US), NOW_US + 599_999_999, "throttle", "throttle"),
        ("enforce", encode_verdict(Level.SUSPECT, THROTTLE, NOW_US), NOW_US + 600_000_000, "observe", "observe"),
        ("enforce", encode_verdict(Level.WATCH, ActionRule(), NOW_US), NOW_US, "observe", "observe"),
        ("enforce", "", NOW_US, "observe", "observe"),
        ("enforce", "junk|from|elsewhere", NOW_US, "observe", "observe"),
    ],
)
def test_an_action_is_what_is_done_now(mode: str, stored: str, now_us: int, action: str, would: str) -> None:
    """In force only where a gateway acts and until its time; a string that is not ours asks for nothing."""
    found = views.action(stored, mode, now_us)  # type: ignore[arg-type]
    assert (found.mode, found.action, found.would) == (mode, action, would)
    assert (found.until is None) is (would == "observe")


@pytest.mark.parametrize(
    ("mode", "by", "more", "held_back"),
    [
        ("shadow", "policy", {}, "shadow"),
        ("shadow", "person", {}, None),
        ("unknown", "person", {}, "no_gateway"),
        ("enforce", "policy", {"allowed": True}, "allow_list"),
        ("enforce", "person", {"allowed": True}, None),
        ("enforce", "policy", {"shared": False}, "share"),
        ("enforce", "person", {"killed": True}, "kill_switch"),
        ("mixed", "policy", {}, None),
    ],
)
def test_what_holds_an_action_back_is_told(mode: str, by: str, more: dict[str, bool], held_back: str | None) -> None:
    """Shadow mode, allow-list and percentages hold policy back, the kill switch everybody."""
    stored = encode_verdict(Level.SUSPECT, THROTTLE, NOW_US, by=by, ref="sw-aaaaaaaaaaaaa")
    found = views.action(stored, mode, NOW_US, **more)  # type: ignore[arg-type]
    assert (found.held_back, found.by, found.ref) == (held_back, by, "sw-aaaaaaaaaaaaa")
    assert found.action == ("observe" if held_back else "throttle")


def test_features_have_percentiles_where_the_model_has_peers() -> None:
    """Each present feature is given to the model with the entity's own peer groups; absent ones have no percentile."""
    asked: list[tuple[str, float, tuple[str, ...]]] = []

    class Spy(Model):
        def percentile(self, feature_name: str, value: float, groups: tuple[str, ...]) -> float | None:
            asked.append((feature_name, value, groups))
            return 42.0 if len(asked) % 2 else None

    spy = Spy(rules_only().policy, None, {})
    profile = Profile.new("0" * 32, "key")
    profile.first_at_us = profile.last_at_us = NOW_US
    found = views.feature_list(profile, spy)
    assert [feature.name for feature in found] == [entry.name for entry in CATALOGUE]
    present = [feature for feature in found if feature.value is not None]
    assert [name for name, _, _ in asked] == [feature.name for feature in present]
    assert [feature.peer_percentile for feature in present] == [None if at % 2 else 42.0 for at in range(len(present))]
    assert all(feature.peer_percentile is None for feature in found if feature.value is None)
    assert {groups[-1] for _, _, groups in asked} <= {"all"}
    assert all(feature.peer_percentile is None for feature in views.feature_list(profile, None))


def _health(**more: float) -> StateHealth:
    part = {"waiting": 0, "oldest_sec": 0.0, "rows": 0, "dead": 0, "keys": 5, **more}
    workers = int(part.pop("workers", 1))
    gateways = LiveGateways(int(part.pop("gateways", 1)))
    owner = "w1" if workers else ""
    one = PartitionHealth(partition=0, owner=owner, **part)  # type: ignore[arg-type]
    return StateHealth(
        workers, gateways, one.waiting, one.oldest_sec, one.rows, one.dead, int(not owner), one.keys,
        dict.fromkeys(Level, 1), (one,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, []),
        ({"workers": 0}, ["No worker"]),
        ({"gateways": 0}, ["No gateway"]),
        ({"workers": 0, "waiting": 3}, ["No worker", "no worker"]),
        ({"oldest_sec": 61.0, "waiting": 1}, ["has waited 61 s"]),
        ({"waiting": 100_001}, ["more than half full"]),
        ({"dead": 2}, ["did not decode"]),
    ],
)
def test_health_is_degraded_exactly_when_something_is_wrong(more: dict[str, float], said: list[str]) -> None:
    """Each thing that is wrong has a sentence; without one the status is ok."""
    found = views.health(_health(**more), Settings(), "00ff", "0")
    assert found.status == ("degraded" if said else "ok")
    assert found.mode == ("unknown" if more.get("gateways") == 0 else "enforce")
    assert len(found.problems) == len(said)
    for sentence, words in zip(found.problems, said, strict=True):
        assert words in sentence


def test_a_moment_is_in_utc() -> None:
    """Times are told in UTC."""
    assert views.moment(0) == datetime(1970, 1, 1, tzinfo=UTC)
