"""A suspect student is asked from files; whose answers it was trained on is named, with the served contexts or without."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from app.errors import BadInput, ConfigError
from app.offline.progress import Silent
from app.watermark.roll import Roll, roll
from app.watermark.served_log import ServedLog, build, load
from app.watermark.student import StudentFindings, examine, sentences
from detectors.watermark.keys import MasterSecret
from detectors.watermark.registry import MarkProfile
from detectors.watermark.words import words

Tell = Callable[..., str]
Examine = Callable[..., StudentFindings]
TENANTS = [f"tenant-{number:03d}" for number in range(30)]


class Student:
    """Trigrams learned by heart: after two words, the third that it saw there most often, or any."""

    def __init__(self, texts: Sequence[str], vocabulary: Sequence[str]) -> None:
        self._after: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._vocabulary = vocabulary
        for text in texts:
            read = text.split()
            for first, second, third in zip(read, read[1:], read[2:], strict=False):
                self._after[first, second].append(third)

    def _next(self, first: str, second: str, dice: np.random.Generator) -> str:
        seen = self._after.get((first, second)) or self._vocabulary
        return str(dice.choice(seen))

    def write(self, seed: int, length: int = 60) -> str:
        """What it says, beginning anywhere in what it learned."""
        dice = np.random.default_rng(seed)
        begin = list(self._after)[int(dice.integers(len(self._after)))]
        said = list(begin)
        while len(said) < length:
            said.append(self._next(said[-2], said[-1], dice))
        return " ".join(said)

    def predict(self, text: str, seed: int) -> list[str]:
        """The word that it expects at each place."""
        read, dice = text.split(), np.random.default_rng(seed)
        return [read[0], read[1], *(self._next(*pair, dice) for pair in pairwise(read[:-1]))]


@pytest.fixture
def lessons(tell: Tell) -> dict[str, list[str]]:
    """Our answers: to one key that a student learned from, and to one that it did not."""
    return {
        "tenant-007": [tell(seed, "tenant-007") for seed in range(25)],
        "tenant-008": [tell(seed, "tenant-008") for seed in range(100, 125)],
    }


@pytest.fixture
def student(lessons: dict[str, list[str]], tell: Tell) -> Student:
    """Half of what it read is tenant-007's."""
    clean = [tell(seed) for seed in range(200, 225)]
    return Student([*lessons["tenant-007"], *clean], sorted({word for text in clean for word in text.split()}))


@pytest.fixture
def served(lessons: dict[str, list[str]], profile: MarkProfile, secret: MasterSecret, tmp_path: Path) -> ServedLog:
    """Contexts of all our answers, from two days' logs."""
    for tenant, answers in lessons.items():
        log = tmp_path / f"{tenant}.jsonl"
        log.write_text("".join(json.dumps({"tenant": tenant, "answer": answer}) + "\n" for answer in answers))
        build(log, tmp_path / "served", profile, secret)
    return load(tmp_path / "served", profile, secret)


@pytest.fixture
def ask(profile: MarkProfile, secret: MasterSecret, tmp_path: Path) -> Examine:
    """Examine rows of a file."""

    def _ask(rows: list[dict[str, object]], mode: str = "closed", served: ServedLog | None = None, of: Roll | None = None):  # type: ignore[no-untyped-def]
        said = tmp_path / "said.jsonl"
        said.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return examine(said, mode, profile, secret, of or roll(TENANTS), None, served, 1e-3, Silent())  # type: ignore[arg-type]

    return _ask


def test_the_key_that_a_student_learned_from_is_named_alone(student: Student, ask: Examine, served: ServedLog) -> None:
    """Closed mode; with the served contexts what it never saw is left out, and what it repeats of us weighs more."""
    rows = [{"prompt": "say on", "answer": student.write(seed)} for seed in range(40)]
    plain, filtered = ask(rows), ask(rows, served=served)
    for found in (plain, filtered):
        assert [key.name for key in found.named] == ["tenant-007"]
        assert found.model.log10_p < -4
        assert "It learned from answers to tenant-007" in sentences(found)
        assert "not about who did it" in sentences(found)
    assert plain.unserved == 0
    assert filtered.unserved > filtered.windows / 4
    assert filtered.model.z > plain.model.z


