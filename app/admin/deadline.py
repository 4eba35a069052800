"""One deadline for everything that a request asks of the state server, over all round trips, partitions and retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import StateUnavailable

ANSWER_SEC = 2.5
"""A person, or a check of a balancer, waits no longer; one attempt of `state.background_timeout_ms` fits in by default."""

ACCOUNTS_PER_SEC = 20_000
"""An import gets a second more for so many accounts: writing them is work, on a slow machine too."""

AGAIN_SEC = 0.25
"""redis-py may lose a cancellation that comes while it takes a connection, so what does not end is cancelled again."""


@asynccontextmanager
async def answered(more_sec: float = 0.0) -> AsyncIterator[None]:
    """What is asked inside is answered in time. A body is read outside: a client may be slower than that.

    Raises:
        StateUnavailable: it is not.
    """
    task = asyncio.current_task()
    assert task is not None
    late = _Strikes(task, ANSWER_SEC + more_sec)
    try:
        yield
    except asyncio.CancelledError:
        if late.taken_back():
            raise StateUnavailable("the state server did not answer in time") from None
        raise  # somebody else wants the task to end
    finally:
        late.taken_back()


class _Strikes:
    """Cancels a task when its time is over, and again until it has heard."""

    def __init__(self, task: asyncio.Task[object], seconds: float) -> None:
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._others = task.cancelling()
        self._number = 0
        self._timer = self._loop.call_later(seconds, self._strike)

    def _strike(self) -> None:
        self._number += 1
        self._task.cancel()
        self._timer = self._loop.call_later(AGAIN_SEC, self._strike)

    def taken_back(self) -> bool:
        """No more strikes; true when there were some, and nobody else has cancelled the task meanwhile."""
        self._timer.cancel()
        struck, self._number = self._number, 0
        for _ in range(struck):
            self._task.uncancel()
        return bool(struck) and self._task.cancelling() <= self._others
