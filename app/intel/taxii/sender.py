"""Sends peers what waits for them, to the collection of theirs that takes it; what they refuse is tried some times more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import orjson

from app.errors import ConfigError, PeerFault
from app.intel.taxii.client import PeerCollection, TaxiiClient
from app.intel.taxii.peers import Peer
from app.state.intel_outgoing import Outgoing, Waiting
from app.state.intel_polls import Polls
from app.telemetry import metrics

SENT = "(words)"
"""What the way to a peer is called among its collections; no id of one can be this."""

AT_A_TIME = 200
"""Objects of one request, some hundred bytes each: far below what any server takes."""

MOST_SECONDS = 30.0
MAX_REFUSED = 5
"""How often an object is refused by the peer before it is given up."""

_ASKED = 4
"""How often the peer is asked what became of objects while it says that it is at it."""


class Sender:
    """Over one deployment's state.

    Args:
        outgoing: what waits.
        polls: where it is noted how it went.
        client: makes a client of a peer.
        pause: waits between questions.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        polls: Polls,
        client: Callable[[Peer], TaxiiClient] = TaxiiClient,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._outgoing = outgoing
        self._polls = polls
        self._client = client
        self._pause = pause

    async def send(self, peer: Peer) -> str:
        """Sends what waits, as far as it goes in MOST_SECONDS; "" or what went wrong, without anything that the peer sent.

        Raises:
            StateUnavailable: the state server is away.
        """
        waiting = await self._outgoing.read(peer.name, AT_A_TIME)
        if not waiting:
            return ""
        sent, fault = 0, ""
        until = time.monotonic() + MOST_SECONDS
        try:
            client = self._client(peer)
            into = await _writable(client)
            while waiting and time.monotonic() < until:
                refused = await self._some(client, into, waiting)
                sent += len(waiting) - len(refused)
                again = [one for one in refused if one.refused + 1 < MAX_REFUSED]
                # Behind the others, so that what is never taken holds up nothing.
                for one in again:
                    await self._outgoing.put(peer.name, [one.data], one.refused + 1)
                await self._outgoing.done(peer.name, waiting)
                if refused:
                    fault = f"the peer refused {len(refused)} objects, of which {len(refused) - len(again)} are given up"
                    break
                waiting = await self._outgoing.read(peer.name, AT_A_TIME)
        except (PeerFault, ConfigError, ValueError) as error:
            fault = str(error)
        known = await self._polls.get(peer.name, SENT)
        note = msgspec.structs.replace(known, at_us=time.time_ns() // 1000, objects=known.objects + sent, fault=fault)
        await self._polls.put(peer.name, SENT, note)
        metrics.SHARED_OBJECTS.labels(way="sent").inc(sent)
        return fault

    async def _some(self, client: TaxiiClient, into: PeerCollection, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Sends these; those that the peer has refused."""
        objects = [orjson.loads(one.data) for one in waiting]
        status = await client.add(into, objects)
        for attempt in range(_ASKED):
            if status.get("status") == "complete":
                break
            if not isinstance(status.get("id"), str):
                raise PeerFault("the peer's status is none of TAXII 2.1")
            await self._pause(0.5 * 2**attempt)
            status = await client.status(into.root, status["id"])
        else:
            raise PeerFault("the peer does not come to an end with what was sent; it is sent again")
        names = _refused(status)
        return [one for one, made in zip(waiting, objects, strict=True) if made["id"] in names]


async def _writable(client: TaxiiClient) -> PeerCollection:
    """The collection that takes what we say.

    Raises:
        PeerFault: there is none, or it is not clear which.
    """
    found = [one for root in await client.roots() for one in await client.collections(root) if one.can_write]
    named = [one for one in found if one.alias == "submit"] or found
    if not named:
        raise PeerFault("there is no collection that takes objects from us")
    if len(named) > 1:
        raise PeerFault("several collections take objects, and none of them alone is called 'submit'")
    return named[0]


def _refused(status: dict[str, Any]) -> frozenset[str]:
    """Ids of objects that were not taken, of a status that is complete."""
    failures = status.get("failures", [])
    if not isinstance(failures, list):
        raise PeerFault("the peer's status is none of TAXII 2.1")
    named = frozenset(one["id"] for one in failures if isinstance(one, dict) and isinstance(one.get("id"), str))
    count = status.get("failure_count", 0)
    if type(count) is not int or count > len(failures):
        raise PeerFault("the peer refused objects without saying which")
    return named
