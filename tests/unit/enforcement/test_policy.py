"""The verdict string: what is written is read, and what is not ours asks for nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.enforcement.policy import (
    Action,
    decode_verdict,
    encode_action,
    encode_verdict,
    reference,
    rule_for,
    share_of,
)
from app.settings import LADDER, ActionName, ActionRule, EnforcementSettings
from detectors.contract import Level

AT_US = 1_790_000_000_000_000


def test_a_throttle_is_written_with_its_end_its_author_and_its_reference() -> None:
    """Level, action, factor, ceiling, the end (verdict's time plus the rule's TTL), who asks, and the reference."""
    rule = ActionRule(action="throttle", factor=0.25, requests_per_min=20, ttl_sec=3600)
    assert encode_verdict(Level.SUSPECT, rule, AT_US) == "suspect|throttle|0.25|20|1790003600000000|policy|"
    by_person = encode_verdict(Level.SUSPECT, rule, AT_US, by="person", ref="sw-x")
    assert by_person == "suspect|throttle|0.25|20|1790003600000000|person|sw-x"


@given(
    level=st.sampled_from(Level),
    action=st.sampled_from(LADDER),
    factor=st.integers(1, 1000).map(lambda thousandths: thousandths / 1000),
    ceiling=st.none() | st.integers(1, 10_000_000).map(float),
    ttl_sec=st.integers(60, 10**7),
    at_us=st.integers(0, 2 * AT_US),
    by=st.sampled_from(("policy", "person")),
)
def test_what_is_written_is_read(
    level: Level, action: ActionName, factor: float, ceiling: float | None, ttl_sec: int, at_us: int, by: str
) -> None:
    """Decoding gives back what was encoded, from text and from bytes, and encoding that gives the same text."""
    rule = ActionRule(action=action, factor=factor, requests_per_min=ceiling, ttl_sec=ttl_sec)
    text = encode_verdict(level, rule, at_us, by=by, ref=reference("k", at_us))
    wanted = Action(level, action, factor, ceiling, at_us + ttl_sec * 1_000_000, by, reference("k", at_us))
    assert decode_verdict(text) == wanted
    assert decode_verdict(text.encode()) == wanted
    assert encode_action(wanted) == text


@pytest.mark.parametrize(
    ("action", "throttles", "blocks"),
    [
        ("observe", False, False),
        ("throttle", True, False),
        ("cap", True, False),
        ("step_up", True, True),
        ("suspend", True, True),
    ],
)
def test_each_action_includes_those_below_until_its_end(action: str, throttles: bool, blocks: bool) -> None:
    """Whatever is above a throttle throttles, the two highest block, and at its end an action does nothing any more."""
    found = decode_verdict(f"suspect|{action}|0.25|20|{AT_US}|person|sw-a")
    assert found is not None
    assert (found.throttles(AT_US - 1), found.blocks(AT_US - 1), found.by_person) == (throttles, blocks, True)
    assert (found.throttles(AT_US), found.blocks(AT_US)) == (False, False)


@pytest.mark.parametrize("rest", ["", "|campaign-7", "|policy", "|policy|sw-a|more"])
def test_strings_of_other_releases_are_policys(rest: str) -> None:
    """Neither a missing field nor an unknown one keeps a gateway from reading the rest, and none of them is a person's."""
    action = decode_verdict(f"confirmed|throttle|0.1||{AT_US}{rest}")
    assert action is not None
    assert (action.requests_per_min, action.by_person) == (None, False)


def test_references_are_short_and_repeatable() -> None:
    """A reference is sw- and 13 letters or digits, the same for one action and another for any other."""
    assert re.fullmatch("sw-[a-z2-7]{13}", reference("k1", AT_US))
    assert reference("k1", AT_US) == reference("k1", AT_US)
    assert len({reference(key, at_us) for key in ("k1", "k2") for at_us in (AT_US, AT_US + 1)}) == 4


def test_the_rule_of_a_level() -> None:
    """Each level has the policy's rule for it; what a contract or the allow-list covers, and lower levels, are observed."""
    policy = EnforcementSettings()
    for level, rule in ((Level.WATCH, policy.watch), (Level.SUSPECT, policy.suspect), (Level.CONFIRMED, policy.confirmed)):
        assert rule_for(level, policy, authorised=False, allowed=False) is rule
        assert rule_for(level, policy, authorised=True, allowed=False).action == "observe"
        assert rule_for(level, policy, authorised=False, allowed=True).action == "observe"
    assert rule_for(Level.CLEAR, policy, authorised=False, allowed=False).action == "observe"


def test_the_leak_alarm_slows_a_key_that_is_only_watched() -> None:
    """The gentlest step, at watch alone; can be turned off, is never milder than watch, and goes as far as policy may."""
    policy = EnforcementSettings()

    def asked(policy: EnforcementSettings, level: Level = Level.WATCH, **more: bool) -> ActionRule:
        facts = {"authorised": False, "allowed": False, "leaking": True, **more}
        return rule_for(level, policy, **facts)

    assert asked(policy) is policy.leak
    assert policy.leak.factor > policy.suspect.factor
    assert asked(policy, leaking=False) is policy.watch
    assert (asked(policy, Level.SUSPECT), asked(policy, Level.CONFIRMED)) == (policy.suspect, policy.confirmed)
    assert asked(policy, Level.CLEAR).action == "observe"
    assert {asked(policy, authorised=True).action, asked(policy, allowed=True).action} == {"observe"}
    off = EnforcementSettings(leak=ActionRule())
    assert asked(off) is off.watch
    strict = EnforcementSettings(watch=ActionRule(action="throttle", factor=0.1))
    assert asked(strict) is strict.watch
    none = ActionRule()
    careful = EnforcementSettings(automatic_up_to="observe", suspect=none, confirmed=none)
    assert asked(careful) is careful.watch
    with pytest.raises(ValidationError, match=r"enforcement\.leak\.action"):
        EnforcementSettings(leak=ActionRule(action="cap"))


def test_shares_are_fixed_and_even() -> None:
    """A key's place among all keys never changes, and a tenth of the keys lie below ten percent."""
    places = [share_of(f"{number:032x}") for number in range(5000)]
    assert places == [share_of(f"{number:032x}") for number in range(5000)]
    assert 0 <= min(places) <= max(places) < 100
    assert 400 < sum(place < 10 for place in places) < 600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "suspect",
        "suspect|block|0.25|20|1",
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
