"""The event log as a gateway sees it: hand over an event and forget it.

Events of a partition gather while the batch before them is on its way, and leave in one script with the settlements that
came with them. A batch is known by its writer and number, and a marker on the server says which number was done last: a
batch whose answer was lost goes to the spool and is sent again under its name, so it is done once. Only after the marker
has expired (WRITER_TTL_SEC) could it be done twice.

What cannot be appended goes to the spool: state away, or a partition's stream at its bound (entries that no worker has
applied are never trimmed). What the spool cannot take is lost, and counted under its reason.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import hiredis

from app.errors import StateUnavailable
from app.settings import StateSettings
from app.state.decisions import read_script
from app.state.keys import WRITER_TTL_SEC, PartitionKeys
from app.state.link import Link, pack
from app.state.spool import Head, Settlement, Spool, SpoolFile, SpoolFull, Unit
from app.telemetry import metrics

log = logging.getLogger(__name__)

GATHER_SEC = 0.008
"""How long the first event of a batch waits for others."""

BATCH_EVENTS = 128
BATCH_BYTES = 256 * 1024
BATCH_SETTLEMENTS = 512

MEMORY_MAX_BYTES = 32 * 1024 * 1024
"""Events waiting in memory while the server is slow; beyond it they go to the spool."""

RESERVATION_SEC = 3600
"""A reservation that is older stays as it was charged; what a budget has refilled since must not be given back again."""

DRAIN_SEC = 0.25
FULL_SEC = 1.0
SCAN_SEC = 5.0
"""How often the spool is looked through for files that other processes left."""

STOP_SEC = 5.0
"""How long `stop` waits for the server before what is left goes to the spool."""

_TEMPORARY = (
    "OOM",
    "READONLY",
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "NOREPLICAS",
    "MISCONF",
    "TRYAGAIN",
    "NOAUTH",
)
"""Errors of the server that pass; a batch that is refused with another one would be refused for ever."""

_DONE, _REPEATED, _FULL = 1, 0, -1


class _Lane:
    """What waits for one partition."""

    __slots__ = ("busy", "events", "number", "partition", "settlements", "size", "stream", "writer", "writer_key")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.stream = PartitionKeys(partition).stream.encode()
        self.events: list[bytes] = []
        self.settlements: list[Settlement] = []
        self.size = 0  # bytes of the events
        self.busy = False  # a batch is on its way
        self.writer = ""
        self.writer_key = b""
        self.number = 0


class _Draining:
    """How far a spool file has been drained."""

    __slots__ = ("file", "position", "skipped")

    def __init__(self, file: SpoolFile) -> None:
        self.file = file
        self.position = 0
        self.skipped: list[int] = []  # before `position`, not appended yet, in order


class EventLog:
    """Appends events and settlements in batches. `append` returns at once and never raises."""

    def __init__(self, url: str, settings: StateSettings, spool_dir: Path) -> None:
        """Not connected yet.

        Args:
            url: of the state server.
            settings: partitions, timeout of background calls, bounds of streams and spool.
            spool_dir: folder of the spool, which processes may share.
        """
        self.link = Link(url, settings.background_timeout_ms)
        self._stream_max = settings.stream_max_entries
        self._spool = Spool(spool_dir, settings.spool_max_mb * 1024 * 1024)
        self._lanes = [_Lane(number) for number in range(settings.partitions)]
        self._ready: dict[_Lane, None] = {}  # lanes to be sent at the next flush, in order
        self._timer: asyncio.TimerHandle | None = None
        self._size = 0
        self._drainer: asyncio.Task[None] | None = None
        self._sha, self._text = read_script("settle")
        self._name = uuid.uuid4().hex[:12]
        self._writers = 0
        self._idle = asyncio.Event()
        self._on_the_way = 0

    async def start(self) -> bool:
        """Connects and begins to drain what the spool holds; false when the server is still away."""
        ready = await self.link.start()
        if self._drainer is None:
            self._drainer = asyncio.create_task(self._drain_for_ever())
        return ready

    async def stop(self, limit_sec: float = STOP_SEC) -> None:
        """Appends what waits; after the time limit, or when the server is away, it goes to the spool."""
        if self._drainer is not None:
            self._drainer.cancel()
            await asyncio.gather(self._drainer, return_exceptions=True)
            self._drainer = None
        try:
            async with asyncio.timeout(limit_sec):
                await self.flush()
        except TimeoutError:
            pass
        await self.link.stop()  # fails what is on its way; its callbacks run in the next turn
        await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        units = []
        for lane in self._lanes:
            while lane.events or lane.settlements:
                units.append(self._take(lane))
        self._put_aside(units)
        self._spool.rotate()
        metrics.SPOOL_BYTES.set(self._spool.waiting_bytes())

    async def flush(self) -> None:
        """Returns when everything that was handed over is appended or on disk."""
        while any(lane.events or lane.settlements for lane in self._lanes) or self._on_the_way:
            self._flush()
            self._idle.clear()
            if self._on_the_way:
                await self._idle.wait()

    def append(self, event: bytes | None, partition: int, settle: list[Settlement] | None = None) -> None:
        """Takes an event and what is to be settled with it; returns at once.

        Args:
            event: encoded; None where only something is settled.
            partition: of the caller's account root.
            settle: from `Reservation.settlements`.
        """
        lane = self._lanes[partition]
        if event is not None:
            lane.events.append(event)
            lane.size += len(event)
            self._size += len(event)
        if settle:
            lane.settlements += settle
        if not lane.busy:
            self._ready[lane] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SEC, self._flush)
        if self._size > MEMORY_MAX_BYTES:
            self._overflow()

    # Sending

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ready, self._ready = self._ready, {}
        unsent: list[Unit] = []
        for lane in ready:
            while not lane.busy and (lane.events or lane.settlements):
                unit = self._take(lane)
                if not self._send(lane, unit):
                    unsent.append(unit)
        self._put_aside(unsent)

    def _take(self, lane: _Lane) -> Unit:
        """The next batch of a lane."""
        events = lane.events
        if len(events) <= BATCH_EVENTS and lane.size <= BATCH_BYTES and len(lane.settlements) <= BATCH_SETTLEMENTS:
            unit = Unit(lane.partition, events, lane.settlements)
            self._size -= lane.size
            lane.events, lane.settlements, lane.size = [], [], 0
            return unit
        size = number = 0
        for event in events[:BATCH_EVENTS]:
            if number and size + len(event) > BATCH_BYTES:
                break
            number += 1
            size += len(event)
        unit = Unit(lane.partition, events[:number], lane.settlements[:BATCH_SETTLEMENTS])
        del events[:number], lane.settlements[:BATCH_SETTLEMENTS]
        lane.size -= size
        self._size -= size
        return unit

    def _send(self, lane: _Lane, unit: Unit) -> bool:
        """Sends a batch under the next number of the lane's writer; false when nothing was sent."""
        if not lane.writer:
            self._writers += 1
            lane.writer = f"{self._name}-{self._writers:x}"
            lane.writer_key = PartitionKeys(lane.partition).writer(lane.writer).encode()
            lane.number = 0
        try:
            future = self.link.call(self._command(lane.stream, lane.writer_key, lane.number + 1, unit))
        except StateUnavailable:
            return False
        lane.number += 1
        lane.busy = True
        self._on_the_way += 1
        unit.writer, unit.number = lane.writer, lane.number
        future.add_done_callback(partial(self._answered, lane, unit))
        return True

    def _command(self, stream: bytes, writer_key: bytes, number: int, unit: Unit, *, with_text: bool = False) -> bytes:
        keys = [stream, writer_key]
        places: dict[bytes, int] = {}
        tail: list[str | int] = []
        for name, reserved_us, arguments in unit.settlements:
            place = places.get(name)
            if place is None:
                keys.append(name)
                place = places[name] = len(keys)
            if reserved_us:
                tail += (place, reserved_us, len(arguments) // 2)
            else:
                tail += (place, 0)
            tail += arguments
        events = unit.events
        return pack(
            *(("EVAL", self._text) if with_text else ("EVALSHA", self._sha)),
            len(keys),
            *keys,
            *(number, WRITER_TTL_SEC, self._stream_max, len(events), RESERVATION_SEC * 1_000_000),
            *events,
            *tail,
        )

    def _answered(self, lane: _Lane, unit: Unit, future: asyncio.Future[Any]) -> None:
        """The batch was done, or was not, or nobody knows."""
        self._on_the_way -= 1
        lane.busy = False
        reply = None if future.cancelled() or future.exception() is not None else future.result()
        if reply in (_DONE, _REPEATED):
            metrics.EVENTS_APPENDED.inc(len(unit.events))
        elif reply == _FULL:
            # Nothing was done. The events wait on disk for a worker to catch up; what was reserved is settled now.
            self._put_aside([Unit(unit.partition, unit.events)])
            lane.settlements[:0] = unit.settlements
        elif isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT") and self._send_text(lane, unit):
            return
        else:
            # Unknown, or refused for now. Sent again under its name it is done once; its writer's name ends with it, so
            # that no later batch can overtake it.
            lane.writer = ""
            self._put_aside([unit])
        if not self._on_the_way:
            self._idle.set()
        if lane.events or lane.settlements:
            self._ready[lane] = None
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(GATHER_SEC, self._flush)

    def _send_text(self, lane: _Lane, unit: Unit) -> bool:
        """Sends a batch again with the script, which the server has forgotten."""
        try:
            future = self.link.call(self._command(lane.stream, lane.writer_key, unit.number, unit, with_text=True))
        except StateUnavailable:
            return False
        lane.busy = True
        self._on_the_way += 1
        future.add_done_callback(partial(self._answered, lane, unit))
        return True

    # Spooling

    def _overflow(self) -> None:
        """The server is so slow that events would fill the memory."""
        units = []
        for lane in self._lanes:
            while lane.events:
                units.append(self._take(lane))
        self._put_aside(units)

    def _put_aside(self, units: list[Unit]) -> None:
        """Writes units to the spool, and counts what cannot be written."""
        for unit in units:
            number = len(unit.events)
            try:
                self._spool.write([unit])
            except SpoolFull as full:
                if number:
                    metrics.EVENTS_DROPPED.labels(reason=full.reason).inc(number)
            else:
                metrics.EVENTS_SPOOLED.inc(number)

    async def _drain_for_ever(self) -> None:
        draining: _Draining | None = None
        scanned = -SCAN_SEC
        try:
            while True:
                if self.link.ready:
                    now = time.monotonic()
                    if draining is None and (self._spool.active or now - scanned > SCAN_SEC):
                        scanned = now
                        self._spool.rotate()
                        metrics.SPOOL_BYTES.set(self._spool.waiting_bytes())
                        claimed = self._spool.claim()
                        draining = _Draining(claimed) if claimed is not None else None
                    if draining is not None and await self._drain(draining):
                        draining = None
                        scanned = -SCAN_SEC  # there may be another file
                        continue
                await asyncio.sleep(FULL_SEC if draining is not None and draining.skipped else DRAIN_SEC)
        finally:
            if draining is not None:
                draining.file.close()

    async def _drain(self, draining: _Draining) -> bool:
        """One pass over a file; true when everything in it is appended, or counted as lost, and the file is gone."""
        file = draining.file
        skipped, draining.skipped = draining.skipped, []
        blocked: set[int] = set()  # partitions whose stream is full; what follows must not overtake
        at = 0
        while True:
            again = at < len(skipped)
            position = skipped[at] if again else draining.position
            head = file.peek(position)
            if head is None:
                break
            if head.partition in blocked:
                await asyncio.sleep(0)
                done: bool | None = False
            else:
                done = await self._append_again(file, position, head)
            if done is None:  # away again: go on here
                draining.skipped += skipped[at:]
                return False
            if not done:
                blocked.add(head.partition)
                draining.skipped.append(position)
            if again:
                at += 1
            else:
                draining.position = head.after
        if draining.skipped:
            return False
        file.remove()
        return True

    async def _append_again(self, file: SpoolFile, position: int, head: Head) -> bool | None:
        """Appends a spooled unit: true when it is done, false when the stream is full, None when state is away."""
        unit = file.load(head)
        if unit is None or unit.partition >= len(self._lanes):
            metrics.EVENTS_DROPPED.labels(reason="spool_damaged").inc(head.events)
            log.warning("a damaged record in the spool was skipped")
            return True
        names = PartitionKeys(unit.partition)
        stream, writer_key = names.stream.encode(), names.writer(unit.writer or file.writer).encode()
        number = unit.number or position + 1
        try:
            reply = await self.link.call(self._command(stream, writer_key, number, unit))
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                reply = await self.link.call(self._command(stream, writer_key, number, unit, with_text=True))
        except StateUnavailable:
            return None
        if reply in (_DONE, _REPEATED):
            metrics.EVENTS_APPENDED.inc(len(unit.events))
            return True
        if reply == _FULL:
            return False
        if str(reply).split(" ", 1)[0] in _TEMPORARY:
            return None
        metrics.EVENTS_DROPPED.labels(reason="refused").inc(len(unit.events))
        log.warning("the state server refused a spooled batch for good")
        return True
