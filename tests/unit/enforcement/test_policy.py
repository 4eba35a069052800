"""The verdict string: what is written is read, and what is not ours asks for nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.enforcement.policy import Action, decode_verdict, encode_verdict
from app.settings import ActionRule
from detectors.contract import Level

AT_US = 1_790_000_000_000_000


def test_a_throttle_is_written_in_five_fields_with_its_end() -> None:
    """The string names level, action, factor, ceiling and the end, which is the verdict's time plus the rule's TTL."""
    rule = ActionRule(action="throttle", factor=0.25, requests_per_min=20, ttl_sec=3600)
    assert encode_verdict(Level.SUSPECT, rule, AT_US) == "suspect|throttle|0.25|20|1790003600000000"


@given(
    level=st.sampled_from(Level),
    action=st.sampled_from(("observe", "throttle")),
    factor=st.integers(1, 1000).map(lambda thousandths: thousandths / 1000),
    ceiling=st.none() | st.integers(1, 10_000_000).map(float),
    ttl_sec=st.integers(60, 10**7),
    at_us=st.integers(0, 2 * AT_US),
)
def test_what_is_written_is_read(
    level: Level, action: str, factor: float, ceiling: float | None, ttl_sec: int, at_us: int
) -> None:
    """Decoding gives back what was encoded, from text and from bytes."""
    rule = ActionRule.model_validate({"action": action, "factor": factor, "requests_per_min": ceiling, "ttl_sec": ttl_sec})
    text = encode_verdict(level, rule, at_us)
    wanted = Action(level, action, factor, ceiling, at_us + ttl_sec * 1_000_000)
    assert decode_verdict(text) == wanted
    assert decode_verdict(text.encode()) == wanted


def test_an_action_throttles_until_its_end() -> None:
    """A throttle holds before its end and not at it; an observed key is never throttled."""
    action = decode_verdict(f"suspect|throttle|0.25|20|{AT_US}")
    assert action is not None
    assert action.throttles(AT_US - 1)
    assert not action.throttles(AT_US)
    watched = decode_verdict(f"watch|observe|0.25|20|{AT_US}")
    assert watched is not None
    assert not watched.throttles(AT_US - 1)


def test_fields_added_by_a_newer_release_are_skipped() -> None:
    """A sixth field does not keep an older gateway from reading the first five."""
    action = decode_verdict(f"confirmed|throttle|0.1||{AT_US}|campaign-7")
    assert action is not None
    assert action.requests_per_min is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "suspect",
        "suspect|throttle|0.25|20",
        "odd|throttle|0.25|20|1",
        "suspect|throttle|x|20|1",
        "suspect|throttle|0|20|1",
        "suspect|throttle|1.5|20|1",
        "suspect|throttle|nan|20|1",
        "suspect|throttle|0.25|-1|1",
        "suspect|throttle|0.25|20|soon",
        b"\xff\xfe|throttle|0.25|20|1",
    ],
)
def test_a_string_that_is_not_ours_asks_for_nothing(text: str | bytes) -> None:
    """Empty, cut and impossible strings decode to nothing instead of an error."""
    assert decode_verdict(text) is None
