"""The worker: leases, consumption and archive as loops of one process.

Start order: leases → consumption → archive; a stop lets the running batch end, writes what waits for the archive, and gives
the partitions up. While the server is away every loop waits and tries again; nothing is lost, it only gets later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from app.enforcement.control import Control
from app.errors import BadInput, LeaseLost, StateUnavailable
from app.settings import Settings
from app.state.calls import Client
from app.state.order_repair import REPAIR_CHECK_SEC, OrderRepair
from app.state.ownership import Lease, Ownership
from app.state.partition import AlreadyApplied, PartitionStore
from app.state.queues import Queues
from app.state.row_store import RowStore
from app.telemetry import metrics
from app.worker.archive import ArchiveWriter
from app.worker.consume import Consumer
from app.worker.gauges import MEMORY_SEC, Gauges
from app.worker.hot import HotStates
from app.worker.inherit import INHERIT_CHECK_SEC, Inheritance, inherit
from app.worker.leases import LeaseKeeper
from app.worker.linking import LINK_CHECK_SEC, LinkJob
from app.worker.looker import LOOK_CHECK_SEC, Looker
from app.worker.sharing import SHARE_CHECK_SEC, Sharing
from app.worker.upkeep import ERASE_CHECK_SEC, Eraser, Retention
from detectors import model as models
from detectors.analysis import Analysis

log = logging.getLogger(__name__)

RETRY_SEC = 0.5
"""Pause after the server was away."""

ARCHIVE_CHECK_SEC = 1.0
"""How often waiting rows are looked at; a file is at most this much late."""


_Turn: TypeAlias = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class _Share:
    """One owned partition. The locks are held while a batch or a file is under way, so that giving it up waits for them."""

    lease: Lease
    consumer: Consumer
    archive: ArchiveWriter
    consuming: asyncio.Lock = field(default_factory=asyncio.Lock)
    archiving: asyncio.Lock = field(default_factory=asyncio.Lock)


def new_worker_id() -> str:
    """A name no other worker has: machine, process, and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def load_analysis(settings: Settings) -> Analysis:
    """The analysis with the configured model, or with the named rules alone."""
    directory = settings.worker.model_dir
    return Analysis(models.load(directory) if directory else models.rules_only())


