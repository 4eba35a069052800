"""Policies and plans as text, and the two files that people change by hand."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from app.enforcement.policy_text import digest, parse_plans, parse_policy, with_plans
from app.enforcement.switches import PolicyFile, read_kill, strongest
from app.errors import ConfigError
from app.settings import EnforcementSettings, LimitSettings

PAGE = Path(__file__).parents[3] / "docs" / "control.md"


def test_the_example_of_the_page_is_a_policy() -> None:
    """What an operator copies from there is valid and says what the page says it does."""
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    policy = parse_policy(example[1], "x")
    assert (policy.mode, policy.enforced_percent, policy.suspect.factor) == ("enforce", 10, 0.25)


def test_a_policy_has_one_digest_however_it_is_written() -> None:
    """Order, comments and defaults that are spelled out do not matter; any value that differs does."""
    one = parse_policy('mode = "enforce"\n[suspect]\naction = "throttle"\nfactor = 0.25\n', "x")
    two = parse_policy('suspect = {factor = 0.25, action = "throttle"} # the same\nmode = "enforce"\n', "x")
    assert digest(one) == digest(two)
    assert digest(one) != digest(parse_policy('mode = "enforce"\n[suspect]\naction = "throttle"\nfactor = 0.26\n', "x"))
    assert digest(parse_policy("", "x")) == digest(EnforcementSettings())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mode = ", "P is no valid TOML"),
        ("mode = 1", "P: mode: must be 'shadow' or 'enforce'"),
        ('[suspect]\naction = "suspend"', "P: suspect.action must not be above automatic_up_to, which is throttle"),
        ('automatic_up_to = "suspend"\n[watch]\naction = "step_up"', "P: step_up_url must be set, for watch.action is"),
        ("[suspect]\nfactor = 2", "P: suspect.factor: must be less than or equal to 1"),
        ("[enforcement]\nmode = 'shadow'", "P: enforcement: no such setting"),
        ("enforced_percent = 'many'", "P: enforced_percent: must be a number"),
    ],
)
def test_what_is_wrong_with_a_policy_is_one_sentence(text: str, said: str) -> None:
    """It begins with the place and names field and rule."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "P")
    assert str(caught.value).startswith(said)


def test_stored_plans_replace_those_of_the_same_name() -> None:
    """Others of the settings stay, and so does everything else about limits."""
    limits = LimitSettings(replicas=3)
    found = with_plans(limits, parse_plans('{"free": {"key": {"requests_per_min": 5}}}', "P"))
    assert set(found.plans) == {"default", "free"}
    assert (found.plans["free"].key.requests_per_min, found.replicas) == (5, 3)
    assert with_plans(limits, parse_plans("", "P")) is limits
    for text, said in (("[", "P is no valid JSON"), ('{"free": {"keys": {}}}', "P: free.keys: no such setting")):
        with pytest.raises(ConfigError) as caught:
            parse_plans(text, "P")
        assert str(caught.value).startswith(said)


def test_a_kill_file_switches_off_unless_it_is_absent(tmp_path: Path) -> None:
    """Empty or with any word it is actions, with the word all first it is all; a folder in its place is there, too."""
    path = tmp_path / "KILL"
    assert read_kill(path) == ""
    assert read_kill(tmp_path / "none" / "KILL") == ""
    for text, scope in (
        ("", "actions"),
        ("actions", "actions"),
        ("all\n", "all"),
        ("all because of x", "all"),
        ("off", "actions"),
    ):
        path.write_text(text)
        assert read_kill(path) == scope, text
    path.write_bytes(b"\xff" * 5000)
    assert read_kill(path) == "actions"
    path.unlink()
    path.mkdir()
    assert read_kill(path) == "actions"
    assert strongest("", "all", "actions") == "all"
    assert strongest("", "") == ""


def test_a_policy_file_is_read_when_it_was_left_alone(tmp_path: Path) -> None:
    """At first at once, then only after a look that finds the change and one that finds it as it was."""
    path = tmp_path / "policy.toml"
    path.write_text('mode = "enforce"')
    file = PolicyFile(path)
    assert file.changed() == EnforcementSettings(mode="enforce")
    assert file.changed() is None
    path.write_text("")  # as an editor does before it writes
    assert file.changed() is None
    path.write_text('mode = "enforce"\nenabled_percent = 5\n')
    assert file.changed() is None
    assert file.changed() == EnforcementSettings(mode="enforce", enabled_percent=5)
    (tmp_path / "new").write_text('mode = "enforce"\nenabled_percent = 6\n')
    os.replace(tmp_path / "new", path)
    assert file.changed() is None
    found = file.changed()
    assert found is not None
    assert found.enabled_percent == 6
    path.unlink()
    with pytest.raises(ConfigError, match=r"^policy file .*: No such file"):
        file.changed()
    path.write_text("mode = 'shadow'")
    assert file.changed() is None
    assert file.changed() == EnforcementSettings(mode="shadow")
