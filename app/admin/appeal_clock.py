"""How many appeals wait, and for how long the oldest has, as metrics of the admin process."""

from __future__ import annotations

import time

from app.admin.clock import Clock
from app.state.appeals import Appeals
from app.telemetry import metrics


class AppealClock(Clock):
    """Another process may have filed or decided one."""

    def __init__(self, appeals: Appeals) -> None:
        super().__init__()
        self._appeals = appeals
        self._oldest_us: int | None = None

    async def _look(self) -> None:
        count, self._oldest_us = await self._appeals.waiting()
        metrics.APPEALS_OPEN.set(count)

    def _tell(self) -> None:
        waited = 0.0 if self._oldest_us is None else max(0.0, time.time() - self._oldest_us / 1e6)
        metrics.APPEAL_OLDEST_SECONDS.set(waited)
