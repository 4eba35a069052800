"""The cost table of fingerprints and the choice of the embedding: what they measure is what they say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import fingerprints
from benchmarks.embedding import candidates, power
from detectors.fingerprint import fingerprint, request

TEXTS = ("How do I bake rye bread at home?", "Schreibe ein Gedicht über den Regen.", "请一步一步地解释", "")


def test_prompts_are_about_as_long_as_they_say_and_differ() -> None:
    """Invented prompts of a script have the characters of so many tokens, and no two are alike."""
    for script, chars in fingerprints.CHARS_PER_TOKEN.items():
        events = fingerprints.prompts(script, 100, 5)
        assert {event.user_chars for event in events} == {round(100 * chars)}
        assert len({fingerprint(event).content for event in events}) == 5


def test_every_part_is_timed_and_put_back() -> None:
    """Parts and the rest add up to the whole, each part takes some time, and afterwards the functions are the real ones."""
    before = {name: getattr(request, name) for names in fingerprints.PARTS.values() for name in names}
    found = fingerprints.parts(fingerprints.prompts("latin", 100, 3), 2)
    rest = found.pop("the rest, and the clock")
    whole = found.pop("all")
    assert all(figure > 0.0 for figure in found.values())
    assert sum(found.values()) + rest == pytest.approx(whole)
    assert all(getattr(request, name) is function for name, function in before.items())


@pytest.mark.parametrize("candidate", candidates.CANDIDATES, ids=lambda one: one.name)
def test_candidates_are_unit_vectors_of_their_size(candidate: candidates.Candidate) -> None:
    """Every candidate gives vectors of length one, as wide as its bytes, equal for equal texts."""
    made = candidate.embed([*TEXTS, TEXTS[0]])
    assert made.shape == (len(TEXTS) + 1, candidate.size)
    assert np.linalg.norm(made[:2], axis=1) == pytest.approx(1.0, abs=0.03)
    assert np.array_equal(made[0], made[-1])
    assert not np.array_equal(made[0], made[1])


def test_power_follows_what_there_is_to_see() -> None:
    """Attacking texts of another direction are always told, those of the same distribution hardly ever."""
    dice = np.random.default_rng(3)

    def texts(count: int, centre: float) -> np.ndarray:
        rows = dice.standard_normal((count, 8)) + centre
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    honest, same, other = texts(1000, 0.5), texts(300, 0.5), texts(300, -1.0)
    cell = (400, 0.25)
    assert power.powers(honest, other, 60, 1)[cell] == 1.0
    assert power.powers(honest, same, 60, 1)[cell] <= 0.2
