"""What a worker does beside its work: erases keys from the partitions it owns, and lets archived days go."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Protocol

from app.errors import BadInput
from app.state.calls import Client
from app.state.campaigns import CampaignStore
from app.state.erasures import Erasure, Erasures, PartitionErasure
from app.state.intel_hits import Hits
from app.state.ownership import Lease
from app.state.row_store import RowStore
from app.state.traces import TraceStore
from app.worker import rows
from app.worker.archive import drop_key, remove_days
from app.worker.hot import HotStates

log = logging.getLogger(__name__)

ERASE_CHECK_SEC = 1.0
"""How often the list of erasures is read."""

RETENTION_CHECK_SEC = 3600.0
"""How often the archive is looked through for days whose retention has ended."""

_PAGE = 1000


class Consuming(Protocol):
    """What an erasure touches of a consumer."""

    hot: HotStates
    erased: dict[str, int]


class Owned(Protocol):
    """One owned partition."""

    @property
    def lease(self) -> Lease: ...  # noqa: D102
    @property
    def consumer(self) -> Consuming: ...  # noqa: D102
    @property
    def consuming(self) -> asyncio.Lock: ...  # noqa: D102
    @property
    def archiving(self) -> asyncio.Lock: ...  # noqa: D102


class Eraser:
    """Does for owned partitions what was asked for, once each, and says so."""

    def __init__(self, client: Client, partitions: int, archive_dir: Path) -> None:
        self._client = client
        self._erasures = Erasures(client, partitions)
        self._traces = TraceStore(client, partitions)
        self._campaigns = CampaignStore(client)
        self._hits = Hits(client)
        self._archive_dir = archive_dir
        self._known: set[tuple[str, int, int]] = set()  # (key id, until, partition) that need no second look

    async def step(self, shares: list[Owned]) -> None:
        """One look at the list.

        Raises:
            StateUnavailable: the server is away. LeaseLost: a partition has another owner, who will do it.
            OSError, BadInput: the archive; it is tried again.
        """
        asked = await self._erasures.asked()
        for share in shares:
            share.consumer.erased = asked  # before anything is deleted: what comes now is not counted any more
        now = {(key_id, until, share.lease.partition) for key_id, until in asked.items() for share in shares}
        self._known &= now
        for share in shares:
            for key_id, until_us in asked.items():
                if (key_id, until_us, share.lease.partition) not in self._known:
                    await self._erase(share, key_id)
                    self._known.add((key_id, until_us, share.lease.partition))

    async def _erase(self, share: Owned, key_id: str) -> None:
        erasure = await self._erasures.get(key_id)
        partition = share.lease.partition
        if erasure is None or partition in erasure.done:
            return
        # Between batches and files: what is under way still holds the key.
        async with share.consuming, share.archiving:
            share.consumer.hot.take([("key", key_id)])
            # The log before the hash: what is in the log no more, the linker does not put into the hash.
            await self._traces.drop(partition, key_id)
            if partition == 0:  # campaigns are of all partitions; the linker forgets the key by the list of requests
                await self._campaigns.erase(key_id)
                await self._hits.drop([key_id])
            state = PartitionErasure(self._client, share.lease)
            names = await state.names(key_id)
            waiting = await state.drop_rows(await self._rows_of(share.lease, erasure))
            archived = await asyncio.to_thread(drop_key, self._archive_dir, partition, key_id, erasure.asked_us)
        await self._erasures.note(erasure, partition, names, waiting, archived)
        if names or waiting or archived:
            log.info("a key was erased from partition %d: %d rows of the archive", partition, waiting + archived)

    async def _rows_of(self, lease: Lease, erasure: Erasure) -> list[str]:
        """Ids of the key's rows that wait for the archive."""
        store = RowStore(self._client, lease)
        found: list[str] = []
        first = "-"
        while page := await store.read(first, "+", _PAGE):
            found += [entry_id for entry_id, data in page if _is_of(data, erasure)]
            if len(page) < _PAGE:
                break
            first = f"({page[-1][0]}"
        return found


class Retention:
    """Deletes archived days that are older than the deployment keeps them."""

    def __init__(self, archive_dir: Path, keep_days: int) -> None:
        self._archive_dir = archive_dir
        self._keep_days = keep_days
        self._next = 0.0

    async def step(self) -> None:
        """Looks once in RETENTION_CHECK_SEC. Disk trouble is logged and tried again then."""
        if not self._keep_days or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + RETENTION_CHECK_SEC
        try:
            removed = await asyncio.to_thread(remove_days, self._archive_dir, self._keep_days, time.time_ns() // 1000)
        except (OSError, BadInput) as error:
            log.error("days of the archive could not be deleted: %s", error)
            return
        if removed:
            log.info("%d days of the archive are past their %d days and were deleted", removed, self._keep_days)


def _is_of(data: bytes, erasure: Erasure) -> bool:
    try:
        event, _ = rows.decode(data)
    except ValueError:
        return False  # it will not be archived either
    return event.key_id == erasure.key_id and event.at_us <= erasure.asked_us
