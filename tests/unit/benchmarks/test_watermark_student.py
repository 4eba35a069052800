"""The teacher and the students of the watermark benchmark are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.watermark import student
from benchmarks.watermark.__main__ import main
from benchmarks.watermark.neural import SEES, Neural
from benchmarks.watermark.teacher import VOCABULARY, Trigram, corpus


def _cycle(length: int) -> np.ndarray:
    """A text whose next word is certain from the last two, and not from the last one."""
    return np.resize(np.array([1, 2, 1, 3, 4], np.uint32), length)


def test_trigram_is_a_distribution_and_learns_its_text() -> None:
    """A trigram's shares add up to one at every place, and the likeliest word is the one that always came."""
    model = Trigram([_cycle(200)])
    for before in ([1, 2], [9, 1], [9, 9]):
        assert model.next(before).sum() == pytest.approx(1.0)
    assert (model.predicted(_cycle(50))[2:] == _cycle(50)[2:]).all()


def test_neural_slopes_are_those_of_its_loss() -> None:
    """The slopes of the neural student are those of its loss, by differences."""
    randomness = np.random.default_rng(1)
    model = Neural([randomness.integers(0, VOCABULARY, 300).astype(np.uint32)], 0, 1)
    model._weights = [weight.astype(np.float64) for weight in model._weights]
    before, after = randomness.integers(0, 50, (8, SEES)), randomness.integers(0, VOCABULARY, 8)
    _, slopes = model._slopes(before, after)
    for weight, slope in zip(model._weights, slopes, strict=True):
        place = np.unravel_index(np.abs(slope).argmax(), slope.shape)
        around = []
        for step in (1e-5, -2e-5):
            weight[place] += step
            around.append(model._slopes(before, after)[0])
        assert (around[0] - around[1]) / 2e-5 == pytest.approx(slope[place], rel=1e-3)


def test_neural_student_learns_its_text() -> None:
    """A neural student predicts a text that it was trained on, and says it."""
    model = Neural([_cycle(3000)], 6, 1)
    assert (model.predicted(_cycle(50))[SEES:] == _cycle(50)[SEES:]).all()
    said = model.said([_cycle(10)], 40, np.random.default_rng(1), 0.5)[0]
    assert (said == _cycle(50)[10:]).mean() > 0.9


def test_corpus_is_the_language_reference() -> None:
    """The teacher's English is the hundred thousand words that Python carries."""
    text = corpus()
    assert 90_000 < len(text) < 150_000
    assert int(text.max()) < VOCABULARY
    assert (text == 0).mean() < 0.02


def test_command_prints_its_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command finds the leaker with a student of marked text and prints every table."""
    plan = student._Plan(10_000, 5000, (("gumbel", 2),), (1.0, 0.0), {("gumbel", 2): ()}, 10)
    monkeypatch.setattr(student, "QUICK", plan)
    monkeypatch.setattr(student, "OTHERS", 3)
    assert main(["student", "--quick"]) == 0
    told = capsys.readouterr().out
    assert "Leaker named: with 1 of 1 students that it taught,\n  with 0 of 1 others" in told
    assert told.count("| n-gram | gumbel-2 |") == 2
    assert "of one processor." in told
