"""A TAXII 2.1 client: discovery, collections, objects page by page, adding objects and their status.

Whatever a peer answers is material to judge: addresses that it names lead to its own host or nowhere, an answer of another
type is a fault, and objects are passed on as JSON with their id and type looked at and nothing else.
"""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import orjson

from app.errors import BadInput, PeerFault
from app.intel.taxii import envelope, http, media, times
from app.intel.taxii.http import Answer, Caps
from app.intel.taxii.peers import Peer

ATTEMPTS = 4
BACKOFF_SEC = 0.5
MAX_WAIT_SEC = 30.0
"""Pauses grow from the first to this, each drawn from the half below it; a peer's own Retry-After counts up to this."""

MAX_ROOTS = 20
MAX_COLLECTIONS = 200

_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
_WAIT = re.compile(r"[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Root:
    """An API root of a peer. `path` ends with a slash."""

    path: str


@dataclass(frozen=True, slots=True)
class PeerCollection:
    """A collection of a peer.

    Attributes:
        root: where it is.
        id: its id.
        alias: another name; "" for none.
        can_read: we may.
        can_write: we may.
    """

    root: Root
    id: str
    alias: str
    can_read: bool
    can_write: bool


@dataclass(frozen=True, slots=True)
class PeerPage:
    """A page of objects.

    Attributes:
        objects: as JSON.
        dropped: entries of the page that are no objects, or too large or too deep.
        more: the peer has more.
        next: how it calls the page behind this one; "" where it does not say.
        last_added: the peer's date of the last object here, as it wrote it; "" where it gave none.
    """

    objects: list[bytes]
    dropped: int
    more: bool
    next: str
    last_added: str


class TaxiiClient:
    """Talks to one peer.

    Args:
        peer: whom to ask.
        caps: bounds of each request.
        pause: waits between attempts.
    """

    def __init__(
        self, peer: Peer, caps: Caps | None = None, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._peer = peer
        self._caps = caps or Caps()
        self._pause = pause
        self._origin, self._path = http.parse_url(peer.url)
        self._context: ssl.SSLContext | None = http.tls_context(peer.ca_file) if self._origin.secure else None

    async def roots(self) -> list[Root]:
        """The API roots that the peer names; the address itself where that is one.

        Raises:
            PeerFault: the peer cannot be asked, or answers something else.
            ConfigError: the peer's secret cannot be read.
        """
        found = await self._get(self._path)
        if "versions" in found and "api_roots" not in found:
            return [Root(self._path if self._path.endswith("/") else f"{self._path}/")]
        named = found.get("api_roots", [])
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise PeerFault("the peer's discovery has no list of API roots")
        if len(named) > MAX_ROOTS:
            raise PeerFault(f"the peer names more than {MAX_ROOTS} API roots")
        return [Root(self._own(one)) for one in named]

    async def collections(self, root: Root) -> list[PeerCollection]:
        """The collections of an API root.

        Raises:
            PeerFault, ConfigError: as `roots`.
        """
        found = await self._get(f"{root.path}collections/")
        listed = found.get("collections", [])
        if not isinstance(listed, list) or len(listed) > MAX_COLLECTIONS:
            raise PeerFault("the peer's list of collections is none, or too long")
        return [_collection(root, one) for one in listed]

    async def page(
        self, collection: PeerCollection, added_after: str = "", following: str = "", limit: int = 1000
    ) -> PeerPage:
        """A page of objects, in the order in which the peer got them.

        Args:
            collection: of which.
            added_after: objects that came later than this.
            following: `next` of the page before.
            limit: most objects; the peer may give fewer.

        Raises:
            PeerFault, ConfigError: as `roots`.
        """
        query = {"limit": str(limit)}
        if added_after:
            query["added_after"] = added_after
        if following:
            query["next"] = following
        answer = await self._ask("GET", f"{_path(collection)}objects/?{urlencode(query)}")
        return _page(answer)

    async def add(self, collection: PeerCollection, objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Sends objects; the peer's status resource.

        Raises:
            PeerFault, ConfigError: as `roots`. The peer may have taken them all the same; sending them again is right.
        """
        body = orjson.dumps({"objects": list(objects)})
        return _object(await self._ask("POST", f"{_path(collection)}objects/", body))

    async def status(self, root: Root, status_id: str) -> dict[str, Any]:
        """What became of objects that were sent.

        Raises:
            PeerFault, ConfigError: as `roots`.
        """
        return await self._get(f"{root.path}status/{quote(status_id, safe='')}/")

    def _own(self, named: str) -> str:
        """The path of an address that the peer names.

        Raises:
            PeerFault: it is on another host. Our credentials are for this one.
        """
        scheme = "https" if self._origin.secure else "http"
        try:
            origin, path = http.parse_url(urljoin(f"{scheme}://{self._origin.header}{self._path}", named))
        except ValueError:
            raise PeerFault("the peer names an API root that is no address") from None
        if origin != self._origin:
            raise PeerFault("the peer names an API root on another host, which is not followed")
        if "?" in path:
            raise PeerFault("the peer names an API root with a query")
        return path if path.endswith("/") else f"{path}/"

    async def _get(self, target: str) -> dict[str, Any]:
        return _object(await self._ask("GET", target))

    async def _ask(self, method: str, target: str, body: bytes = b"") -> Answer:
        """An answer with what was asked for, after as many attempts as it takes."""
        headers = {"Accept": media.TAXII, "Authorization": self._peer.authorization(), "User-Agent": "stillwatch"}
        if method == "POST":
            headers["Content-Type"] = media.TAXII
        fault, wait_sec = PeerFault("the peer was not asked"), 0.0
        for attempt in range(ATTEMPTS):
            if attempt:
                grown = min(MAX_WAIT_SEC, BACKOFF_SEC * 2**attempt)
                await self._pause(max(wait_sec, grown * random.uniform(0.5, 1.0)))
            wait_sec = 0.0
            try:
                answer = await http.ask(self._origin, method, target, headers, body, caps=self._caps, context=self._context)
            except PeerFault as error:
                fault = error
                continue
            if answer.status in _AGAIN:
                fault = PeerFault(f"the peer's server answered {answer.status}")
                told = answer.headers.get("retry-after", "")
                wait_sec = min(MAX_WAIT_SEC, float(told)) if _WAIT.fullmatch(told) else 0.0
                continue
            if answer.status >= 300:
                more = "; a redirect is not followed" if answer.status < 400 else ""
                raise PeerFault(f"the peer's server answered {answer.status}{more}")
            if not media.sendable(answer.headers.get("content-type", "")):
                raise PeerFault("the peer's answer is not of the type of TAXII 2.1")
            return answer
        raise fault


def _object(answer: Answer) -> dict[str, Any]:
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise PeerFault("the peer's answer is no JSON") from None
    if not isinstance(found, dict):
        raise PeerFault("the peer's answer is no JSON object")
    return found


def _path(collection: PeerCollection) -> str:
    return f"{collection.root.path}collections/{quote(collection.id, safe='')}/"


def _collection(root: Root, one: Any) -> PeerCollection:
    name = one.get("id") if isinstance(one, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[0-9A-Za-z_.-]{1,64}", name) or not name.strip("."):
        raise PeerFault("the peer's list of collections has one without a well-formed id")
    alias = one.get("alias", "")
    return PeerCollection(
        root=root,
        id=name,
        alias=alias if isinstance(alias, str) else "",
        can_read=one.get("can_read") is True,
        can_write=one.get("can_write") is True,
    )


def _page(answer: Answer) -> PeerPage:
    found = _object(answer)
    listed = found.get("objects", [])
    if not isinstance(listed, list):
        raise PeerFault("the peer's page has no list of objects")
    objects: list[bytes] = []
    for one in listed:
        if envelope.identified(one):
            try:
                objects.append(envelope.packed(one))
            except BadInput:
                continue
    following = found.get("next", "")
    if not isinstance(following, str) or len(following) > 1000:
        raise PeerFault("the peer's page has a 'next' that is no text, or too long")
    last_added = answer.headers.get("x-taxii-date-added-last", "")
    if last_added:
        try:
            times.parse(last_added)
        except ValueError:
            raise PeerFault("the peer's X-TAXII-Date-Added-Last is no time") from None
    return PeerPage(objects, len(listed) - len(objects), found.get("more") is True, following, last_added)
