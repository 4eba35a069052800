"""What others are told of our words: valid STIX that another Stillwatch understands, with nothing of us in it."""

from __future__ import annotations

import json

import pytest

from app.intel import opinions, tlp
from app.intel.bundle import Provider, bundle, provider_id, validated
from app.intel.parse import Opinion, Revoked, Seen, meaning
from app.state.intel_words import OurWord, Said

A = Provider(provider_id("A"), "A")
NAME = "indicator--6c0a5c1e-3f0f-4a59-9d0c-2d5b7a1c9e10"
NOW = 1_800_000_000_000_000


def _said(word: OurWord = "agree", keys: int = 0, ended_us: int = 0) -> Said:
    return Said("labs", NAME, word, NOW - 5_000_000, NOW, "CANARYID", (("birch", "confirmed"),), keys, ended_us)


@pytest.mark.parametrize(
    ("keys", "told"), [(0, 0), (1, 0), (9, 0), (10, 10), (19, 10), (37, 30), (99, 90), (123, 100), (98_765, 90_000)]
)
def test_keys_told(keys: int, told: int) -> None:
    """Nothing is told of fewer than ten keys, and of more one digit."""
    assert opinions.told(keys) == told


@pytest.mark.parametrize("level", ["clear", "green", "amber", "amber+strict"])
@pytest.mark.parametrize("word", ["agree", "disagree"])
def test_valid_and_understood(word: OurWord, level: str) -> None:
    """stix2 takes the objects, they have the indicator's marking, and the other side reads what was meant."""
    made = opinions.objects(A, _said(word, 30 if word == "agree" else 0, NOW - 4_000_000), level)
    validated(bundle(made))
    assert all(one["object_marking_refs"] == [tlp.LEVELS[level]] for one in made)
    read = [meaning(one, NOW) for one in made]
    assert isinstance(read[0], Revoked)
    assert read[1] == Opinion((NAME,), word, NOW)
    assert read[2:] == ([Seen(NAME, 30, NOW)] if word == "agree" else [])


def test_same_objects_again() -> None:
    """A word makes the same objects each time, and a changed one a new version of the same opinion."""
    assert opinions.objects(A, _said(), "amber") == opinions.objects(A, _said(), "amber")
    first, second = (opinions.objects(A, _said(word), "amber")[0] for word in ("agree", "disagree"))
    assert (first["id"], first["created"]) == (second["id"], second["created"])


def test_nothing_of_us() -> None:
    """Neither the person nor the members that a word counts for leave, and red never does."""
    text = json.dumps(opinions.objects(A, _said(keys=30), "amber"))
    assert not [name for name in ("CANARYID", "birch", "labs", "confirmed") if name in text]
    with pytest.raises(ValueError, match="red"):
        opinions.objects(A, _said(), "red")
