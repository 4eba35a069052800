"""Lines of a log file, plain or gzip, with their numbers — never more than one line in memory.

A log that was cut while it was being written is the normal case for an investigation: what can be read is used, and
the report says where it ended.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from app.errors import BadInput

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Twice the largest request body the gateway accepts by default; a longer line is no exchange."""

_GZIP_MAGIC = b"\x1f\x8b"
_READ_BYTES = 1 << 18
_INFLATE_BYTES = 1 << 20  # of one step, so that a compression bomb costs time and not memory


class LogFile:
    """A log file that is read once from front to back.

    Attributes:
        size_bytes: size of the file on disk.
        damage: sentence about why reading stopped early; empty when the file was read to its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = ""
        self.position_bytes = 0  # of the file on disk
        try:
            self.size_bytes = path.stat().st_size
            self._file = path.open("rb")
            self._compressed = self._file.read(2) == _GZIP_MAGIC
            self._file.seek(0)
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror or 'must be a file, not a pipe'}") from None

    def close(self) -> None:
        """Give the file back; reading to the end does it too."""
        self._file.close()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(line number from 1, line without its end).

        Blank lines are skipped. A line above the limit comes as its first MAX_LINE_BYTES + 1 bytes, so that the caller can
        tell. A last line that a damaged file breaks off is left out.
        """
        number = 0
        held: list[bytes] = []
        held_bytes = 0
        with self._file:
            for chunk in self._chunks():
                *ends, rest = chunk.split(b"\n")
                for part in ends:
                    number += 1
                    line = b"".join((*held, part)) if held else part
                    held, held_bytes = [], 0
                    if line := line[: MAX_LINE_BYTES + 1].rstrip(b"\r"):
                        yield number, line
                if rest and held_bytes <= MAX_LINE_BYTES:
                    held.append(rest)
                    held_bytes += len(rest)
        if held and not self.damage:
            yield number + 1, b"".join(held)[: MAX_LINE_BYTES + 1]
        if self.damage:
            self.damage += f"; the {number:,} whole lines before that place were used"

    def _chunks(self) -> Iterator[bytes]:
        try:
            yield from _inflate(self._read()) if self._compressed else self._read()
        except EOFError:
            self.damage = f"{self.path.name} ends in the middle of its gzip stream"
        except zlib.error:
            self.damage = f"{self.path.name} is damaged: its gzip stream does not decode"
        except OSError as error:
            self.damage = f"{self.path.name} cannot be read on: {error.strerror or 'read error'}"

    def _read(self) -> Iterator[bytes]:
        while chunk := self._file.read(_READ_BYTES):
            self.position_bytes += len(chunk)
            yield chunk


def _inflate(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompressed bytes of a gzip file of one or more members; EOFError when the last one is incomplete.

    Not ``gzip.GzipFile``: it drops up to a buffer of good data when it meets the end of a truncated file.
    """
    member = zlib.decompressobj(wbits=31)
    fresh = True
    for chunk in chunks:
        data = chunk
        while data:
            out = member.decompress(data, _INFLATE_BYTES)
            fresh = False
            if out:
                yield out
            if member.eof:
                data = member.unused_data.lstrip(b"\0")  # padding after a member is allowed
                member, fresh = zlib.decompressobj(wbits=31), True
            else:
                data = member.unconsumed_tail
    if not fresh:
        raise EOFError
