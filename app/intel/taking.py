"""The loop that gives what members sent its meaning: one process does, under a lease, every TAKE_SEC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time

from app.errors import StateUnavailable
from app.intel.digesting import Digest, Digester
from app.state.intel_received import ReceivedQueue
from app.state.waiting import end
from app.telemetry import metrics

log = logging.getLogger(__name__)

TAKE_SEC = 1.0
LEASE_MS = 15_000
FORGET_SEC = 600.0
"""How often indicators that ended are forgotten."""


class Taking:
    """A digester as a task of a process.

    Args:
        digester: takes what waits.
        queue: what it takes from, for the lease.
    """

    def __init__(self, digester: Digester, queue: ReceivedQueue) -> None:
        self._digester = digester
        self._queue = queue
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(secrets.token_hex(8)))

    async def stop(self) -> None:
        """End, between two steps or in the middle of one: what is not done is taken again."""
        self._stop.set()
        if self._task is not None:
            await end(self._task)

    async def _run(self, owner: str) -> None:
        forgot = time.monotonic()
        fault = ""
        while not self._stop.is_set():
            busy = False
            try:
                if await self._queue.lease(owner, LEASE_MS):
                    done = await self._digester.step(_now_us())
                    _count(done)
                    busy = bool(done.taken or done.words or done.retracted or done.known or done.nothing or done.refused)
                    if time.monotonic() - forgot >= FORGET_SEC:
                        forgot = time.monotonic()
                        await self._digester.forget_ended(_now_us())
                fault = ""
            except StateUnavailable as error:
                if not fault:
                    log.warning("what members sent waits: %s", error)
                fault = "state"
            except Exception as error:  # an object must not end the loop for everybody; its words stay out
                if fault != type(error).__name__:
                    log.error("what members sent waits: %s while it was taken", type(error).__name__)
                fault = type(error).__name__
            if not busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TAKE_SEC):
                        await self._stop.wait()


def _count(done: Digest) -> None:
    for name in ("taken", "retracted", "words", "known", "nothing", "refused"):
        metrics.SHARED_DIGESTED.labels(result=name).inc(getattr(done, name))


def _now_us() -> int:
    return time.time_ns() // 1000
