"""Whether the model API can be reached, for the log: one line when it goes away and one when it is back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

WARN_EVERY_SEC = 30.0
"""Least time between two warnings. An upstream that comes and goes faster is warned of once in that time."""


class Presence:
    """Told of each attempt to open a connection.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None  # when it went away; None: it is there
        self._warned = False  # of this absence
        self._warned_at = float("-inf")
        self._failed = 0

    def away(self, sentence: str) -> None:
        """A connection could not be opened; `sentence` says why and holds nothing of a client."""
        now = self._clock()
        if self._since is None:
            self._since, self._failed = now, 0
        self._failed += 1
        if not self._warned and now - self._warned_at >= WARN_EVERY_SEC:
            self._warned, self._warned_at = True, now
            log.warning("gateway.upstream: %s; requests are answered with 502 until it can be", sentence)

    def there(self) -> None:
        """A connection was opened."""
        if self._since is None:
            return
        if self._warned:
            seconds = self._clock() - self._since
            log.info("gateway.upstream: reached again after %.0f s and %d failed attempts", seconds, self._failed)
        self._since, self._warned = None, False
