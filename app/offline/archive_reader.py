"""The archive as replay reads it: each partition in the order in which the worker applied it.

A key and its organisation lie in one partition, so profiles do not care how partitions are put together. Looks at the whole
fleet do: what is judged comes in the order in which it was appended to the event log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from app.errors import BadInput
from app.offline.feeds import Item
from app.offline.progress import Meter
from app.offline.records import BadLines
from app.state.partition import parse_id
from app.worker.archive import ArchiveFile, list_files, read_file
from app.worker.rows import Row


def read_partitions(directory: Path) -> Iterator[tuple[int, Iterator[Item]]]:
    """(partition, its exchanges in order), partitions ascending. Use up an inner iterator before taking the next.

    Raises:
        BadInput: the folder cannot be read, or a file is damaged.
    """
    for partition, files in groupby(list_files(directory), key=lambda file: file.partition):
        yield partition, ((row.event, row.fingerprint) for file in files for row in read_file(file))


@dataclass(frozen=True, slots=True)
class _Border:
    """Where the history of a partition ended: its first row that belongs to the judged part."""

    file: int  # index in the partition's list
    row: tuple[int, int]


class ArchiveFeed:
    """What a live deployment archived. Unlike a log it must be whole: a gap would give states that live never had."""

    def __init__(self, directory: Path) -> None:
        files = list_files(directory)
        if not files:
            raise BadInput(f"archive folder {directory}: it holds no archive files")
        self._partitions = [list(group) for _, group in groupby(files, key=lambda file: file.partition)]
        self._borders: list[_Border | None] = [_Border(0, (0, 0)) for _ in self._partitions]
        self._size_bytes = sum(file.size_bytes for file in files)
        self._passed_bytes = 0
        self.bad = BadLines(0.0)
        self.notes: list[str] = []

    @property
    def share(self) -> float:
        """By bytes of the files that the present pass has left behind."""
        return self._passed_bytes / max(1, self._size_bytes)

    def span(self, meter: Meter) -> tuple[int, int]:
        """Reads one column of every file."""
        first: list[int] = []
        last: list[int] = []
        files = [file for files in self._partitions for file in files]
        for number, file in enumerate(files, 1):
            try:
                times: list[int] = pl.read_parquet(file.path, columns=["at_us"])["at_us"].to_list()
            except (PolarsError, OSError, ValueError) as error:
                raise BadInput(f"archive file {file.path}: cannot be read ({type(error).__name__})") from None
            if times:
                first.append(min(times))
                last.append(max(times))
            meter.at(number / len(files), number)
        if not first:
            raise BadInput("the archive holds no exchange")
        return min(first), max(last)

    def history(self, border_us: int) -> Iterator[Item]:
        """Of each partition what lies before its first exchange at or after the border."""
        self._passed_bytes = 0
        for number, files in enumerate(self._partitions):
            self._borders[number] = None
            for index, file in enumerate(files):
                for row in read_file(file):
                    if row.event.at_us >= border_us:
                        self._borders[number] = _Border(index, parse_id(row.entry_id))
                        break
                    yield _item(row)
                if self._borders[number] is not None:
                    break
                self._passed_bytes += file.size_bytes
            self._passed_bytes += _size(files[index:]) if self._borders[number] is not None else 0

    def rest(self) -> Iterator[Item]:
        """What the histories left, in the order in which it was appended: one file of each partition is open at a time."""
        self._passed_bytes = 0
        parts = [self._rest_of(files, border) for files, border in zip(self._partitions, self._borders, strict=True)]
        for row in merge(*parts, key=_place):
            yield _item(row)

    def _rest_of(self, files: list[ArchiveFile], border: _Border | None) -> Iterator[Row]:
        start = len(files) if border is None else border.file
        self._passed_bytes += _size(files[:start])
        for file in files[start:]:
            for row in read_file(file):
                if border is None or _place(row) >= border.row:
                    yield row
            self._passed_bytes += file.size_bytes


def _place(row: Row) -> tuple[int, int]:
    return parse_id(row.entry_id)


def _item(row: Row) -> Item:
    return row.event, row.fingerprint


def _size(files: list[ArchiveFile]) -> int:
    return sum(file.size_bytes for file in files)
