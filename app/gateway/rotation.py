"""A change of the pepper: every key gets a new id, and what is known of it has to come along.

Nobody can compute the new id but from the credential itself, so each key is taken over when it is next used. Until that is
done its requests go on under the old id: what is limited, throttled or suspended stays so, and no request waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from app.errors import StateUnavailable
from app.gateway.identity import Hasher
from app.telemetry import metrics

log = logging.getLogger(__name__)

MAX_REMEMBERED = 200_000
"""Keys known to be taken over; one that is forgotten is looked at again, which finds that there is nothing to do."""

MAX_RUNNING = 8
"""Keys taken over at a time, so that the first minute after a restart does not crowd out the decisions."""

RETRY_SEC = 1.0
"""Pause of a key's takeover when state was away."""

Adopt = Callable[[str, str], Awaitable[None]]
"""(old id, new id): takes everything over; StateUnavailable when it could not."""


class Rotation:
    """The overlap of two peppers in one gateway."""

    def __init__(self, previous: Hasher, adopt: Adopt) -> None:
        self._previous = previous
        self._adopt = adopt
        self._old_ids: OrderedDict[bytes, str] = OrderedDict()
        self._adopted: OrderedDict[str, None] = OrderedDict()
        self._running: dict[str, asyncio.Task[None]] = {}

    def old(self, secret: bytes) -> str:
        """The id under the previous pepper."""
        found = self._old_ids.get(secret)
        if found is None:
            found = self._old_ids[secret] = self._previous.key(secret)
            _bound(self._old_ids)
        return found

    def present(self, secret: bytes, key_id: str) -> str:
        """The id to use now: the new one once everything was taken over, which the first call begins."""
        if key_id in self._adopted:
            return key_id
        old = self.old(secret)
        if key_id not in self._running and len(self._running) < MAX_RUNNING:
            self._running[key_id] = asyncio.get_running_loop().create_task(self._take_over(old, key_id))
        return old

    async def stop(self) -> None:
        """What is not taken over yet is at the key's next request."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_over(self, old: str, new: str) -> None:
        try:
            await self._adopt(old, new)
        except StateUnavailable:
            await asyncio.sleep(RETRY_SEC)  # the next request tries again
        except Exception as error:
            # Whatever it is, the key works on under its old id; the message might quote what is stored.
            log.error("a key could not be taken over to its new id: %s", type(error).__name__)
            await asyncio.sleep(RETRY_SEC)
        else:
            self._adopted[new] = None
            _bound(self._adopted)
            metrics.KEYS_ADOPTED.inc()
        finally:
            self._running.pop(new, None)


def _bound(memory: OrderedDict[bytes, str] | OrderedDict[str, None]) -> None:
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
