"""Appends what the spool holds once state is back: this process's files, and those that dead ones left.

A unit that was never sent is appended under the name of its file and its place in it, so that whoever drains the file, and
however often, it is done once. Units of a partition keep their order. Where a stream is full, or its node of a Cluster is
away, its units wait, and those of other partitions pass.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

import hiredis

from app.errors import StateUnavailable
from app.state.batch import DONE, FULL, REPEATED, Batches, forgotten, passes
from app.state.link import Caller
from app.state.spool import Head, Spool, SpoolFile
from app.telemetry import metrics

log = logging.getLogger(__name__)

DRAIN_SEC = 0.25
"""Pause between two looks at the spool."""

FULL_SEC = 1.0
"""Pause after a pass that left units behind because their streams are full or their node is away."""

REFUSALS = 5
"""How often a batch must be refused before it is given up: one refusal may have been damaged on its way."""

SCAN_SEC = 5.0
"""How often the folder is looked through for files that other processes left."""


class _Draining:
    """How far a spool file has been drained."""

    __slots__ = ("file", "position", "refused", "skipped")

    def __init__(self, file: SpoolFile) -> None:
        self.file = file
        self.position = 0
        self.skipped: list[int] = []  # before `position`, not appended yet, in order
        self.refused: Counter[int] = Counter()  # by position


class Drainer:
    """Drains one spool over one link, a unit at a time, so that live batches go first."""

    def __init__(self, link: Caller, spool: Spool, batches: Batches, partitions: int) -> None:
        self._link = link
        self._spool = spool
        self._batches = batches
        self._partitions = partitions
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Drains until `stop`."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """What is not appended yet stays on disk."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    async def _run(self) -> None:
        draining: _Draining | None = None
        scanned = -SCAN_SEC
        try:
            while True:
                try:
                    if draining is None and self._link.ready:
                        now = time.monotonic()
                        if self._spool.active or now - scanned > SCAN_SEC:
                            scanned = now
                            draining = self._next_file()
                    if draining is not None and self._link.ready and await self._drain(draining):
                        draining = None
                        scanned = -SCAN_SEC  # there may be another file
                        continue
                except OSError as error:  # the disk; what is on it is tried again
                    log.warning("the spool cannot be read: %s", type(error).__name__)
                    await asyncio.sleep(SCAN_SEC)
                await asyncio.sleep(FULL_SEC if draining is not None and draining.skipped else DRAIN_SEC)
        finally:
            if draining is not None:
                draining.file.close()

    def _next_file(self) -> _Draining | None:
        self._spool.rotate()
        claimed = self._spool.claim()
        return _Draining(claimed) if claimed is not None else None

    async def _drain(self, draining: _Draining) -> bool:
        """One pass over a file; true when everything in it is appended, or counted as lost, and the file is gone."""
        file = draining.file
        skipped, draining.skipped = draining.skipped, []
        blocked: set[int] = set()  # partitions that take nothing now; what follows must not overtake
        at = 0
        while True:
            again = at < len(skipped)
            position = skipped[at] if again else draining.position
            head = file.peek(position)
            if head is None:
                break
            if head.partition in blocked:
                await asyncio.sleep(0)
                done = False
            else:
                done = await self._append_again(draining, position, head)
            if not done and not self._link.ready:  # away again: go on here
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

    async def _append_again(self, draining: _Draining, position: int, head: Head) -> bool:
        """Appends a spooled unit; false when it must wait."""
        file = draining.file
        unit = file.load(head)
        if unit is None or unit.partition >= self._partitions:
            metrics.EVENTS_DROPPED.labels(reason="spool_damaged").inc(head.events)
            log.warning("a damaged record in the spool was skipped")
            return True
        writer, number = unit.writer or file.writer, unit.number or position + 1
        try:
            reply = await self._link.call(self._batches.command(unit, writer, number), unit.partition)
            if forgotten(reply):
                command = self._batches.command(unit, writer, number, with_text=True)
                reply = await self._link.call(command, unit.partition)
        except StateUnavailable:
            return False
        if reply in (DONE, REPEATED):
            metrics.EVENTS_APPENDED.inc(len(unit.events))
            return True
        if reply == FULL or passes(reply):
            return False
        if not isinstance(reply, hiredis.ReplyError):
            self._link.distrust(unit.partition)
            return False
        draining.refused[position] += 1
        if draining.refused[position] < REFUSALS:
            return False
        metrics.EVENTS_DROPPED.labels(reason="refused").inc(len(unit.events))
        log.warning("the state server refused a spooled batch for good")
        return True
