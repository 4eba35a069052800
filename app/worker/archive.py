"""Applied events → Parquet files, by day and partition; listing and checking them.

    <archive>/day=2026-10-01/p0007-1790812800123-0-1790812861002-4.parquet

The name says which stream ids the file holds, first and last; the day is that of the first id, in UTC. A file appears
under its name complete or not at all. Its range is fixed in state before it is written and its rows are dropped from state
after it is safe, so a writer killed at any point is continued by the next one without losing or repeating a row. An erasure
replaces files by ones without the key's rows, and a day's folder goes when its retention has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from app.errors import BadInput
from app.state.partition import parse_id
from app.state.row_store import RowPlan, RowStore
from app.telemetry import metrics
from app.worker import rows
from detectors.event import TEXT_FIELDS, Event
from detectors.fingerprint import Fingerprint

log = logging.getLogger(__name__)

_NAME = re.compile(r"p(\d{4})-(\d+-\d+)-(\d+-\d+)\.parquet")
_DAY = re.compile(r"day=(\d{4}-\d{2}-\d{2})")
_MARK = ".writing-"
"""In the name of a file that is not finished."""

MAX_PLANNED = 1_000_000
"""More rows than any planned file holds."""


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One finished file; `first` and `last` are stream ids."""

    path: Path
    day: str
    partition: int
    first: str
    last: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """What a check found; `problems` are sentences that start with the file's name."""

    files: int
    rows: int
    size_bytes: int
    problems: tuple[str, ...]


def list_files(directory: Path) -> list[ArchiveFile]:
    """Every finished file, by partition and then in stream order.

    Raises:
        BadInput: the folder cannot be read.
    """
    found = [_parse(path) for day in _days(directory) for path in sorted(day.iterdir()) if path.suffix == ".parquet"]
    return sorted((file for file in found if file), key=lambda file: (file.partition, parse_id(file.first)))


def read_file(file: ArchiveFile) -> Iterator[rows.Row]:
    """The rows of one file, in order.

    Raises:
        BadInput: the file is damaged or no archive file.
    """
    try:
        yield from rows.from_frame(pl.read_parquet(file.path))
    except (PolarsError, OSError, TypeError, ValueError) as error:
        raise BadInput(f"archive file {file.path}: cannot be read ({type(error).__name__})") from None


def check(directory: Path) -> ArchiveReport:
    """Reads every file whole: schema, names against content, order, overlaps, and that no text is in it.

    Raises:
        BadInput: the folder cannot be read.
    """
    problems: list[str] = []
    for day in _days(directory):
        for path in sorted(day.iterdir()):
            if _MARK not in path.name and _parse(path) is None:
                problems.append(f"{day.name}/{path.name}: the name is not that of an archive file")
    total = size = 0
    before: ArchiveFile | None = None
    files = list_files(directory)
    for file in files:
        place = f"{file.path.parent.name}/{file.path.name}"
        count, found = _check_file(file)
        total, size = total + count, size + file.size_bytes
        problems += [f"{place}: {problem}" for problem in found]
        if before and before.partition == file.partition and parse_id(before.last) >= parse_id(file.first):
            problems.append(f"{place}: overlaps {before.path.parent.name}/{before.path.name}")
        before = file
    return ArchiveReport(len(files), total, size, tuple(problems))


def last_archived(directory: Path, partition: int) -> str | None:
    """Highest stream id of the partition that is in a finished file, by the names alone."""
    if not directory.is_dir():
        return None
    for day in reversed(_days(directory)):  # a later day holds later ids
        files = [file for path in day.glob(f"p{partition:04d}-*.parquet") if (file := _parse(path))]
        if files:
            return max((file.last for file in files), key=parse_id)
    return None


