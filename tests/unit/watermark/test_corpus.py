"""A corpus is read alike from every form, and what cannot be read is one sentence with file, line and rule."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from app.errors import BadInput
from app.watermark.corpus import Corpus, Reading

TEXTS = ["one still", "two stills and a worm", "käse ☕"]


def _texts(path: Path, reading: Reading | None = None, skip: int = 0) -> list[tuple[int, str]]:
    found = []
    for document in Corpus(path, reading or Reading()).documents(skip):
        content = document.content
        found.append((document.line, content if isinstance(content, str) else str(content.tolist())))
    return found


def _refused(path: Path, reading: Reading | None = None) -> str:
    with pytest.raises(BadInput) as error:
        _texts(path, reading)
    return str(error.value)


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    """Three texts, the second after an empty line."""
    path = tmp_path / "suspect.jsonl"
    lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(TEXTS)]
    path.write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
    return path


def test_json_lines_are_documents_with_their_line_numbers(jsonl: Path) -> None:
    """An empty line is none, and counts as a line."""
    assert _texts(jsonl) == [(1, TEXTS[0]), (3, TEXTS[1]), (4, TEXTS[2])]


def test_gzip_is_known_by_its_content(jsonl: Path, tmp_path: Path) -> None:
    """A packed file reads as the plain one, whatever it is called."""
    for name in ("packed.jsonl.gz", "named-wrongly.jsonl"):
        packed = tmp_path / name
        packed.write_bytes(gzip.compress(jsonl.read_bytes()))
        assert _texts(packed) == _texts(jsonl)


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    """Text and lists of tokens; a missing value is an empty document, since it counts as a row."""
    path = tmp_path / "suspect.parquet"
    pl.DataFrame({"text": [*TEXTS, None]}).write_parquet(path)
    assert _texts(path) == [(1, TEXTS[0]), (2, TEXTS[1]), (3, TEXTS[2]), (4, "")]
    pl.DataFrame({"ids": [[1, 2], [3]]}).write_parquet(path)
    assert _texts(path, Reading(field="ids")) == [(1, "[1, 2]"), (2, "[3]")]


def test_what_was_read_before_can_be_passed_over(jsonl: Path, tmp_path: Path) -> None:
    """The rest is the same in every form, and across the files of a folder."""
    parquet = tmp_path / "suspect.parquet"
    pl.DataFrame({"text": TEXTS}).write_parquet(parquet)
    for path in (jsonl, parquet, tmp_path):
        whole = _texts(path)
        for skip in range(len(whole) + 1):
            assert _texts(path, skip=skip) == whole[skip:]


def test_a_text_file_by_itself_is_divided_at_blank_lines(tmp_path: Path) -> None:
    """Lines with nothing but spaces divide, too; the place is the first line."""
    path = tmp_path / "suspect.txt"
    path.write_text("\n\nfirst\nline two\n \nsecond\n\n\nthird")
    assert _texts(path) == [(3, "first\nline two\n"), (6, "second\n"), (9, "third")]
    assert _texts(path, Reading(texts="file")) == [(1, path.read_text())]


def test_files_of_a_folder_are_documents_in_order_of_their_names(tmp_path: Path) -> None:
    """Hidden files and those of other kinds are passed over; the latter are counted."""
    for name, text in (
        ("b.txt", "bee\n\nbee"),
        ("a.txt", "ay"),
        ("sub/c.md", "sea"),
        (".hidden.txt", "no"),
        ("d.pdf", "no"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    corpus = Corpus(tmp_path)
    assert [file.name for file in corpus.files] == ["a.txt", "b.txt", "sub/c.md"]
    assert [document.content for document in corpus.documents()] == ["ay", "bee\n\nbee", "sea"]
    assert corpus.skipped_files == 1
    assert "each is one document" in corpus.said


def test_a_document_is_read_up_to_the_limit(tmp_path: Path) -> None:
    """Cut at a whole character, and said so; a token counts as four bytes. All else is read in full."""
    reading = Reading(limit_bytes=64)
    jsonl = tmp_path / "suspect.jsonl"
    jsonl.write_text(
        "".join(json.dumps(row) + "\n" for row in ({"text": "é" * 99}, {"text": "e" * 64}, {"tokens": [7] * 17}))
    )
    found = [(document.content, document.cut) for document in Corpus(jsonl, reading).documents()]
    assert found[:2] == [("é" * 32, True), ("e" * 64, False)]
    assert isinstance(found[2][0], np.ndarray)
    assert (len(found[2][0]), found[2][1]) == (16, True)
    text = tmp_path / "suspect.txt"
    text.write_text("x" + "é" * 99 + "\nmore\n\nshort\n")
    for texts, expected in (("blank-lines", ["x" + "é" * 31, "short\n"]), ("file", ["x" + "é" * 31])):
        cut = list(Corpus(text, Reading(limit_bytes=64, texts=texts)).documents())  # type: ignore[arg-type]
        assert [document.content for document in cut] == expected
        assert [document.cut for document in cut] == [True, False][: len(expected)]
        assert cut[-1].line == (4 if texts == "blank-lines" else 1)


def test_the_sum_of_a_folder_changes_with_a_name_and_with_a_byte(tmp_path: Path) -> None:
    """So that evidence cannot be taken for another corpus's."""
    (tmp_path / "a.txt").write_text("ay")
    first = Corpus(tmp_path).identity().sha256
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    second = Corpus(tmp_path).identity().sha256
    (tmp_path / "b.txt").write_text("az")
    assert len({first, second, Corpus(tmp_path).identity().sha256}) == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"text": "a"}\n{"text": "b', "suspect.jsonl: line 2: is cut off in the middle of its JSON"),
        (b'{"text": "a"}\n{"text" "b"}\n', "suspect.jsonl: line 2: is no JSON ("),
        (b'{"text": "a"}\n["b"]\n', "suspect.jsonl: line 2: must be a JSON object"),
        (b'{"text": "a"}\n{"body": "b"}\n', "suspect.jsonl: line 2: has no field 'text' and no 'tokens'; --field"),
        (b'{"text": 7}\n', "suspect.jsonl: line 1: text: must be a string or a list of whole numbers"),
        (b'{"text": "a"}\n{"text": "b\xff"}\n', "suspect.jsonl: line 2, byte 12: must be UTF-8, and holds 0xff"),
        (b'{"tokens": [1, -1]}\n',
         "suspect.jsonl: line 1: tokens: item 2 must be a whole number from 0 to 4,294,967,295 and is -1"),
        (b'{"tokens": [4294967295, 4294967296]}\n',
         "suspect.jsonl: line 1: tokens: item 2 must be a whole number from 0 to 4,294,967,295 and is 4294967296"),
        (b'{"tokens": [1, 2.5]}\n', "suspect.jsonl: line 1: tokens: item 2 must be a whole number from 0 to 4,294,967,295"),
        (b'{"tokens": [true]}\n', "suspect.jsonl: line 1: tokens: item 1 must be a whole number from 0 to 4,294,967,295"),
        (b'{"tokens": [1, "Geheimnis"]}\n', "suspect.jsonl: line 1: tokens: item 2 must be a whole number"),
        (b'{"tokens": [123456789012345678901234567890]}\n', "suspect.jsonl: line 1: tokens: item 1 must be a whole number"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_its_rule(tmp_path: Path, content: bytes, sentence: str) -> None:
    """File, line and what must be; nothing of the text."""
    path = tmp_path / "suspect.jsonl"
    path.write_bytes(content)
    said = _refused(path)
    assert said.startswith(sentence)
    assert "Geheimnis" not in said


def test_text_that_is_no_utf8_is_named_by_line_and_byte(tmp_path: Path) -> None:
    """Whether the file is one document or is divided."""
    path = tmp_path / "suspect.txt"
    path.write_bytes(b"good\n\nstill good\nab\xe9c\n")
    for texts in ("blank-lines", "file"):
        said = _refused(path, Reading(texts=texts))  # type: ignore[arg-type]
        assert said == "suspect.txt: line 4, byte 3: must be UTF-8, and holds 0xe9"


def test_a_packed_file_that_was_cut_off_is_refused(jsonl: Path, tmp_path: Path) -> None:
    """In the middle, and in its last bytes; one with a changed byte is damaged."""
    packed = tmp_path / "packed.jsonl.gz"
    whole = gzip.compress(jsonl.read_bytes() * 400)
    for length in (len(whole) // 2, len(whole) - 3):
        packed.write_bytes(whole[:length])
        assert _refused(packed) == "packed.jsonl.gz: is cut off in the middle of its gzip stream"
    packed.write_bytes(whole[:-6] + b"\0\0" + whole[-4:])
    assert _refused(packed) == "packed.jsonl.gz: is damaged: its gzip stream does not decode"


def test_a_parquet_file_that_is_cut_off_or_another_thing_is_refused(tmp_path: Path) -> None:
    """By name, and the column by what it is."""
    path = tmp_path / "suspect.parquet"
    pl.DataFrame({"body": TEXTS, "number": [1, 2, 3]}).write_parquet(path)
    assert _refused(path) == "suspect.parquet: has no column 'text'; --field names another"
    assert _refused(path, Reading(field="number")).startswith("suspect.parquet: column 'number' must be text or lists")
    path.write_bytes(path.read_bytes()[:-20])
    assert _refused(path).startswith("suspect.parquet: cannot be read as Parquet; it may be cut off")


def test_a_name_that_tells_nothing_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    """With the option that helps."""
    (tmp_path / "suspect").write_text('{"text": "a"}\n')
    assert _refused(tmp_path / "suspect").endswith("--form says whether it is jsonl, parquet or text")
    assert _texts(tmp_path / "suspect", Reading(form="jsonl")) == [(1, "a")]
    assert "holds no file that ends in" in _refused(tmp_path)
    assert _refused(tmp_path / "missing.jsonl").endswith("No such file or directory")
