"""Events on disk while state is away: append-only files of checked records, one per process at a time.

Record: length of the body (u32), CRC-32 of the body (u32), partition (u16), number of events (u16), body; little-endian.
The body is a msgpack array, see `Unit`. A file belongs to whoever holds its lock, and the kernel frees the lock of a dead
process, so that another one takes over what it left. Files are written without fsync: a process that dies loses nothing
that was written, a machine that loses power may lose the last seconds.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import uuid
import zlib
from pathlib import Path
from typing import NamedTuple

import msgspec

_HEAD = struct.Struct("<IIHH")
_SUFFIX = ".spool"
_SIZE_CHECK_SEC = 1.0


Settlement = tuple[bytes, int, list[str | int]]
"""(hash, µs of the reservation, field and µs to add in turn) or (set, 0, [request id]), as settle.lua takes them."""


class Unit(msgspec.Struct, array_like=True, gc=False):
    """What is appended in one step, whole or not at all.

    Attributes:
        partition: whose stream.
        events: encoded events.
        settlements: what is trued up with them.
        writer: name under which it may have been appended already; empty when it was never sent.
        number: its number under that name.
    """

    partition: int
    events: list[bytes]
    settlements: list[Settlement] = []
    writer: str = ""
    number: int = 0


class Head(NamedTuple):
    """What stands before a record: where the next one begins, where its body is, and what the body should be."""

    after: int
    body_at: int
    length: int
    checksum: int
    partition: int
    events: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Unit)


class SpoolFull(Exception):
    """The spool has reached its bound, or the disk refuses: `reason` is a label, spool_full or spool_error."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SpoolFile:
    """One locked file."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @property
    def writer(self) -> str:
        """Name under which units of this file that were never sent are appended; the same for whoever drains it."""
        return self.path.name.removesuffix(_SUFFIX)

    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._descriptor).st_size

    def append(self, data: bytes) -> None:
        """Write whole records, or none: what a full disk cut short is taken back.

        Raises:
            OSError: the disk refuses.
        """
        before = self.size()
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def peek(self, position: int) -> Head | None:
        """The record at a position, without its body; None at the end of the file.

        A last record that was cut off by the end of its process is damaged; nothing can follow it.
        """
        size = self.size()
        if position >= size:
            return None
        raw = os.pread(self._descriptor, _HEAD.size, position)
        body_at = position + _HEAD.size
        if len(raw) < _HEAD.size:
            return Head(size, body_at, 0, 0, 0, 1)
        length, checksum, partition, events = _HEAD.unpack(raw)
        if not length:  # nothing is that short: zeros, as a file system leaves them where power was lost
            return Head(size, body_at, 0, 0, 0, 1)
        if body_at + length > size:
            return Head(size, body_at, 0, 0, partition, events)
        return Head(body_at + length, body_at, length, checksum, partition, events)

    def load(self, head: Head) -> Unit | None:
        """The unit of a record; None where it is damaged."""
        body = os.pread(self._descriptor, head.length, head.body_at)
        if not body or zlib.crc32(body) != head.checksum:
            return None
        try:
            return _decoder.decode(body)
        except msgspec.DecodeError:
            return None

    def remove(self) -> None:
        """Everything in it is safe elsewhere."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give the lock back; whoever takes it next drains what is left."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Spool:
    """The folder of one or more processes. Blocking, in small writes to the page cache."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Nothing is opened before the first record.

        Args:
            folder: made when needed, readable by its owner only: spooled events hold text.
            max_bytes: of all files in the folder.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._active: SpoolFile | None = None
        self._others_bytes = 0
        self._checked = 0.0
        self._refused_at = -_SIZE_CHECK_SEC  # when the disk refused last

    def write(self, units: list[Unit]) -> None:
        """Append units, all or none.

        Raises:
            SpoolFull: they do not fit, or the disk refuses.
        """
        data = b"".join(map(_encode, units))
        try:
            if self._active is None:
                self._active = self._create()
            if self._active.size() + self._others() + len(data) > self._max_bytes:
                raise SpoolFull("spool_full")
            self._active.append(data)
        except OSError:
            self._refused_at = time.monotonic()
            raise SpoolFull("spool_error") from None

    def has_room(self, size: int) -> bool:
        """So many bytes would fit now, as far as is known: a disk that refused is believed to for a second."""
        own = self._active.size() if self._active is not None else 0
        refused = time.monotonic() - self._refused_at < _SIZE_CHECK_SEC
        return not refused and own + self._others() + size <= self._max_bytes

    @property
    def active(self) -> bool:
        """This process has written something that is not claimed yet."""
        return self._active is not None

    def waiting_bytes(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self._files())

    def rotate(self) -> None:
        """Close the file that is written to, so that it can be claimed and drained."""
        if self._active is not None:
            active, self._active = self._active, None
            if active.size() == 0:
                active.remove()
            else:
                active.close()

    def claim(self) -> SpoolFile | None:
        """The oldest file that no living process holds, locked for us; None when there is none."""
        for path, _ in sorted(self._files()):
            locked = _lock(path, os.O_RDWR | os.O_APPEND)
            if locked is not None:
                return locked
        return None

    def _create(self) -> SpoolFile:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Names sort by age. They name a writer, too, so they must be unique over machines.
        path = self._folder / f"{time.time_ns() // 1_000_000:013d}-{uuid.uuid4().hex[:12]}{_SUFFIX}"
        locked = _lock(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        if locked is None:
            raise OSError("a new spool file is locked by another process")
        return locked

    def _others(self) -> int:
        now = time.monotonic()
        if now - self._checked > _SIZE_CHECK_SEC:
            self._checked = now
            own = self._active.path if self._active is not None else None
            self._others_bytes = sum(size for path, size in self._files() if path != own)
        return self._others_bytes

    def _files(self) -> list[tuple[Path, int]]:
        found = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.endswith(_SUFFIX):
                        try:
                            found.append((Path(entry.path), entry.stat().st_size))
                        except FileNotFoundError:  # drained meanwhile
                            continue
        except OSError:  # not made yet, or not ours to read
            return []
        return found


def _lock(path: Path, flags: int) -> SpoolFile | None:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink == 0:  # the previous owner drained it and removed it
            raise BlockingIOError
    except OSError:
        os.close(descriptor)
        return None
    return SpoolFile(path, descriptor)


def _encode(unit: Unit) -> bytes:
    body = _encoder.encode(unit)
    return _HEAD.pack(len(body), zlib.crc32(body), unit.partition, len(unit.events)) + body
