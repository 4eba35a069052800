"""A key's recent exchanges, without text, out of what waits for the archive and out of the archive itself.

The scan is bounded: an answer may hold fewer exchanges than were asked for, even none, and still name a place to go on
from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from app.state.partition import parse_id
from app.state.recent_rows import RecentRows
from app.worker import rows
from app.worker.archive import ArchiveFile, newest_files
from detectors.event import Event

MAX_WAITING = 40_000
"""Rows of one partition that wait for the archive and are looked through: with the default settings all of them."""

MAX_FILES = 40
"""Archive files of one partition that one answer looks through, at some 10 ms each."""

_CHUNK = 2_000

Place = tuple[int, int]
"""A stream id as numbers, which order as the stream does."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One exchange; `place` orders it among the others."""

    place: Place
    event: Event


@dataclass(frozen=True, slots=True)
class Page:
    """Exchanges, newest first.

    Attributes:
        next_before: give it as `before` to go on; "" when there is nothing more.
        archive: whether this machine has an archive to look into.
    """

    found: tuple[Seen, ...]
    next_before: str
    archive: bool


@dataclass(slots=True)
class _Part:
    """What one partition gave: everything above `floor`, which is None when it was gone through to its end."""

    found: dict[Place, Event]
    floor: Place | None


class Recent:
    """Over one deployment's state and the archive folder, which may be on another machine."""

    def __init__(self, waiting: RecentRows, archive_dir: Path) -> None:
        self._waiting = waiting
        self._archive_dir = archive_dir

    async def page(self, key_id: str, partitions: Collection[int], before: str, limit: int) -> Page:
        """The newest `limit` exchanges of a key below a place.

        Args:
            key_id: the key.
            partitions: where it is or was known.
            before: a stream id, exclusive; "" for the newest.
            limit: most of them.

        Raises:
            StateUnavailable: the state server is away.
        """
        parts = [await self._part(key_id, partition, before, limit) for partition in sorted(set(partitions))]
        floor = max((part.floor for part in parts if part.floor is not None), default=None)
        places = sorted(
            ((place, event) for part in parts for place, event in part.found.items() if floor is None or place >= floor),
            key=lambda one: one[0],
            reverse=True,
        )
        shown = tuple(Seen(place, event) for place, event in places[:limit])
        if len(places) > limit:
            floor = shown[-1].place
        return Page(shown, "" if floor is None else f"{floor[0]}-{floor[1]}", self._archive_dir.is_dir())

    async def _part(self, key_id: str, partition: int, before: str, limit: int) -> _Part:
        part = _Part({}, None)
        needle, at, seen = key_id.encode(), before, 0
        while len(part.found) <= limit:
            chunk = await self._waiting.read(partition, at, _CHUNK)
            for entry_id, data in chunk:
                if needle in data:  # most rows are of other keys, and need no decoding
                    _take(part.found, entry_id, data, key_id)
            seen += len(chunk)
            if len(chunk) < _CHUNK:
                break
            at = chunk[-1][0]
            if seen >= MAX_WAITING:
                part.floor = parse_id(at)
                return part
        if len(part.found) <= limit:
            part.floor = await asyncio.to_thread(self._archived, part.found, key_id, partition, before, limit)
        else:
            part.floor = min(part.found)
        return part

    def _archived(self, found: dict[Place, Event], key_id: str, partition: int, before: str, limit: int) -> Place | None:
        """Adds what the archive has; returns the place down to which that is everything, None when it is all."""
        limit_at = parse_id(before) if before else None
        looked = 0
        for file in newest_files(self._archive_dir, partition):
            first = parse_id(file.first)
            if limit_at is not None and first >= limit_at:
                continue
            for place, event in _rows_of(file, key_id):
                if limit_at is None or place < limit_at:
                    found.setdefault(place, event)
            looked += 1
            if len(found) > limit or looked >= MAX_FILES:
                return first
        return None


def _take(found: dict[Place, Event], entry_id: str, data: bytes, key_id: str) -> None:
    try:
        event, _ = rows.decode(data)
    except ValueError:  # of another release
        return
    if event.key_id == key_id:
        found[parse_id(entry_id)] = event


def _rows_of(file: ArchiveFile, key_id: str) -> Iterator[tuple[Place, Event]]:
    """The rows of one key in a file; none where it cannot be read, which `archive check` tells more about."""
    try:
        frame = pl.scan_parquet(file.path).filter(pl.col("key_id") == key_id).collect()
        for row in rows.from_frame(frame):
            yield parse_id(row.entry_id), row.event
    except (PolarsError, OSError, TypeError, ValueError):
        return