def newest_files(directory: Path, partition: int) -> Iterator[ArchiveFile]:
    """The partition's finished files, the newest first; folders of days are only looked into when they are reached."""
    if not directory.is_dir():
        return
    for day in reversed(_days(directory)):
        files = [file for path in day.glob(f"p{partition:04d}-*.parquet") if (file := _parse(path))]
        yield from sorted(files, key=lambda file: parse_id(file.first), reverse=True)


class ArchiveWriter:
    """Writes the rows of one leased partition."""

    def __init__(self, store: RowStore, directory: Path, max_rows: int, max_age_sec: float) -> None:
        self._store = store
        self._directory = directory
        self._max_rows = max_rows
        self._max_age_sec = max_age_sec
        self._started = False
        self._pending: RowPlan | None = None

    async def step(self, flush: bool = False) -> int:
        """Writes one file if enough rows wait, the oldest waited long enough, or `flush`; returns its number of rows.

        Raises:
            LeaseLost: another worker owns the partition. StateUnavailable: the server is away. OSError: disk trouble;
                the same file is tried again at the next step.
        """
        if not self._started:
            await self._recover()
        if self._pending is None:
            count, age_sec = await self._store.waiting()
            if not count or not (flush or count >= self._max_rows or age_sec >= self._max_age_sec):
                return 0
            waiting = _one_day(await self._store.read("-", "+", self._max_rows))
            self._pending = await self._store.plan(waiting[0][0], waiting[-1][0])
        return await self._write(self._pending)

    async def _recover(self) -> None:
        """Takes up what an earlier writer left: drops rows that are in a file already, keeps an unfinished plan."""
        partition = self._store.lease.partition
        self._pending = await self._store.pending()
        last = await asyncio.to_thread(last_archived, self._directory, partition)
        if last is not None:
            done = self._pending if self._pending and parse_id(self._pending.last) <= parse_id(last) else None
            await self._store.finish(last, done)
            self._pending = None if done else self._pending
        await asyncio.to_thread(_remove_unfinished, self._directory, partition)
        self._started = True

    async def _write(self, plan: RowPlan) -> int:
        path = path_of(self._directory, self._store.lease.partition, plan)
        written = 0
        if not path.exists():
            encoded = await self._store.read(plan.first, plan.last, MAX_PLANNED)
            written = await asyncio.to_thread(_write_file, path, encoded) if encoded else 0
        await self._store.finish(plan.last, plan)
        self._pending = None
        metrics.ARCHIVED_ROWS.inc(written)
        return written


def drop_key(directory: Path, partition: int, key_id: str, until_us: int) -> int:
    """Takes the rows of a key up to a time out of the partition's files; returns how many. A second run finds none.

    A file keeps its name and is replaced whole: whoever reads it sees the old or the new one.

    Raises:
        BadInput: the folder or a file cannot be read. OSError: disk trouble.
    """
    if not directory.is_dir():
        return 0
    wanted = (pl.col("key_id") == key_id) & (pl.col("at_us") <= until_us)
    dropped = 0
    for file in list_files(directory):
        if file.partition != partition:
            continue
        try:
            found: int = pl.scan_parquet(file.path).select(wanted.sum()).collect().item() or 0
            if found:
                _replace(file.path, pl.read_parquet(file.path).filter(~wanted))
        except PolarsError as error:
            raise BadInput(f"archive file {file.path}: cannot be read ({type(error).__name__})") from None
        dropped += found
    return dropped


def remove_days(directory: Path, keep_days: int, now_us: int) -> int:
    """Deletes the folders of days that ended more than `keep_days` days ago; returns how many.

    Raises:
        BadInput: the folder cannot be read. OSError: a file cannot be deleted.
    """
    if not directory.is_dir():
        return 0
    oldest = (datetime.fromtimestamp(now_us / 1e6, UTC) - timedelta(days=keep_days)).strftime("day=%Y-%m-%d")
    removed = 0
    for folder in _days(directory):
        if folder.name < oldest:
            for path in folder.iterdir():
                path.unlink(missing_ok=True)  # another worker may be doing the same
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()
            removed += 1
    return removed


