"""Reads a peer's signed feed from an address: fetched, checked against the peer's key, and put into the queue.

A feed is one document, so its place is its number within the signature: what is older than what was taken, or another one
of the same number, is a fault, and what was taken whole is not taken again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from app.errors import BadInput, ConfigError, PeerFault
from app.intel import documents, signing
from app.intel.documents import Document
from app.intel.signing import PublicKey, Signed
from app.intel.taking_in import PART, take_part
from app.intel.taxii import http
from app.intel.taxii.http import Answer, Caps
from app.intel.taxii.peers import Peer
from app.state.intel_received import ReceivedQueue
from app.state.intel_signers import Signers

FEED = "(feed)"
"""What a feed is called among the collections of peers; no id of one can be this."""

FETCH = Caps(total_sec=60.0, body_bytes=documents.MAX_BYTES)
FILL_SEC = 80.0
"""Longest from the request to the last object that is queued; the rest waits for the next poll."""

_FULL_SEC = 1.0
_MAX_ETAG = 256


class Read(NamedTuple):
    """What came of reading a feed.

    Attributes:
        objects: that are in the queue now.
        dropped: that were left out: red, too large, too deep, or none.
        fault: "" or what went wrong, in words without anything that the peer sent.
        etag: by which the peer knows what was taken whole; "" for none.
    """

    objects: int
    dropped: int
    fault: str
    etag: str


class FeedReader:
    """Over one deployment's state.

    Args:
        queue: takes the objects.
        signers: know how far feeds were taken.
        pause: waits for place in the queue.
    """

    def __init__(
        self, queue: ReceivedQueue, signers: Signers, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._queue = queue
        self._signers = signers
        self._pause = pause

    async def read(self, peer: Peer, etag: str) -> Read:
        """Takes what a feed has that was not taken yet.

        Raises:
            StateUnavailable: the state server is away.
        """
        until = time.monotonic() + FILL_SEC
        try:
            key = peer.public_key()
            answer = await _fetched(peer, etag)
            if answer is None:
                return Read(0, 0, "", etag)
            signed, document = await asyncio.to_thread(_checked, answer.body, key)
        except (PeerFault, ConfigError, BadInput) as error:
            return Read(0, 0, str(error), "")
        told = answer.headers.get("etag", "")
        del answer
        place = await self._claim(peer, signed, done=False)
        if place in signing.PLACES:
            return Read(0, 0, f"signature: {signing.PLACES[place]}", "")
        new_etag = told if len(told) <= _MAX_ETAG and told.isascii() and told.isprintable() else ""
        if place == "done":
            return Read(0, 0, "", new_etag)
        objects, dropped, fault = await self._filled(peer, document, until)
        if fault:
            return Read(objects, dropped, fault, "")
        await self._claim(peer, signed, done=True)
        return Read(objects, dropped, "", new_etag)

    async def _claim(self, peer: Peer, signed: Signed, *, done: bool) -> str:
        return await self._signers.claim(peer.group, peer.name, signed.kid, signed.seq, signed.digest, done=done)

    async def _filled(self, peer: Peer, document: Document, until: float) -> tuple[int, int, str]:
        """(queued, left out, fault). The queue is emptied meanwhile, so a full one is waited for."""
        objects = dropped = following = 0
        while following < len(document):
            part = await asyncio.to_thread(lambda at: list(document.objects(at, PART)), following)
            taken = await take_part(self._queue, peer.group, peer.name, part)
            objects += taken.queued
            dropped += taken.red + taken.dropped
            following = taken.following
            if time.monotonic() > until:
                return objects, dropped, "its queue is full; all of it is read again when there is place"
            if taken.full:
                await self._pause(_FULL_SEC)
        return objects, dropped, ""


async def _fetched(peer: Peer, etag: str) -> Answer | None:
    """The answer; None where nothing has changed.

    Raises:
        PeerFault: there is none, or it is no success.
        ConfigError: the peer's secret cannot be read.
    """
    origin, path = http.parse_url(peer.url)
    headers = {"Accept": "application/json, application/jose+json", "User-Agent": "stillwatch"}
    if peer.secret_file:
        headers["Authorization"] = peer.authorization()
    if etag:
        headers["If-None-Match"] = etag
    context = http.tls_context(peer.ca_file) if origin.secure else None
    answer = await http.ask(origin, "GET", path, headers, caps=FETCH, context=context)
    if answer.status == 304 and etag:
        return None
    if answer.status != 200:
        more = "; a redirect is not followed" if 300 <= answer.status < 400 else ""
        raise PeerFault(f"the peer's server answered {answer.status}{more}")
    return answer


def _checked(body: bytes, key: PublicKey) -> tuple[Signed, Document]:
    if not signing.is_signed(body):
        raise BadInput("signature: the feed bears none")
    signed = signing.opened(body)
    return signed, documents.read(signing.verified(signed, key, time.time_ns() // 1000))
