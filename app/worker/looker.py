"""Looks at the whole fleet: every worker reads the newest, and one of them, under a lease, makes the next.

Which interval is looked at, and under which look an exchange is judged, event time decides (`detectors.looks`), so that a
replay does the same. A look is due SETTLE_US after its interval's end, when no partition is behind that end; a partition
that is behind is waited for until the look has to count, and then it is made without what is missing there.
"""

from __future__ import annotations

import asyncio
import logging

from app.settings import WorkerSettings
from app.state.calls import Client
from app.state.looks import LookStore, Progress, read_looks
from app.telemetry import metrics
from detectors.analysis import Analysis
from detectors.looks import DELAY_US, SETTLE_US, Dated

log = logging.getLogger(__name__)

LOOK_CHECK_SEC = 5.0
"""How often the newest look is read, and whether another is due."""

LEASE_MS = 60_000
HOUR_US = 3_600_000_000


class Looker:
    """Keeps `Analysis.looks` as new as the state's.

    Attributes:
        ready: the looks were read once; before that nothing may be judged.
    """

    def __init__(self, client: Client, worker: str, partitions: int, settings: WorkerSettings, analysis: Analysis) -> None:
        self._worker = worker
        self._analysis = analysis
        self._store = LookStore(client, partitions, analysis.model.id)
        self._every_us = settings.look_hours * HOUR_US
        self._q = settings.called_honest_share
        self._read: bytes | None = None
        self.ready = False

    async def step(self) -> bool:
        """Reads the newest looks, and makes one that is due; true when there may be more to make.

        Raises:
            StateUnavailable: the server is away.
        """
        stored = await self._store.read()
        if stored != self._read:
            self._take(stored)
        self.ready = True
        number = due(await self._store.progress(), self._every_us, self._analysis.looks.newest)
        if number is None or not await self._store.lease(self._worker, LEASE_MS):
            return False
        cast = await self._store.ballots(number)
        made = await asyncio.to_thread(self._analysis.looks.after, self._analysis.model, number, cast)
        return await self._store.write(stored, made)

    def _take(self, stored: bytes) -> None:
        looks = read_looks(stored, self._every_us, self._q)
        first = self._read is None
        self._read, self._analysis.looks = stored, looks
        newest = looks.newest
        metrics.FEATURES_FROZEN.set(len(newest.frozen) if newest else 0)
        metrics.REFERENCE_OLD.set(1 if newest and newest.too_many else 0)
        metrics.KEYS_CALLED.set(newest.called if newest else 0)
        if newest is None:
            return
        if not first:
            metrics.LOOKS.inc()
        (log.warning if newest.too_many else log.info)("%s", told(newest))


def due(progress: Progress, every_us: int, newest: Dated | None) -> int | None:
    """The interval that is to be looked at now; None for none."""
    fleet_us = min(max(progress.newest_us, default=0), progress.now_us)
    for number in progress.numbers:
        end_us = (number + 1) * every_us
        if (newest is not None and number <= newest.number) or fleet_us < end_us + SETTLE_US:
            continue
        behind = any(progress.newest_us[at] < end_us for at in progress.waiting)
        return None if behind and fleet_us < end_us + DELAY_US else number
    return None


def told(look: Dated) -> str:
    """One look as a sentence; names of features are ours."""
    frozen = f"frozen: {', '.join(look.frozen)}" if look.frozen else "no feature is frozen"
    old = "; more moved than may be frozen, so the model's reference is old: fit a new one" if look.too_many else ""
    return (
        f"a look at the whole fleet: {look.voters:,} organisations, {frozen}{old}; {look.called:,} of {look.judged:,} "
        "judged keys stand out"
    )