def test_a_student_of_other_text_names_nobody(tell: Tell, ask: Examine, served: ServedLog) -> None:
    """Neither a key nor the model."""
    texts = [tell(seed) for seed in range(300, 320)]
    clean = Student(texts, texts[0].split())
    for folder in (None, served):
        found = ask([{"answer": clean.write(seed)} for seed in range(40)], served=folder)
        assert found.named == []
        assert found.model.log10_p > -3
        assert "does not show in the student" in sentences(found)


def test_a_student_is_asked_by_what_it_predicts(
    student: Student, lessons: dict[str, list[str]], ask: Examine, served: ServedLog
) -> None:
    """Reading mode: on texts of ours its predictions are the marked words."""
    rows: list[dict[str, object]] = [
        {"text": text, "predicted": words(" ".join(student.predict(text, seed))).tolist()}
        for seed, text in enumerate(lessons["tenant-007"] + lessons["tenant-008"])
    ]
    found = ask(rows, "reading", served)
    assert [key.name for key in found.named] == ["tenant-007"]
    assert found.mode == "reading"


def test_what_stands_in_the_prompt_does_not_count(lessons: dict[str, list[str]], ask: Examine) -> None:
    """A model that repeats a marked prompt has learned nothing."""
    rows: list[dict[str, object]] = [{"prompt": text, "answer": text} for text in lessons["tenant-007"]]
    found = ask(rows)
    assert found.copied == found.windows
    assert found.named == []


def test_a_member_of_a_group_is_asked_on_its_half_and_the_group_on_the_other(
    tell: Tell, ask: Examine, profile: MarkProfile, secret: MasterSecret, tmp_path: Path
) -> None:
    """The group's contexts are its members' together."""
    answers = [tell(seed, "tenant-007", group="ring") for seed in range(40)]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"tenant": "tenant-007", "answer": answer}) + "\n" for answer in answers))
    build(log, tmp_path / "ring", profile, secret)
    pupil = Student(answers, answers[0].split())
    grouped = Roll(TENANTS, {"tenant-007": "ring", "tenant-009": "ring"})
    rows: list[dict[str, object]] = [{"answer": pupil.write(seed)} for seed in range(60)]
    found = ask(rows, served=load(tmp_path / "ring", profile, secret), of=grouped)
    assert {(key.name, key.kind) for key in found.named} == {("tenant-007", "tenant"), ("ring", "group")}
    assert found.asked == len(TENANTS) + 1


def test_no_word_of_an_answer_is_in_the_folder(served: ServedLog, lessons: dict[str, list[str]], tmp_path: Path) -> None:
    """Hashes alone, in files that only their owner reads; two logs add up."""
    assert served.manifest.keys == list(lessons)
    files = [path for path in (tmp_path / "served").rglob("*") if path.is_file()]
    assert len(files) == 3 + len(lessons)
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert lessons["tenant-007"][0].split()[0].encode() + b" " not in path.read_bytes()
    both = sum(len(served.of(tenant)) for tenant in lessons)
    assert len(served.model()) == pytest.approx(both, rel=0.01)
    assert len(served.of("nobody")) == 0


def test_a_folder_of_another_secret_is_refused(served: ServedLog, profile: MarkProfile, tmp_path: Path) -> None:
    """Its hashes would match nothing."""
    assert served.manifest.keys
    with pytest.raises(ConfigError, match="was built with the secret"):
        load(tmp_path / "served", profile, MasterSecret(bytes(32)))
    with pytest.raises(BadInput, match="is no log of served contexts"):
        load(tmp_path, profile, MasterSecret(bytes(32)))


@pytest.mark.parametrize(
    ("row", "mode", "sentence"),
    [
        ({"prompt": "a"}, "closed", "said.jsonl: line 1: has no field 'answer'"),
        ({"answer": 7}, "closed", "said.jsonl: line 1: answer: must be a string or a list of whole numbers"),
        ({"text": "a b c", "predicted": "a b c"}, "reading", "said.jsonl: line 1: predicted: must be a list of tokens"),
        ({"text": "a b c", "predicted": [1, 2]}, "reading",
         "said.jsonl: line 1: predicted: must hold a token for each of the text's 3, not 2"),
        ({"answer": "a"}, "closed", "holds nothing that is long enough to test"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(row: dict[str, object], mode: str, sentence: str, ask: Examine) -> None:
    """File, line, field and rule."""
    with pytest.raises(BadInput) as error:
        ask([row], mode)
    assert sentence in str(error.value)
