"""Reads what peers share, and sends them what waits for them, over and over.

Each page that is read goes to the queue of received objects, then the place is remembered. A page is remembered as read
only when all of it is in the queue. So a crash, a full queue or a broken answer means that some of it is read again, never
that some of it is missed; whoever takes the objects bears repetitions.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from app.errors import ConfigError, PeerFault, StateUnavailable
from app.intel.feed_reader import FEED, FeedReader
from app.intel.taxii import times
from app.intel.taxii.client import PeerCollection, TaxiiClient
from app.intel.taxii.peers import Peer
from app.intel.taxii.sender import SENT, Sender
from app.state.intel_polls import Poll, Polls
from app.state.intel_received import ReceivedQueue
from app.state.waiting import end
from app.telemetry import metrics

log = logging.getLogger(__name__)

POLL_SEC = 90.0
"""Longest poll of one peer; what is left is read at the next one."""

MAX_PAGES = 500
MAX_EMPTY = 50
"""Pages of one poll and collection, and those among them without an object: a peer may say "more" for ever."""

AHEAD_US = 86_400 * 1_000_000
"""How far a peer's clock may be ahead of ours. A date beyond it would hide everything that comes before it."""

LEASE_MS = 120_000
_STANDBY_SEC = 10.0


@dataclass(frozen=True, slots=True)
class Polled:
    """What came of one poll of a collection.

    Attributes:
        peer: whose.
        collection: its id.
        objects: that are in the queue now.
        dropped: that were none, or too large or too deep.
        unfinished: there is more to read.
        fault: "" or what went wrong, in words without anything that the peer sent.
    """

    peer: str
    collection: str
    objects: int
    dropped: int
    unfinished: bool
    fault: str


def own_entry(peer: Peer) -> str:
    """What the peer itself is called among its collections."""
    return FEED if peer.kind == "feed" else ""


