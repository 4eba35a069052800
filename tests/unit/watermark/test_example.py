"""The example that a search is tried on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.errors import BadInput
from app.watermark import example
from detectors.watermark.attribution import Roster, attribute
from detectors.watermark.evidence import Evidence
from detectors.watermark.keys import KeyRing, codewords
from detectors.watermark.prf import Prf
from detectors.watermark.registry import Registry
from detectors.watermark.words import words


def test_example_names_its_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that the example says it leaked through are the ones that are named; its secret is its owner's alone."""
    monkeypatch.setattr(example, "DOCUMENTS", 60)
    made = example.write(tmp_path / "drill")
    assert made.secrets.stat().st_mode & 0o077 == 0
    profile = Registry.parse(made.profiles.read_text()).of("example")
    secret = KeyRing.parse(made.secrets.read_text()).of("example")
    names = made.tenants.read_text().split()
    corpus = [words(json.loads(line)["text"]) for line in made.corpus.read_text().splitlines()]
    assert len(corpus) == 60
    roster = Roster(names, codewords(secret, names, profile.positions, profile.symbols), np.arange(profile.positions))
    found = attribute(Evidence.of(Prf(secret, profile), profile, corpus), [roster])
    assert {fit.name for fit in found.named} == {name for name, _ in example.LEAKED}
    assert len(made.answers.read_text().splitlines()) == sum(many for _, many in example.LEAKED)


def test_example_overwrites_nothing(tmp_path: Path) -> None:
    """A folder that holds something is refused."""
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(BadInput, match="must be empty"):
        example.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
