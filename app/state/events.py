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
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import hiredis

from app.errors import StateUnavailable
from app.settings import StateSettings
from app.state.batch import DONE, FULL, REPEATED, Batches, forgotten
from app.state.cluster import link_to
from app.state.drain import Drainer
from app.state.spool import Settlement, Spool, SpoolFull, Unit
from app.telemetry import metrics

GATHER_SEC = 0.008
"""How long the first event of a batch waits for others."""

BATCH_EVENTS = 128
BATCH_BYTES = 256 * 1024
BATCH_SETTLEMENTS = 512

MEMORY_MAX_BYTES = 32 * 1024 * 1024
"""Events waiting in memory while the server is slow; beyond it they go to the spool."""

STOP_SEC = 5.0
"""How long `stop` waits for the server before what is left goes to the spool."""

ROOM_BYTES = 4 * 1024 * 1024
"""Room that the spool must have for what is on its way, or the log counts as losing events."""

STREAM_FULL_SEC = 5.0
"""How long a stream counts as full after it refused a batch."""


class _Lane:
    """What waits for one partition."""

    __slots__ = ("busy", "events", "number", "partition", "settlements", "size", "writer")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.events: list[bytes] = []
        self.settlements: list[Settlement] = []
        self.size = 0  # bytes of the events
        self.busy = False  # a batch is on its way
        self.writer = ""
        self.number = 0


class EventLog:
    """Appends events and settlements in batches. `append` returns at once and never raises."""

    def __init__(self, url: str, settings: StateSettings, spool_dir: Path, *, keep: bool = True) -> None:
        """Not connected yet.

        Args:
            url: of the state server.
            settings: partitions, timeout of background calls, bounds of streams and spool.
            spool_dir: folder of the spool, which processes may share.
            keep: spool what cannot be appended; false drops and counts it.
        """
        self.link = link_to(url, settings.background_timeout_ms, settings)
        self._keep = keep
        self._stream_full_at = -STREAM_FULL_SEC
        self._batches = Batches(settings.stream_max_entries)
        self._spool = Spool(spool_dir, settings.spool_max_mb * 1024 * 1024)
        metrics.SPOOL_BYTES.set_function(self._spool.waiting_bytes)
        metrics.SPOOL_LIMIT_BYTES.set(settings.spool_max_mb * 1024 * 1024)
        self._lanes = [_Lane(number) for number in range(settings.partitions)]
        self._ready: dict[_Lane, None] = {}  # lanes to be sent at the next flush, in order
        self._timer: asyncio.TimerHandle | None = None
        self._size = 0
        self._drainer = Drainer(self.link, self._spool, self._batches, settings.partitions)
        self._name = uuid.uuid4().hex[:12]
        self._writers = 0
        self._idle = asyncio.Event()
        self._on_the_way = 0

    async def start(self) -> bool:
        """Connects and begins to drain what the spool holds; false when the server is still away."""
        ready = await self.link.start()
        self._drainer.start()
        return ready

    async def stop(self, limit_sec: float = STOP_SEC) -> None:
        """Appends what waits; after the time limit, or when the server is away, it goes to the spool."""
        await self._drainer.stop()
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

    def losing(self) -> bool:
        """An event that came now could be lost: it cannot be appended for sure, and the spool has no room."""
        full = asyncio.get_running_loop().time() - self._stream_full_at < STREAM_FULL_SEC
        return (full or not self.link.whole) and not (self._keep and self._spool.has_room(ROOM_BYTES))

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
            lane.number = 0
        try:
            future = self.link.call(self._batches.command(unit, lane.writer, lane.number + 1), unit.partition)
        except StateUnavailable:
            return False
        lane.number += 1
        lane.busy = True
        self._on_the_way += 1
        unit.writer, unit.number = lane.writer, lane.number
        future.add_done_callback(partial(self._answered, lane, unit))
        return True

    def _answered(self, lane: _Lane, unit: Unit, future: asyncio.Future[Any]) -> None:
        """The batch was done, or was not, or nobody knows."""
        self._on_the_way -= 1
        lane.busy = False
        reply = None if future.cancelled() or future.exception() is not None else future.result()
        if reply in (DONE, REPEATED):
            metrics.EVENTS_APPENDED.inc(len(unit.events))
        elif reply == FULL:
            # Nothing was done. The events wait on disk for a worker to catch up; what was reserved is settled now.
            self._stream_full_at = asyncio.get_running_loop().time()
            self._put_aside([Unit(unit.partition, unit.events)])
            lane.settlements[:0] = unit.settlements
        elif forgotten(reply) and self._send_text(lane, unit):
            return
        else:
            # Unknown, or refused for now. Sent again under its name it is done once; its writer's name ends with it, so
            # that no later batch can overtake it.
            if reply is not None and not isinstance(reply, hiredis.ReplyError):
                self.link.distrust(unit.partition)  # no answer of this script
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
            command = self._batches.command(unit, unit.writer, unit.number, with_text=True)
            future = self.link.call(command, unit.partition)
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
            if not self._keep:
                metrics.EVENTS_DROPPED.labels(reason="not_kept").inc(number)
                continue
            try:
                self._spool.write([unit])
            except SpoolFull as full:
                if number:
                    metrics.EVENTS_DROPPED.labels(reason=full.reason).inc(number)
            else:
                metrics.EVENTS_SPOOLED.inc(number)
