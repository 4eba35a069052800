"""Reading log files line by line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from app.errors import BadInput
from app.offline import source
from app.offline.source import LogFile


def _numbered(path: Path) -> list[tuple[int, bytes]]:
    return list(LogFile(path).lines())


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_lines_carry_their_numbers_and_blank_lines_are_skipped(tmp_path: Path, ending: bytes) -> None:
    """A blank line counts for the numbering but is not handed out."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(ending.join([b"one", b"", b"three"]))
    assert _numbered(path) == [(1, b"one"), (3, b"three")]


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    """A compressed log is read whatever its name, and so is one of several gzip members."""
    path = tmp_path / "log.txt"
    path.write_bytes(gzip.compress(b"one\ntw") + gzip.compress(b"o\nthree\n"))
    assert _numbered(path) == [(1, b"one"), (2, b"two"), (3, b"three")]


def test_a_truncated_gzip_keeps_what_was_read_and_says_so(tmp_path: Path) -> None:
    """Every whole line before the cut is handed out; the broken one is not; the damage is one sentence."""
    lines = [f"line {i} {i * 7919 % 1000003}".encode() for i in range(20_000)]
    whole = gzip.compress(b"\n".join(lines))
    path = tmp_path / "cut.gz"
    path.write_bytes(whole[: len(whole) // 2])
    log = LogFile(path)
    found = [line for _, line in log.lines()]
    assert 5_000 < len(found) < 20_000
    assert found == lines[: len(found)]
    assert (
        log.damage
        == f"cut.gz ends in the middle of its gzip stream; the {len(found):,} whole lines before that place were used"
    )


def test_a_corrupt_gzip_stops_with_a_sentence(tmp_path: Path) -> None:
    """Bytes that are no deflate stream end the reading without an exception."""
    path = tmp_path / "bad.gz"
    path.write_bytes(gzip.compress(b"one\n") + b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 64)
    log = LogFile(path)
    assert [line for _, line in log.lines()] == [b"one"]
    assert "does not decode" in log.damage


def test_an_oversized_line_is_cut_and_the_next_ones_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line above the limit comes as limit + 1 bytes, so memory is bounded and the caller can tell."""
    monkeypatch.setattr(source, "MAX_LINE_BYTES", 10)
    monkeypatch.setattr(source, "_READ_BYTES", 7)
    path = tmp_path / "log"
    path.write_bytes(b"x" * 1000 + b"\nshort\n")
    assert _numbered(path) == [(1, b"x" * 11), (2, b"short")]


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    """The error names the path and the reason."""
    with pytest.raises(BadInput, match="No such file"):
        LogFile(tmp_path / "nothing")


def test_the_position_reaches_the_size(tmp_path: Path) -> None:
    """Progress over the compressed size ends at exactly 100 %."""
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"a\n" * 100_000))
    log = LogFile(path)
    assert sum(1 for _ in log.lines()) == 100_000
    assert log.position_bytes == log.size_bytes
