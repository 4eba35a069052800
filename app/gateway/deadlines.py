"""One timer for many deadlines.

A timer per request costs several microseconds and is cancelled almost always. Here a request that must not wait for
ever puts itself into a dictionary, and one timer looks through it now and then. Deadlines are therefore late by up to
the resolution.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Expiring(Protocol):
    """Something that may run out of time."""

    def expired(self) -> None:
        """Called once, after which the deadline is forgotten."""
        ...


class Deadlines:
    """Deadlines of one kind, all `timeout_sec` after they were set. Runs a timer only while there is something to watch."""

    __slots__ = ("_handle", "_loop", "_resolution", "_until", "timeout_sec")

    def __init__(self, timeout_sec: float) -> None:
        self.timeout_sec = timeout_sec
        self._resolution = min(1.0, timeout_sec / 8)
        self._until: dict[Expiring, float] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, item: Expiring) -> None:
        """Start, or start again, the time of `item`."""
        loop = self._loop
        if loop is None:
            # Taken at first use: the object is made before a loop runs, and belongs to one loop from then on.
            loop = self._loop = asyncio.get_running_loop()
        self._until[item] = loop.time() + self.timeout_sec
        if self._handle is None:
            self._handle = loop.call_later(self._resolution, self._look)

    def clear(self, item: Expiring) -> None:
        """Stop the time of `item`; nothing happens if it was not set."""
        self._until.pop(item, None)

    def expire_oldest(self) -> bool:
        """End the one that was set first before its time; false when there is none."""
        item = next(iter(self._until), None)
        if item is None:
            return False
        del self._until[item]
        item.expired()
        return True

    def close(self) -> None:
        """Forget everything and stop the timer."""
        self._until.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        loop = self._loop
        assert loop is not None
        now = loop.time()
        late = [item for item, until in self._until.items() if until <= now]
        for item in late:
            del self._until[item]
        # Armed before the callbacks, which may set new deadlines.
        self._handle = loop.call_later(self._resolution, self._look) if self._until else None
        for item in late:
            item.expired()