def path_of(directory: Path, partition: int, plan: RowPlan) -> Path:
    """Where the file of a plan belongs."""
    return directory / f"day={_day_of(plan.first)}" / f"p{partition:04d}-{plan.first}-{plan.last}.parquet"


def _write_file(path: Path, encoded: Sequence[tuple[str, bytes]]) -> int:
    found = [rows.Row(entry_id, *pair) for entry_id, data in encoded if (pair := _decoded(data)) is not None]
    _make_durable_folder(path.parent)
    _replace(path, rows.to_frame(found))
    return len(found)


def _replace(path: Path, frame: pl.DataFrame) -> None:
    """Puts a file under its name, complete or not at all."""
    unfinished = path.with_name(f"{path.name}{_MARK}{secrets.token_hex(4)}")
    try:
        with unfinished.open("wb") as file:
            frame.write_parquet(file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _decoded(data: bytes) -> tuple[Event, Fingerprint] | None:
    try:
        return rows.decode(data)
    except ValueError as error:  # of another release; one such row must not stop the archive
        metrics.EVENTS_DROPPED.labels(reason="bad_row").inc()
        log.error("an archive row does not decode and is left out: %s", error)
        return None


def _make_durable_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """A rename or a new entry survives a crash only when its folder was synced too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_unfinished(directory: Path, partition: int) -> None:
    for path in directory.glob(f"day=*/p{partition:04d}-*{_MARK}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _one_day(found: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The rows of the first row's day."""
    day = _day_of(found[0][0])
    if _day_of(found[-1][0]) == day:
        return found
    return [row for row in found if _day_of(row[0]) == day]


def _day_of(entry_id: str) -> str:
    # Ids come from the server's clock; one past year 9999 can only be made by hand, and sorts last.
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(parse_id(entry_id)[0] // 1000, UTC).strftime("%Y-%m-%d")
    return "9999-12-31"


def _days(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir() and _DAY.fullmatch(path.name))
    except OSError as error:
        raise BadInput(f"archive folder {directory}: {error.strerror or 'cannot be read'}") from None


def _parse(path: Path) -> ArchiveFile | None:
    named, day = _NAME.fullmatch(path.name), _DAY.fullmatch(path.parent.name)
    if not named or not day:
        return None
    return ArchiveFile(path, day[1], int(named[1]), named[2], named[3], path.stat().st_size)


def _check_file(file: ArchiveFile) -> tuple[int, list[str]]:
    """Number of rows, and what is wrong with the file."""
    try:
        frame = pl.read_parquet(file.path)
    except (PolarsError, OSError, ValueError) as error:
        return 0, [f"cannot be read ({type(error).__name__})"]
    problems = [f"has the text column {name}" for name in frame.columns if name.removeprefix(rows.FP) in TEXT_FIELDS]
    wrong = [name for name, dtype in frame.schema.items() if name in rows.SCHEMA and rows.SCHEMA[name] != dtype]
    problems += [f"column {name} has type {frame.schema[name]}, not {rows.SCHEMA[name]}" for name in wrong]
    needed = [name for name in ("entry_ms", "entry_seq", "event_id", "at_us", "key_id") if name not in frame.columns]
    problems += [f"lacks the column {name}" for name in needed]
    if problems:
        return len(frame), problems
    ids = list(frame.select("entry_ms", "entry_seq").iter_rows())
    if any(later <= earlier for earlier, later in pairwise(ids)):
        problems.append("rows are not in stream order")
    # An erasure takes rows out, at the ends too; the name goes on saying which entries the file stands for.
    for row in {ids[0], ids[-1]} if ids else ():
        if not parse_id(file.first) <= row <= parse_id(file.last):
            problems.append(f"its name says ids {file.first} to {file.last}, and a row has {row[0]}-{row[1]}")
    if _day_of(file.first) != file.day:
        problems.append(f"it lies under {file.day}, its first id is of {_day_of(file.first)}")
    return len(ids), problems
