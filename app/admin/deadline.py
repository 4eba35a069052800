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


@asynccontextmanager
async def answered(more_sec: float = 0.0) -> AsyncIterator[None]:
    """What is asked inside is answered in time. A body is read outside: a client may be slower than that.

    Raises:
        StateUnavailable: it is not.
    """
    try:
        async with asyncio.timeout(ANSWER_SEC + more_sec):
            yield
    except TimeoutError:
        raise StateUnavailable("the state server did not answer in time") from None
