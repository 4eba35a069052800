"""The decision path on a Cluster: one pipelined connection per master, and a map of who has which partition.

Every partition is one slot, so a call goes to one node. A node that is not the place any more says where the place is; the
call then goes there, within its caller's time. Each node has a circuit of its own: where one is lost, its partitions are
decided without state and all others as ever. The map is asked for anew while any partition has no node that answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from binascii import crc_hqx
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import hiredis

from app.errors import StateUnavailable
from app.settings import StateSettings
from app.state.factory import is_cluster, parse_addresses
from app.state.keys import PartitionKeys
from app.state.link import CONNECT_SEC, Caller, Link
from app.state.wire import Attempt, pack, too_late

log = logging.getLogger(__name__)

SLOTS = 16_384
"""Of every Cluster."""

MAX_TURNS = 4
"""How often one call is sent elsewhere; a map that turns in a circle has no answer."""

WAIT_SEC = 0.005
"""Pause before a call is tried again: keys of its slot are just moving, or its node is new and not connected yet."""

WATCH_SEC = 0.25
"""How often it is looked whether all nodes answer; while one does not, the map is asked for as often."""

REFRESH_SEC = 5.0
"""How often the map is asked for while all nodes answer; a call to a wrong node asks for it at once."""

RETIRE_SEC = 1.0
"""How long a node that has no slots any more may still answer what it was asked."""

ASKED = 5
"""Nodes whose maps are compared; the newest counts, for a node that was cut off has an old one."""

Place = tuple[str, int]

_INFO, _SLOTS = pack("CLUSTER", "INFO"), pack("CLUSTER", "SLOTS")


class _Map(NamedTuple):
    """Who has what, as one node tells it. Maps order by how much they are to be believed."""

    fit: bool  # the node sees enough of the Cluster to serve
    epoch: int  # grows with every failover
    masters: dict[int, Place]  # slot → its master, for the slots of our partitions
    nodes: frozenset[Place]  # masters and replicas


def link_to(url: str, timeout_ms: int, settings: StateSettings) -> Caller:
    """The connection for calls about partitions, to one server or to a Cluster. Raises ConfigError as `Link` does."""
    if is_cluster(url, settings):
        return ClusterLink(url, timeout_ms, settings.partitions)
    return Link(url, timeout_ms)


def slot_of(partition: int) -> int:
    """Slot of all keys of a partition, from their hash tag."""
    tag = PartitionKeys(partition).tag
    return crc_hqx(tag[tag.index("{") + 1 : tag.index("}")].encode(), 0) % SLOTS


class ClusterLink:
    """Client of a Cluster. As `Link`, methods are called from the thread of one event loop."""

    def __init__(self, url: str, timeout_ms: int, partitions: int) -> None:
        """Not connected yet.

        Args:
            url: some nodes, comma separated; the others are learnt from them.
            timeout_ms: longest wait of a call, wherever it is sent meanwhile.
            partitions: how many there are.

        Raises:
            ConfigError: as `parse_addresses`.
        """
        self._seeds = parse_addresses(url, cluster=True)
        self._timeout_ms = timeout_ms
        self._slots = [slot_of(number) for number in range(partitions)]
        self._wanted = frozenset(self._slots)
        self._links: dict[Place, Link] = {}
        self._owners: list[Link | None] = [None] * partitions
        self._nodes: frozenset[Place] = frozenset()
        self._retiring: list[tuple[float, Link]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._stale = asyncio.Event()
        self._mapped = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Some partition can be asked about now."""
        return any(link.ready for link in self._links.values())

    @property
    def whole(self) -> bool:
        """Every partition can be asked about now."""
        return all(link is not None and link.ready for link in {*self._owners})

    async def start(self) -> bool:
        """Connects and keeps connected until `stop`; true when every partition's node answered."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * CONNECT_SEC):
                await self._mapped.wait()
                await asyncio.gather(*(link.start() for link in self._links.values()))
        return self.whole

    async def stop(self) -> None:
        """Closes; calls that still wait fail."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
            self._keeper = None
        links = [*self._links.values(), *(link for _, link in self._retiring)]
        self._retiring = []
        await asyncio.gather(*(link.stop() for link in links))

    def call(self, command: bytes, partition: int = 0) -> asyncio.Future[Any]:
        """Sends one command to the node that has the partition; as `Link.call`.

        Raises:
            StateUnavailable: that node is away. Nothing was sent.
        """
        owner = self._owners[partition]
        if owner is None:
            raise StateUnavailable("no node of the state's Cluster is known to have the partition")
        return owner.call(command, partition)

    def post(self, command: bytes, partition: int = 0) -> None:
        """As `Link.post`, to the node that has the partition."""
        owner = self._owners[partition]
        if owner is not None:
            owner.post(command, partition)

    def distrust(self, partition: int = 0) -> None:
        """A reply about this partition was none that its command can have: its node's connection is given up."""
        owner = self._owners[partition]
        if owner is not None:
            owner.distrust()

    # Calls that were refused

    def _refused(self, attempt: Attempt, error: hiredis.ReplyError) -> bool:
        """Sends a call on that came to the wrong node; false leaves the error to the caller."""
        word, _, rest = str(error).partition(" ")
        if word in ("CLUSTERDOWN", "MASTERDOWN"):
            self._stale.set()
            return False
        if word not in ("MOVED", "ASK", "TRYAGAIN") or attempt.turns >= MAX_TURNS:
            return False
        link = self._owners[attempt.partition]
        if word != "TRYAGAIN":
            place = _place(rest.rpartition(" ")[2])
            if place is None:
                self._stale.set()
                return False
            link = self._link(place)
            if word == "MOVED":
                self._stale.set()
                self._owners[attempt.partition] = link
        loop = asyncio.get_running_loop()
        if not attempt.turns:
            loop.call_at(attempt.deadline, too_late, attempt.future)
        attempt.turns += 1
        if word == "TRYAGAIN":
            loop.call_later(WAIT_SEC, self._send_on, attempt, link, False)
        else:
            self._send_on(attempt, link, word == "ASK")
        return True

    def _send_on(self, attempt: Attempt, link: Link | None, asking: bool) -> None:
        if attempt.future.done() or link is None:
            return
        if not link.again(attempt, asking=asking):
            if link.met:  # it was there and is not now
                too_late(attempt.future)
            else:
                asyncio.get_running_loop().call_later(WAIT_SEC, self._send_on, attempt, link, asking)

    def _link(self, place: Place) -> Link:
        link = self._links.get(place)
        if link is None:
            link = self._links[place] = Link(self._address(place), self._timeout_ms, self._refused)
            link.open()
        return link

    def _address(self, place: Place) -> Mapping[str, Any]:
        return {**self._seeds[0], "host": place[0], "port": place[1]}

    # The map

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        quiet = False
        while True:
            self._stale.clear()
            found = await self._ask()
            if found is not None:
                self._take(found)
                quiet = False
            elif not quiet:
                log.warning("no node of the state's Cluster can be reached")
                quiet = True
            await self._stop_retired(loop.time())
            await asyncio.sleep(WATCH_SEC)
            until = loop.time() + REFRESH_SEC
            while self.whole and not self._stale.is_set() and loop.time() < until:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_SEC):
                        await self._stale.wait()

    async def _ask(self) -> _Map | None:
        """The newest map that can be had: of the nodes that answer, else of any that was ever named."""
        ready = [(place, link) for place, link in self._links.items() if link.ready]
        if len(ready) > ASKED:
            ready = random.sample(ready, ASKED)
        maps = await asyncio.gather(*(self._ask_one(link, place[0]) for place, link in ready))
        found = [each for each in maps if each is not None]
        if found:
            return max(found, key=lambda each: (each.fit, each.epoch))
        best: _Map | None = None
        for address in [*self._seeds, *map(self._address, self._nodes)]:
            link = Link(address, int(CONNECT_SEC * 1000))
            try:
                if await link.start():
                    told = await self._ask_one(link, str(address.get("host", "localhost")))
                    if told is not None and (best is None or (told.fit, told.epoch) > (best.fit, best.epoch)):
                        best = told
                    if told is not None and told.fit:
                        break
            finally:
                await link.stop()
        return best

    async def _ask_one(self, link: Link, host: str) -> _Map | None:
        try:
            info, slots = await asyncio.gather(link.call(_INFO), link.call(_SLOTS))
        except StateUnavailable:
            return None
        if not isinstance(info, bytes) or not isinstance(slots, list):
            log.error("a node that state.redis_url names does not belong to a Cluster")
            return None
        try:
            return _read_map(info, slots, host, self._wanted)
        except (ValueError, TypeError, LookupError, AttributeError):
            log.error("a node of the state's Cluster told its map in an unknown form")
            return None

    def _take(self, found: _Map) -> None:
        self._nodes = found.nodes
        masters = set(found.masters.values())
        for at, slot in enumerate(self._slots):
            place = found.masters.get(slot)
            self._owners[at] = self._link(place) if place is not None else None
        now = asyncio.get_running_loop().time()
        for place in [place for place in self._links if place not in masters]:
            self._retiring.append((now + RETIRE_SEC, self._links.pop(place)))
        self._mapped.set()

    async def _stop_retired(self, now: float) -> None:
        over = [link for until, link in self._retiring if until <= now]
        self._retiring = [(until, link) for until, link in self._retiring if until > now]
        await asyncio.gather(*(link.stop() for link in over))


def _place(text: str) -> Place | None:
    """host:port of a redirection; None where it names no host or is none."""
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host and port.isdecimal() else None


def _read_map(info: bytes, slots: Iterable[Any], host: str, wanted: frozenset[int]) -> _Map:
    """CLUSTER INFO and CLUSTER SLOTS of the node at `host`.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: they are none.
    """
    fields = dict(line.partition(":")[::2] for line in info.decode().splitlines())
    masters: dict[int, Place] = {}
    nodes: set[Place] = set()
    for first, last, *servers in slots:
        # A node that was not told its own address names none, and means the one that it was reached by.
        places = [((server[0] or b"").decode() or host, int(server[1])) for server in servers]
        nodes.update(places)
        masters.update((slot, places[0]) for slot in wanted if first <= slot <= last)
    return _Map(fields.get("cluster_state") == "ok", int(fields["cluster_current_epoch"]), masters, frozenset(nodes))
