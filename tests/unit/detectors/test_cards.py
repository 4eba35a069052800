"""Cards and their lock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from detectors import cards
from detectors.cards import BadCard, Locked
from detectors.model import rules_only
from detectors.scorers.registry import MODULES, RULES


def test_every_detector_has_a_card_of_its_version() -> None:
    """The detectors of a model that knows nobody, and those that need a history, each have a card with their version."""
    known = {one.name: one.version for one in cards.cards()}
    assert set(known) == set(MODULES) >= set(RULES)
    for scorer in rules_only().scorers:
        assert known[scorer.name] == scorer.version


def test_nothing_changed_under_a_locked_version() -> None:
    """Code and cards are those that were locked."""
    assert cards.differences(cards.lock(), cards.present()) == [], "run: python -m detectors.cards --lock"


def test_other_code_under_the_same_version_is_refused() -> None:
    """A new digest of code needs a new version; a new digest of a card, or a new version, is locked."""
    old = {"one": Locked("1", "aaaa", "bbbb")}
    assert cards.refused(old, {"one": Locked("1", "cccc", "bbbb")}) == [
        "one: its code changed and its version is still 1; raise it in the code and in the card"
    ]
    assert cards.refused(old, {"one": Locked("2", "cccc", "bbbb")}) == []
    assert cards.refused(old, {"one": Locked("1", "aaaa", "dddd"), "two": Locked("1", "eeee", "ffff")}) == []


def test_what_differs_is_said() -> None:
    """New, gone and changed detectors get a sentence each."""
    old = {"one": Locked("1", "a", "b"), "gone": Locked("1", "a", "b"), "card": Locked("1", "a", "b")}
    now = {"one": Locked("1", "c", "b"), "new": Locked("1", "a", "b"), "card": Locked("1", "a", "d")}
    assert cards.differences(old, now) == [
        "gone: was locked and is gone",
        "one: its code changed since version 1 was locked",
        "new: is not locked",
        "card: its card changed since version 1 was locked",
    ]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (('name = "probe"', 'name = "prob"'), "name is prob, not that of the file"),
        (('kind = "rule"', 'kind = "guess"'), "kind is 'guess', not one of rule, learned, peers, account"),
        (('kind = "rule"', 'kind = "rule"\nmood = 1'), "Object contains unknown field `mood`"),
        (('version = "1"\n', ""), "Object missing required field `version`"),
    ],
)
def test_a_bad_card_names_the_file_and_the_rule(
    change: Sequence[str], rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Misspelt, unknown and missing fields are each one clear error."""
    text = (Path(cards.__file__).parent / "scorers" / "cards" / "probe.toml").read_text("utf-8")
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "probe.toml").write_text(text.replace(*change))
    monkeypatch.setattr(cards, "files", lambda _: tmp_path)
    with pytest.raises(BadCard, match=r"cards/probe\.toml: ") as caught:
        cards.card("probe")
    assert rule in str(caught.value)
    with pytest.raises(BadCard, match="there is no card"):
        cards.card("absent")


def test_the_command_says_what_differs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --lock nothing is written and the status tells."""
    assert cards.main([]) == 0
    monkeypatch.setattr(cards, "lock", dict)
    assert cards.main([]) == 1
    assert "boosted: is not locked" in capsys.readouterr().err
    assert msgspec.structs.fields(Locked)
