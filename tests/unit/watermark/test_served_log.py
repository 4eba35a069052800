"""The log of served contexts: built from an archive, extended by the next, refused where it does not fit."""

from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path

import polars as pl
import pytest

from app.errors import BadInput, ConfigError, Conflict
from app.watermark import served_log
from detectors.watermark.keys import MasterSecret
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.words import words

PROFILE = MarkProfile("words-h2", "choice", "words-1", "2026q4", context_width=2)
SECRET = MasterSecret(bytes(range(32)))
ANSWERS = [
    ("alpha", "The quick brown fox jumps over the lazy dog."),
    ("beta", "Pack my box with five dozen liquor jugs, please."),
    ("alpha", "How vexingly quick daft zebras jump!"),
    ("../../etc", "Sphinx of black quartz, judge my vow: once more."),
]


def _jsonl(path: Path, rows: list[tuple[str, str]] = ANSWERS) -> Path:
    path.write_text("".join(json.dumps({"key": key, "text": text}) + "\n" for key, text in rows))
    return path


def _held(log: served_log.ServedLog, key: str, text: str) -> float:
    seeds, _ = Prf(SECRET, PROFILE).steps(words(text))
    return float(log.of(key).holds(seeds).mean())


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_key_holds_its_own_contexts(tmp_path: Path) -> None:
    """A key's set holds the contexts of its answers and of nobody else's; the model's holds all."""
    served_log.build(_jsonl(tmp_path / "answers.jsonl"), tmp_path / "log", PROFILE, SECRET)
    log = served_log.load(tmp_path / "log", PROFILE, SECRET)
    assert log.manifest.keys == ["../../etc", "alpha", "beta"]
    assert log.manifest.answers == 4
    for key, text in ANSWERS:
        assert [_held(log, name, text) for name in log.manifest.keys] == [float(name == key) for name in log.manifest.keys]
        assert log.model().holds(Prf(SECRET, PROFILE).steps(words(text))[0]).all()
    assert len(log.of("never")) == 0


def test_forms_of_an_archive_give_the_same_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON Lines, gzip and Parquet, texts and lists of tokens, give the same sets, in one portion or many."""
    plain = _jsonl(tmp_path / "a.jsonl")
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = tmp_path / "c.parquet"
    pl.DataFrame({"who": [key for key, _ in ANSWERS], "answer": [text for _, text in ANSWERS]}).write_parquet(table)
    listed = tmp_path / "d.jsonl"
    listed.write_text("".join(json.dumps({"key": key, "tokens": words(text).tolist()}) + "\n" for key, text in ANSWERS))
    built = {}
    for path in (plain, packed, listed):
        served_log.build(path, tmp_path / path.stem, PROFILE, SECRET)
        built[path.name] = _files(tmp_path / path.stem)
    served_log.build(table, tmp_path / "log-c", PROFILE, SECRET, key_field="who", field="answer")
    named = tmp_path / "f.jsonl"
    named.write_text("".join(json.dumps({"tenant": key, "answer": text}) + "\n" for key, text in ANSWERS))
    served_log.build(named, tmp_path / "log-f", PROFILE, SECRET)
    monkeypatch.setattr(served_log, "_BATCH", 1)
    served_log.build(plain, tmp_path / "log-e", PROFILE, SECRET, held=1)
    expected = built.pop("a.jsonl")
    assert all(found == expected for found in built.values())
    assert all(_files(tmp_path / f"log-{name}") == expected for name in "cef")


def test_folder_is_extended_by_the_next_archive(tmp_path: Path) -> None:
    """A second archive adds to the folder; the same archive again changes no set."""
    folder = tmp_path / "log"
    served_log.build(_jsonl(tmp_path / "one.jsonl", ANSWERS[:2]), folder, PROFILE, SECRET)
    log = served_log.build(_jsonl(tmp_path / "two.jsonl", ANSWERS[2:]), folder, PROFILE, SECRET)
    assert log.manifest.answers == 4
    assert _held(log, "alpha", ANSWERS[0][1]) == _held(log, "alpha", ANSWERS[2][1]) == 1.0
    before = {name: data for name, data in _files(folder).items() if name.endswith(".swc")}
    served_log.build(tmp_path / "two.jsonl", folder, PROFILE, SECRET)
    assert {name: data for name, data in _files(folder).items() if name.endswith(".swc")} == before


def test_broken_build_is_refused_and_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that ended in the middle cannot be opened; the same one again completes it."""
    monkeypatch.setattr(served_log, "_BATCH", 1)
    folder, archive = tmp_path / "log", tmp_path / "answers.jsonl"
    _jsonl(archive)
    whole = archive.read_text()
    archive.write_text(whole[:-20])
    with pytest.raises(BadInput, match="line 4: is cut off"):
        served_log.build(archive, folder, PROFILE, SECRET, held=1)
    assert len(list((folder / "keys").glob("*.swc"))) == 2
    with pytest.raises(BadInput, match="has not reached the end"):
        served_log.load(folder, PROFILE, SECRET)
    archive.write_text(whole)
    log = served_log.build(archive, folder, PROFILE, SECRET)
    assert log.manifest.answers == 4
    served_log.build(archive, tmp_path / "fresh", PROFILE, SECRET)
    assert _files(folder) == _files(tmp_path / "fresh")


