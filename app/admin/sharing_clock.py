"""What of sharing waits, and for how long, as metrics of the admin process: peers, received objects, what leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence

from app.admin.clock import Clock
from app.intel.taxii.peers import Peer
from app.intel.taxii.poller import own_entry
from app.state.intel_outgoing import Outgoing
from app.state.intel_polls import Polls
from app.state.intel_published import Publications
from app.state.intel_received import ReceivedQueue
from app.telemetry import metrics


class SharingClock(Clock):
    """Of several admin processes one polls and takes, and every one shows how that goes.

    Args:
        peers: that are read.
        polls: when each was read.
        queue: received objects.
        outgoing: our words to peers.
        publications: with those that are not in their feed yet.
    """

    def __init__(
        self, peers: Sequence[Peer], polls: Polls, queue: ReceivedQueue, outgoing: Outgoing, publications: Publications
    ) -> None:
        super().__init__()
        self._peers = peers
        self._polls = polls
        self._queue = queue
        self._outgoing = outgoing
        self._publications = publications
        self._began_us = time.time_ns() // 1000
        self._read_us: dict[str, int] = {}
        self._received_us: int | None = None
        self._unsent_us: dict[str, int | None] = {"publications": None, "words": None}

    async def _look(self) -> None:
        polls = await self._polls.all()
        waiting = sum(source.objects for source in await self._queue.sources())
        received_us = await self._queue.oldest_us()
        unsent, published_us = await self._publications.waiting()
        words = [(await self._outgoing.count(peer.name), await self._outgoing.oldest_us(peer.name)) for peer in self._peers]
        for peer in self._peers:
            poll = polls.get((peer.name, own_entry(peer)))
            self._read_us[peer.name] = poll.good_us if poll is not None else 0
        self._received_us = received_us
        self._unsent_us["publications"] = published_us
        self._unsent_us["words"] = min((at_us for _, at_us in words if at_us is not None), default=None)
        metrics.SHARED_WAITING.set(waiting)
        metrics.SHARED_UNSENT.labels(what="publications").set(unsent)
        metrics.SHARED_UNSENT.labels(what="words").set(sum(count for count, _ in words))

    def _tell(self) -> None:
        now_us = time.time_ns() // 1000
        for peer in self._peers:
            unread_sec = _seconds(now_us, self._read_us.get(peer.name) or self._began_us)
            metrics.PEER_OVERDUE_SECONDS.labels(peer=peer.name).set(max(0.0, unread_sec - peer.interval_sec))
        metrics.SHARED_WAITING_SECONDS.set(_seconds(now_us, self._received_us))
        for what, since_us in self._unsent_us.items():
            metrics.SHARED_UNSENT_SECONDS.labels(what=what).set(_seconds(now_us, since_us))


def _seconds(now_us: int, since_us: int | None) -> float:
    return 0.0 if since_us is None else max(0.0, (now_us - since_us) / 1e6)
