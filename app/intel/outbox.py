"""What was approved, or taken back, goes into the feed of its group, also where a process died between the two.

Adding an object that is there already changes nothing, so every process may send whatever is not known to be sent. The
objects of a bundle go in as the very bytes that they have in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.errors import StateUnavailable
from app.intel.publishing import entries
from app.state.intel import Collection, NewObject
from app.state.intel_groups import Group, IntelGroups
from app.state.intel_published import Publications
from app.state.waiting import end

log = logging.getLogger(__name__)

LOOK_SEC = 5.0
"""How often it is looked for what another process left: a retraction that was begun is in the feed within this time."""


class Outbox:
    """Sends; `start` and `stop` frame a loop that finishes what others began.

    Args:
        publications: with what is to be sent.
        groups: trust groups.
        feed: the feed of a group.
    """

    def __init__(self, publications: Publications, groups: IntelGroups, feed: Callable[[Group], Collection]) -> None:
        self._publications = publications
        self._groups = groups
        self._feed = feed
        self._task: asyncio.Task[None] | None = None

    async def send(self, publication_id: str) -> bool:
        """Whether everything of it is in the feed now.

        Raises:
            StateUnavailable: the server is away; it is sent later.
        """
        found = await self._publications.get(publication_id)
        group = None if found is None else await self._groups.get(found.terms.group)
        if found is None or group is None or found.status not in ("published", "retracted"):
            log.warning("%s is not sent: it, or its trust group, is gone, or another has replaced it", publication_id)
            await self._publications.forget_unsent(publication_id)
            return False
        data = found.bundle if found.status == "published" else found.revocation
        await self._feed(group).add([NewObject(*entry) for entry in entries(data)])
        await self._publications.sent(found)
        return True

    async def finish(self) -> int:
        """Sends all that waits; how many there were."""
        waiting = await self._publications.unsent()
        for publication_id in waiting:
            await self.send(publication_id)
        return len(waiting)

    def start(self) -> None:
        """Finishes what waits now, and again and again until `stop`."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the loop; what waits stays known as waiting."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await self.finish()
            except StateUnavailable as error:
                log.warning("publications wait: %s", error)
            await asyncio.sleep(LOOK_SEC)