def test_another_profile_or_secret_is_refused(tmp_path: Path) -> None:
    """A folder of another secret or profile is refused, to read and to extend: its contexts would never be met."""
    folder, archive = tmp_path / "log", _jsonl(tmp_path / "answers.jsonl")
    served_log.build(archive, folder, PROFILE, SECRET)
    other = MasterSecret(bytes(32))
    with pytest.raises(ConfigError, match="was built with the secret"):
        served_log.load(folder, PROFILE, other)
    with pytest.raises(ConfigError, match="was built with the secret"):
        served_log.build(archive, folder, PROFILE, other)
    wider = MarkProfile("words-h3", "choice", "words-1", "2026q4", context_width=3)
    with pytest.raises(ConfigError, match="words-h2"):
        served_log.load(folder, wider, SECRET)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('{"text": "no key"}', "answers.jsonl: line 2: has no field 'key'"),
        ('{"key": "", "text": "x"}', "answers.jsonl: line 2: key: must be a string of 1 to 512 characters"),
        ('{"key": [1, 2], "text": "x"}', "answers.jsonl: line 2: key: must be a string of 1 to 512 characters"),
        ('{"key": "a"}', "answers.jsonl: line 2: has no field 'text' and no 'tokens'"),
        ('{"key": "a", "tokens": [1, -2]}', "answers.jsonl: line 2: tokens: item 2 must be a whole number"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, rule: str) -> None:
    """A line that is not an answer of a key is named with the rule that it breaks."""
    archive = tmp_path / "answers.jsonl"
    archive.write_text(json.dumps({"key": "a", "text": "one two three"}) + "\n" + line + "\n")
    with pytest.raises(BadInput) as caught:
        served_log.build(archive, tmp_path / "log", PROFILE, SECRET)
    assert not (tmp_path / "log").exists()
    assert rule in str(caught.value)


def test_sets_of_keys_that_were_never_served_can_be_merged(tmp_path: Path) -> None:
    """The empty set of a key that was never served takes in another key's without loss: a group's members together."""
    log = served_log.build(_jsonl(tmp_path / "answers.jsonl"), tmp_path / "log", PROFILE, SECRET)
    together = log.of("never")
    together.merge(log.of("alpha"))
    assert together.exact
    assert len(together) == len(log.of("alpha")) > 0


def test_archive_without_an_answer_is_refused(tmp_path: Path) -> None:
    """An archive without an answer is an error, and leaves no folder."""
    with pytest.raises(BadInput, match="holds no answer"):
        served_log.build(_jsonl(tmp_path / "answers.jsonl", []), tmp_path / "log", PROFILE, SECRET)
    assert not (tmp_path / "log").exists()


def test_plain_text_is_refused(tmp_path: Path) -> None:
    """Plain text does not say whose an answer is."""
    (tmp_path / "answers.txt").write_text("hello")
    with pytest.raises(BadInput, match="does not say whose"):
        served_log.build(tmp_path / "answers.txt", tmp_path / "log", PROFILE, SECRET)


def test_only_its_owner_reads_it_and_nothing_of_an_answer_is_in_it(tmp_path: Path) -> None:
    """Files are their owner's alone, and hold no word of an answer."""
    folder = tmp_path / "log"
    served_log.build(_jsonl(tmp_path / "answers.jsonl"), folder, PROFILE, SECRET)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name, data in _files(folder).items():
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert b"quick" not in data
        assert b"zebras" not in data


def test_damaged_or_missing_set_is_one_error(tmp_path: Path) -> None:
    """A set that is cut short or missing, and a folder of something else, are one error each."""
    folder, archive = tmp_path / "log", _jsonl(tmp_path / "answers.jsonl")
    log = served_log.build(archive, folder, PROFILE, SECRET)
    path = folder / served_log.MODEL
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BadInput, match=r"model\.swc: contexts: .* bytes are needed"):
        log.model()
    path.unlink()
    with pytest.raises(BadInput, match=r"model\.swc: No such file"):
        log.model()
    with pytest.raises(BadInput, match="is no log of served contexts"):
        served_log.load(tmp_path, PROFILE, SECRET)
    with pytest.raises(BadInput, match="holds other files"):
        served_log.build(archive, tmp_path, PROFILE, SECRET)


def test_two_builds_do_not_write_to_one_folder(tmp_path: Path) -> None:
    """A second build into the same folder is refused while the first one runs."""
    archive, folder = _jsonl(tmp_path / "answers.jsonl"), tmp_path / "log"

    class Second:
        def stage(self, text: str, share: float = 0.0, events: int = 0) -> None:
            with pytest.raises(Conflict, match="another build"):
                served_log.build(archive, folder, PROFILE, SECRET)

        def at(self, share: float, events: int) -> None:
            pass

    assert served_log.build(archive, folder, PROFILE, SECRET, meter=Second()).manifest.answers == 4