class Poller:
    """Over one deployment's state.

    Args:
        peers: whose collections are read.
        polls: where places are remembered.
        queue: takes the objects.
        client: makes a client of a peer.
        sender: sends peers what waits for them; None: nothing is sent.
        feeds: reads signed feeds; None: peers of that kind are not read.
    """

    def __init__(
        self,
        peers: Sequence[Peer],
        polls: Polls,
        queue: ReceivedQueue,
        client: Callable[[Peer], TaxiiClient] = TaxiiClient,
        sender: Sender | None = None,
        feeds: FeedReader | None = None,
    ) -> None:
        self._peers = tuple(peers)
        self._polls = polls
        self._queue = queue
        self._client = client
        self._sender = sender
        self._feeds = feeds

    async def run(self, owner: str, stop: asyncio.Event) -> None:
        """Polls every peer at its interval until `stop` is set, while this process holds the lease."""
        async with asyncio.TaskGroup() as tasks:
            for peer in self._peers:
                tasks.create_task(self._keep_polling(peer, owner, stop))

    async def poll(self, peer: Peer) -> list[Polled]:
        """Reads what a peer has shared since the last time.

        Raises:
            StateUnavailable: the state server is away.
        """
        found = await self._read(peer)
        if found and not any(one.fault for one in found):
            own = own_entry(peer)
            known = await self._polls.get(peer.name, own)
            await self._polls.put(peer.name, own, msgspec.structs.replace(known, good_us=time.time_ns() // 1000))
        return found

    async def _read(self, peer: Peer) -> list[Polled]:
        if peer.kind == "feed":
            return [await self._feed(peer, self._feeds)] if self._feeds is not None else []
        try:
            client = self._client(peer)
            chosen = [one for root in await client.roots() for one in await client.collections(root)]
        except (PeerFault, ConfigError, ValueError) as error:
            return [await self._note(peer, "", Polled(peer.name, "", 0, 0, False, str(error)))]
        chosen = [one for one in chosen if not peer.collections or {one.id, one.alias} & set(peer.collections)]
        readable = [one for one in chosen if one.can_read]
        if not readable:
            fault = "there is no collection that can be read"
            return [await self._note(peer, "", Polled(peer.name, "", 0, 0, False, fault))]
        await self._note(peer, "", Polled(peer.name, "", 0, 0, False, ""))
        until = time.monotonic() + POLL_SEC
        return [await self._collection(peer, client, one, until) for one in readable]

    async def _keep_polling(self, peer: Peer, owner: str, stop: asyncio.Event) -> None:
        told: dict[str, str] = {}  # faults by collection; each is logged when it comes and when it goes
        while not stop.is_set():
            wait_sec: float = peer.interval_sec
            try:
                if await self._polls.lease(owner, LEASE_MS):
                    found = await self.poll(peer)
                    faults = {one.collection: one.fault for one in found}
                    if self._sender is not None and peer.kind == "taxii" and await self._polls.lease(owner, LEASE_MS):
                        faults[SENT] = await self._sender.send(peer)
                    for collection in sorted(told | faults):
                        fault = faults.get(collection, "")
                        if fault != told.get(collection, ""):
                            good = "is sent to again" if collection == SENT else "is read again"
                            log.warning("peer %s: %s", peer.name, fault or good)
                    told = faults
                    if any(one.unfinished for one in found):
                        wait_sec = 0.1
                else:
                    wait_sec = min(wait_sec, _STANDBY_SEC)
            except StateUnavailable as error:
                log.warning("peer %s was not polled: %s", peer.name, error)
            except Exception as error:  # one peer's oddity must not end the polls of the others; its words stay out
                log.error("peer %s was not polled: %s in the poll", peer.name, type(error).__name__)
            try:
                async with asyncio.timeout(wait_sec):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _feed(self, peer: Peer, feeds: FeedReader) -> Polled:
        known = await self._polls.get(peer.name, FEED)
        read = await feeds.read(peer, known.etag)
        polled = Polled(peer.name, FEED, read.objects, read.dropped, False, read.fault)
        return await self._note(peer, FEED, polled, msgspec.structs.replace(known, etag=read.etag))

    async def _collection(self, peer: Peer, client: TaxiiClient, collection: PeerCollection, until: float) -> Polled:
        """Reads one collection to its end, or as far as a poll goes."""
        poll = await self._polls.get(peer.name, collection.id)
        began = after = poll.added_after
        following = ""
        objects = dropped = empty = 0
        fault, unfinished = "", True
        for _ in range(MAX_PAGES):
            if time.monotonic() > until:
                break
            if empty >= MAX_EMPTY:
                fault = f"{MAX_EMPTY} pages had no object"
                break
            try:
                page = await client.page(collection, after, following)
                _check(page.last_added, poll.added_after)
            except (PeerFault, ConfigError) as error:
                fault = str(error)
                break
            taken = await self._queue.received(peer.group, peer.name, page.objects)
            objects += taken
            if taken < len(page.objects):
                fault = "its queue is full; the rest is read when there is place again"
                break
            dropped += page.dropped
            empty += not page.objects
            if page.last_added:
                # Another server may give many objects the same date, and cut a page between them.
                place = times.added(times.parse(page.last_added) - 1) if page.more else page.last_added
                poll = msgspec.structs.replace(poll, added_after=place)
                await self._polls.put(peer.name, collection.id, poll)
            if not page.more:
                unfinished = False
                break
            following = page.next
            if not following:  # the standard's other way on: behind the last date
                if not page.last_added:
                    fault = "the peer says that there is more, and not how to get it"
                    break
                after = page.last_added
        # Where the place is still the same, going on at once would only read the same again.
        unfinished = unfinished and not fault and poll.added_after != began
        polled = Polled(peer.name, collection.id, objects, dropped, unfinished, fault)
        return await self._note(peer, collection.id, polled, poll)

    async def _note(self, peer: Peer, collection: str, polled: Polled, poll: Poll | None = None) -> Polled:
        known = poll if poll is not None else await self._polls.get(peer.name, collection)
        note = msgspec.structs.replace(
            known,
            at_us=time.time_ns() // 1000,
            objects=known.objects + polled.objects,
            dropped=known.dropped + polled.dropped,
            fault=polled.fault,
        )
        await self._polls.put(peer.name, collection, note)
        metrics.PEER_POLLS.labels(result="fault" if polled.fault else "read").inc()
        metrics.SHARED_OBJECTS.labels(way="polled").inc(polled.objects)
        metrics.SHARED_OBJECTS.labels(way="dropped").inc(polled.dropped)
        return polled


class Polling:
    """A poller as a task of a process."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._poller.run(secrets.token_hex(8), self._stop))

    async def stop(self) -> None:
        """End, in the middle of a poll too: what of it is not in the queue is read again."""
        self._stop.set()
        if self._task is not None:
            await end(self._task)


def _check(last_added: str, before: str) -> None:
    """Raises PeerFault where a peer's date would hide what it shares from now on, or goes back."""
    if not last_added:
        return
    at_us = times.parse(last_added)
    if at_us > time.time_ns() // 1000 + AHEAD_US:
        raise PeerFault("the peer's X-TAXII-Date-Added-Last is more than a day ahead")
    if before and at_us < times.parse(before):
        raise PeerFault("the peer's X-TAXII-Date-Added-Last goes back")
