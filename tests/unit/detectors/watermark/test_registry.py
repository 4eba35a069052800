"""Mark profiles and their registry."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from detectors.watermark.registry import MarkProfile, Registry

SHA256 = "ab" * 32
PROFILE = MarkProfile(id="tutor", scheme="gumbel", tokenizer=SHA256, epoch="2026q4")
GREEN = MarkProfile(
    id="green.1",
    scheme="green",
    tokenizer="words-1",
    epoch="2026q3",
    context_width=1,
    positions=64,
    symbols=256,
    coin=0.5,
    gamma=0.25,
    delta=1.0,
    dedup="none",
    valid_from="2026-07-01",
    valid_until="2026-09-30",
)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("id", "", "1-64 of a-z"),
        ("id", "Tutor", "1-64 of a-z"),
        ("id", "-a", "1-64 of a-z"),
        ("id", "a" * 65, "1-64 of a-z"),
        ("id", "a\n", "1-64 of a-z"),
        ("scheme", "synthid", "one of gumbel, green, choice"),
        ("tokenizer", "gpt2", "the SHA-256 of a tokenizer file"),
        ("tokenizer", SHA256.upper(), "the SHA-256 of a tokenizer file"),
        ("tokenizer", SHA256 + "\n", "the SHA-256 of a tokenizer file"),
        ("epoch", "", "1-32 of"),
        ("epoch", "2026 Q4", "1-32 of"),
        ("prf", "sw2", "one of sw1"),
        ("context_width", 0, "from 1 to 16"),
        ("context_width", 17, "from 1 to 16"),
        ("positions", 62, "an even number from 64 to 1,024"),
        ("positions", 65, "an even number from 64 to 1,024"),
        ("positions", 1026, "an even number from 64 to 1,024"),
        ("symbols", 1, "a power of two from 2 to 256"),
        ("symbols", 15, "a power of two from 2 to 256"),
        ("symbols", 512, "a power of two from 2 to 256"),
        ("coin", 0.0, "from 0.05 to 0.75"),
        ("coin", 0.76, "from 0.05 to 0.75"),
        ("coin", float("nan"), "from 0.05 to 0.75"),
        ("gamma", 0.0, "between 0 and 1"),
        ("gamma", 1.0, "between 0 and 1"),
        ("gamma", float("nan"), "between 0 and 1"),
        ("delta", 0.0, "above 0 and at most 20"),
        ("delta", 20.1, "above 0 and at most 20"),
        ("delta", float("inf"), "above 0 and at most 20"),
        ("dedup", "corpus", "answer or none"),
        ("candidates", 1, "from 2 to 16"),
        ("candidates", 17, "from 2 to 16"),
        ("valid_from", "1.10.2026", "a day like 2026-10-01"),
        ("valid_until", "2026-02-30", "a day like 2026-10-01"),
        ("valid_until", "20261001", "a day like 2026-10-01"),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(field: str, value: object, rule: str) -> None:
    """One sentence: the field and the rule."""
    with pytest.raises(ValueError, match=f"^{field}: must be {rule}"):
        replace(PROFILE, **{field: value})  # type: ignore[arg-type]


def test_an_interval_runs_forward() -> None:
    """The last day is not before the first; the same day is one day in force."""
    with pytest.raises(ValueError, match="valid_until: must be not before valid_from"):
        replace(GREEN, valid_until="2026-06-30")
    day = replace(GREEN, valid_until="2026-07-01")
    assert day.valid_on("2026-07-01")
    assert not day.valid_on("2026-07-02")


def test_a_profile_is_in_force_between_its_days() -> None:
    """Both of them included; without days it always is."""
    assert [GREEN.valid_on(day) for day in ("2026-06-30", "2026-07-01", "2026-09-30", "2026-10-01")] == [
        False,
        True,
        True,
        False,
    ]
    assert PROFILE.valid_on("1999-01-01")
    assert replace(PROFILE, valid_from="2026-01-01").valid_on("2099-01-01")
    assert not replace(PROFILE, valid_from="2026-01-01").valid_on("2025-12-31")


def test_a_profile_does_not_change() -> None:
    """A mark that was made with it must be found with it."""
    with pytest.raises(FrozenInstanceError):
        PROFILE.coin = 0.5  # type: ignore[misc]


def test_what_is_dumped_is_read_back() -> None:
    """Every field of every profile, in their order."""
    registry = Registry([GREEN, PROFILE])
    read = Registry.parse(registry.dumped())
    assert list(read) == [GREEN, PROFILE]
    assert len(read) == 2
    assert read.of("tutor") == PROFILE


def test_a_profile_needs_four_fields() -> None:
    """The others have defaults; a whole number serves as a number with a fraction."""
    row = {"id": "tutor", "scheme": "gumbel", "tokenizer": SHA256, "epoch": "2026q4", "delta": 3}
    assert list(Registry.parse(json.dumps({"profiles": [row]}))) == [replace(PROFILE, delta=3)]


def test_a_profile_that_is_not_there_is_told_from_the_ones_that_are() -> None:
    """Their names are listed; a long name that was asked for is cut."""
    with pytest.raises(ValueError, match=r"profile: no profile is called 'x{64}'; there are: green\.1, tutor$"):
        Registry([GREEN, PROFILE]).of("x" * 500)


def test_no_profile_is_there_twice() -> None:
    """Two meanings of one name would be two marks."""
    with pytest.raises(ValueError, match="profiles: tutor is there twice"):
        Registry([PROFILE, replace(PROFILE, coin=0.5)])


def _with(**changes: object) -> str:
    return json.dumps({"profiles": [asdict(GREEN), {**asdict(PROFILE), **changes}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "profiles: not JSON"),
        ('{"profiles": [', "profiles: not JSON"),
        ("[]", "profiles: must be an object"),
        ("{}", "profiles: must be an object"),
        ('{"profiles": []}', "with at least one profile"),
        ('{"profiles": {"id": "a"}}', "with at least one profile"),
        ('{"profiles": ["tutor"]}', "profiles: entry 1 is no object"),
        ('{"profiles": [{"scheme": "gumbel"}]}', "profiles: entry 1: id: is missing"),
        ('{"profiles": [{"id": "a", "scheme": "gumbel", "tokenizer": "words-1"}]}', "entry 1: epoch: is missing"),
        (_with(hue=1), "profiles: entry 2 has an unknown field 'hue'"),
        (_with(coin="0.5"), "profiles: entry 2: coin: must be a number"),
        (_with(coin=None), "profiles: entry 2: coin: must be a number"),
        (_with(gamma=True), "profiles: entry 2: gamma: must be a number"),
        (_with(positions=128.0), "profiles: entry 2: positions: must be a whole number"),
        (_with(symbols=True), "profiles: entry 2: symbols: must be a whole number"),
        (_with(epoch=2026), "profiles: entry 2: epoch: must be a string"),
        (_with(coin=0.9), "profiles: entry 2: coin: must be from 0.05 to 0.75"),
        (_with(id="green.1"), r"profiles: green\.1 is there twice"),
    ],
)
def test_bad_text_is_refused_with_the_place(text: str, said: str) -> None:
    """Entry, field and rule."""
    with pytest.raises(ValueError, match=said):
        Registry.parse(text)
