"""One turn of the loop, stage by stage.

What many connections have to do is done kind by kind rather than connection by connection: the processor then finds the
code of each kind in its caches, which saves more than a call costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Batch:
    """Calls of one kind, made together at the end of the turn of the loop in which they were added."""

    __slots__ = ("_calls", "_loop")

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, call: Callable[[], None]) -> None:
        """Call it soon; it must not raise."""
        if not self._calls:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()  # not yet there when the object is made
            self._loop.call_soon(self._run)
        self._calls.append(call)

    def _run(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call()
