"""A clock of the admin process: looks at the state now and then, and tells ages at the moment they are read."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from app.errors import StateUnavailable
from app.state.waiting import end
from app.telemetry import metrics

LOOK_SEC = 15.0
"""How often it is looked: what is counted is changed by other processes as well."""


class Clock(ABC):
    """While the state server is away the last counts stay, and the ages go on growing."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        metrics.before_reading(self)

    def start(self) -> None:
        """Looks now, and again and again until `stop`."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stops looking."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def look(self) -> None:
        """Looks now."""
        try:
            await self._look()
        except StateUnavailable:
            return

    def flush(self) -> None:
        """Sets the ages, when the metrics are about to be read and while it runs."""
        if self._task is not None:
            self._tell()

    @abstractmethod
    async def _look(self) -> None:
        """Reads the state; nothing is kept of a look that it breaks off."""

    @abstractmethod
    def _tell(self) -> None:
        """Sets the ages as of now."""

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SEC)
