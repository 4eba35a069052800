"""Corpora made from git snapshots: what each conversion yields, and what is left out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from benchmarks.corpora import __main__, attack, honest, row
from benchmarks.corpora.repository import NoCorpus, Repository

_AS = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def _repository(folder: Path, files: Mapping[str, str]) -> Repository:
    at = folder / "owner" / "name"
    for path, text in files.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_text(text, encoding="utf-8")
    for command in (("init", "-q"), ("add", "."), (*_AS, "commit", "-q", "-m", "x")):
        subprocess.run(["git", "-C", str(at), *command], check=True, capture_output=True)
    return Repository(folder, "owner/name")


def test_instructions_join_task_and_input(tmp_path: Path) -> None:
    """An instruction and its input are one prompt, with the answer beside it."""
    items = [{"instruction": "Sort these.", "input": "3 1", "output": "1 3"}, {"instruction": "Hello", "output": ""}]
    found = list(attack.instructions(_repository(tmp_path, {"a.json": json.dumps(items)}), "a.json"))
    assert [(one.prompt, one.response) for one in found] == [("Sort these.\n\n3 1", "1 3"), ("Hello", None)]


def test_dialogues_put_the_lines_of_a_side_together(tmp_path: Path) -> None:
    """Consecutive lines of a side are one turn, and a last question without an answer is left out."""
    lines = [
        "id\tn\tt\tfrom\ttext",
        "7\t1\t\tuser\tHi",
        "7\t2\t\tuser\ttwo seats",
        "7\t3\t\tagent\tDone",
        "7\t4\t\tuser\tBye",
    ]
    found = list(honest.booked(_repository(tmp_path, {"d.tsv": "\n".join(lines)}), "d.tsv", "Films"))
    assert [(one.prompt, one.response, one.session, one.turn) for one in found] == [("Hi two seats", "Done", "Films-7", 0)]


def test_every_text_stands_under_every_wording(tmp_path: Path) -> None:
    """Templates of a kind hold the same texts in the same order, under names the generator groups by."""
    found = list(honest.templated("imdb", ["one text", "another text"]))
    by: dict[str, list[str]] = {}
    for one in found:
        by.setdefault(str(one.user), []).append(one.prompt)
    assert set(by) == {f"imdb_{name}" for name, _ in honest.WORDINGS["imdb"]}
    assert all("one text" in prompts[0] and "another text" in prompts[1] for prompts in by.values())


def test_tags_of_words_are_taken_off() -> None:
    """A tagged text is read as it was written."""
    assert honest.untagged("The/at jury/nn said/vbd ./.") == "The jury said."


def test_rows_are_cut_and_slurs_left_out(tmp_path: Path) -> None:
    """Long prompts are cut, empty ones and those with a slur are left out."""
    rows = [row.Row("x" * 9000), row.Row("  "), row.Row("what a retard"), row.Row("fine", meta={"a": 1})]
    assert row.write(tmp_path / "made" / "s.parquet", rows) == 2
    table = pl.read_parquet(tmp_path / "made" / "s.parquet")
    assert table["prompt"].str.len_chars().to_list() == [row.MOST_CHARS, 4]
    assert table["meta"].to_list() == [None, '{"a": 1}']


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A repository that is not there, and a file that one lacks, are told in one sentence with what to do."""
    with pytest.raises(NoCorpus, match=r"no snapshot of owner/other .*git clone https://github.com/owner/other"):
        Repository(tmp_path, "owner/other")
    with pytest.raises(NoCorpus, match=r"owner/name has no file b\.json"):
        _repository(tmp_path, {"a.json": "[]"}).read("b.json")


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the repositories nothing is written and the status is 1."""
    monkeypatch.setattr(__main__, "find_bench", lambda: tmp_path)
    assert __main__.main(["--mirror", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "corpora: not made, no snapshot of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