class Worker:
    """One consumer of the event log. Any number may run; they share the partitions.

    Attributes:
        control: policy and allow-list as they change; it runs with the worker.
    """

    def __init__(self, client: Client, settings: Settings, analysis: Analysis, worker_id: str | None = None) -> None:
        self.id = worker_id or settings.worker.id or new_worker_id()
        self._client = client
        self._settings = settings
        self._analysis = analysis
        self.control = Control(settings, client)
        self._orders = OrderRepair(client, settings.state.partitions)
        self._queues = Queues(client)
        self._gauges = Gauges(client, analysis.model, settings.worker.model_dir)
        self._looker = Looker(client, self.id, settings.state.partitions, settings.worker, analysis)
        self._linking = LinkJob(client, self.id, settings.state.partitions, settings.worker, analysis)
        self._inheritance = Inheritance(client, settings)
        self._sharing = Sharing(client, settings, self.control)
        self._shares: dict[int, _Share] = {}
        self._waiting: set[_Turn] = set()  # loops that wait for the state server
        self._eraser = Eraser(client, settings.state.partitions, settings.archive_dir)
        self._retention = Retention(settings.archive_dir, settings.worker.archive_days)
        ownership = Ownership(client, self.id, settings.worker.lease_ms, lambda: self.control.rejected)
        self._leases = LeaseKeeper(ownership, settings.state.partitions, self._gain, self._lose)

    @property
    def owned(self) -> frozenset[int]:
        """Partitions this worker works on now."""
        return frozenset(self._shares)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then finishes the running batches, archives what waits and releases everything.

        Raises:
            ConfigError: the policy file cannot be read or is wrong.
        """
        await self.control.start()
        loops = (
            self._loop(self._tend_leases, self._settings.worker.lease_ms / 3000, stop),
            self._loop(self._consume, self._settings.worker.poll_ms / 1000, stop),
            self._loop(self._archive, ARCHIVE_CHECK_SEC, stop),
            self._loop(self._tidy, ERASE_CHECK_SEC, stop),
            self._loop(self._looker.step, LOOK_CHECK_SEC, stop),
            self._loop(self._linking.step, LINK_CHECK_SEC, stop),
            self._loop(self._inherit, INHERIT_CHECK_SEC, stop),
            self._loop(self._share, SHARE_CHECK_SEC, stop),
            self._loop(self._orders.step, REPAIR_CHECK_SEC, stop),
            self._loop(self._gauges.ask_memory, MEMORY_SEC, stop),
        )
        try:
            async with asyncio.TaskGroup() as group:
                for loop in loops:
                    group.create_task(loop)
        finally:
            await self.control.stop()
            await self._close()

    async def _loop(self, turn: _Turn, pause_sec: float, stop: asyncio.Event) -> None:
        """Takes turns until stopped; pauses after one that found nothing to do."""
        while not stop.is_set():
            try:
                busy, pause = await turn(), pause_sec
                self._goes_on(turn)
            except StateUnavailable as error:
                if not self._waiting:
                    log.warning("the worker waits: %s", error)
                self._waiting.add(turn)
                busy, pause = False, RETRY_SEC
            if not busy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)

    def _goes_on(self, turn: _Turn) -> None:
        """A turn went well; said once, when no loop waits any more."""
        if turn in self._waiting:
            self._waiting.discard(turn)
            if not self._waiting:
                log.info("the state server answers again; the worker goes on")

    async def _tend_leases(self) -> bool:
        await self._leases.tick()
        owned = sorted(self._shares)
        metrics.STREAM_LAG.set(sum((await self._queues.waiting(owned)).values()))
        metrics.STREAM_AGE_SECONDS.set(await self._queues.oldest_sec(owned))
        await self._gauges.count(owned)
        return False

    async def _consume(self) -> bool:
        """One batch of every owned partition in which something waits; true when there was any."""
        if not self.control.ready or not self._looker.ready:  # who is allowed, and what is frozen, is not known yet
            return False
        waiting = await self._queues.waiting(sorted(self._shares))
        for partition in waiting:
            share = self._shares.get(partition)
            if share is None:
                continue
            share.consumer.hot.capacity = self._hot_capacity()
            refused: LeaseLost | None = None
            async with share.consuming:
                try:
                    await share.consumer.step()
                except AlreadyApplied as error:
                    log.warning("%s", error)
                except LeaseLost as error:
                    refused = error
            if refused is not None:
                await self._refused(share, refused)
        self._gauges.judged()
        return bool(waiting)

    async def _archive(self, flush: bool = False) -> bool:
        wrote = 0
        for share in list(self._shares.values()):
            refused: LeaseLost | None = None
            async with share.archiving:
                try:
                    wrote += await share.archive.step(flush)
                except LeaseLost as error:
                    refused = error
                except (OSError, BadInput) as error:
                    metrics.ARCHIVE_FAILURES.inc()
                    log.error("an archive file could not be written: %s", error)
            if refused is not None:
                await self._refused(share, refused)
        return bool(wrote)

    async def _tidy(self) -> bool:
        """Erases what was asked for, and lets days of the archive go whose retention has ended."""
        try:
            await self._eraser.step(list(self._shares.values()))
        except (LeaseLost, OSError, BadInput) as error:
            log.error("an erasure could not be finished and is tried again: %s", error)
        await self._retention.step()
        return False

    async def _inherit(self) -> bool:
        """At the worker that links: what is done about campaigns follows who belongs to them, and the clock."""
        campaigns = self._linking.campaigns
        if campaigns is not None and self.control.ready:
            await inherit(self._inheritance, campaigns, self.control.policy, time.time_ns() // 1000)
        return False

    async def _share(self) -> bool:
        """What other providers shared is compared with keys; true while keys of long ago wait to be."""
        return self.control.ready and await self._sharing.step(self.owned)

    async def _refused(self, share: _Share, error: LeaseLost) -> None:
        log.warning("%s", error)
        if self._shares.get(share.lease.partition) is share:
            await self._leases.drop(share.lease.partition)

    async def _gain(self, lease: Lease) -> None:
        settings = self._settings.worker
        self._shares[lease.partition] = _Share(
            lease,
            Consumer(
                PartitionStore(self._client, lease, self._settings.state.stream_max_entries),
                self._analysis,
                self.control,
                settings.batch_entries,
                HotStates(self._hot_capacity()),
                settings.link,
                self._sharing,
            ),
            ArchiveWriter(
                RowStore(self._client, lease), self._settings.archive_dir, settings.archive_rows, settings.archive_sec
            ),
        )

    async def _lose(self, partition: int) -> None:
        share = self._shares.pop(partition, None)
        if share is not None:
            async with share.consuming, share.archiving:
                return  # a batch or file that was under way has ended; its commit has counted or was refused

    def _hot_capacity(self) -> int:
        return self._settings.worker.hot_profiles // max(1, len(self._shares))

    async def _close(self) -> None:
        try:
            while await self._archive(flush=True):
                pass
            await self._linking.release()
        except StateUnavailable as error:
            log.warning("rows were left for the next worker to archive: %s", error)
        await self._leases.close()
