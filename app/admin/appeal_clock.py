"""How many appeals wait, and for how long the oldest has, as metrics of the admin process."""

from __future__ import annotations

import asyncio
import time

from app.errors import StateUnavailable
from app.state.appeals import Appeals
from app.state.waiting import end
from app.telemetry import metrics

LOOK_SEC = 15.0
"""How often they are counted: another process may have filed or decided one."""


class AppealClock:
    """While the state server is away the last count stays, and the age goes on growing."""

    def __init__(self, appeals: Appeals) -> None:
        self._appeals = appeals
        self._oldest_us: int | None = None
        self._task: asyncio.Task[None] | None = None
        metrics.before_reading(self)

    def start(self) -> None:
        """Counts now, and again and again until `stop`."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stops counting."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def look(self) -> None:
        """Counts now."""
        try:
            count, self._oldest_us = await self._appeals.waiting()
        except StateUnavailable:
            return
        metrics.APPEALS_OPEN.set(count)

    def flush(self) -> None:
        """Sets the age, when the metrics are about to be read and while it runs."""
        if self._task is None:
            return
        waited = 0.0 if self._oldest_us is None else max(0.0, time.time() - self._oldest_us / 1e6)
        metrics.APPEAL_OLDEST_SECONDS.set(waited)

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SEC)
