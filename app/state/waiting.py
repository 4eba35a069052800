"""Waiting for news of a stream, for copies that follow one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from redis.exceptions import ResponseError

from app.state.calls import Client, reachable

_AGAIN_SEC = 0.25


async def end(task: asyncio.Task[None]) -> None:
    """Cancels a task that talks to the server and returns when it has ended.

    redis-py may lose a cancellation that comes while it takes a connection, so it is asked until it has.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_AGAIN_SEC)


async def wait_for_change(client: Client, stream: str, after: str, wait_ms: int) -> bool:
    """Returns when the stream has an entry after that one, or the time is over; false where the server does not wait.

    It takes a connection of the client's pool as long as it waits. `wait_ms` must be shorter than the client's timeout.

    Raises:
        StateUnavailable: the server is away.
    """
    began = time.monotonic()
    with reachable("news"):
        try:
            found: Any = await client.xread({stream: after}, count=1, block=wait_ms)
        except ResponseError:  # some proxies refuse commands that block, others answer at once
            return False
    return bool(found) or time.monotonic() - began > wait_ms / 2000
