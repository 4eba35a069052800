"""Campaigns in state: their heads in one hash, members and links in compressed pages, and the campaign of each key.

All of them lie under one hash tag, and a pass of the linker is stored by one script, behind the very state that it was made
from: what was made from an older one, or before an erasure, is not written.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.errors import StateUnavailable
from app.state.calls import Client, reachable, run_script
from app.state.keys import CAMPAIGN_OF, CAMPAIGN_TTL_SEC, CAMPAIGNS, CAMPAIGNS_STATE, LINKER, campaign_pages
from detectors.campaign.contract import Campaign, Link, Member

PAGE_MEMBERS = 500
"""Members in a page, some 30 KB of compressed bytes."""

ERASE_ATTEMPTS = 20

_LINKS = "l"


class Head(msgspec.Struct, frozen=True):
    """A campaign without its members and links.

    Attributes:
        campaign: with `members` and `links` empty.
        size: how many members it has.
    """

    campaign: Campaign
    size: int

    @property
    def pages(self) -> int:
        """How many pages of members there are."""
        return -(-self.size // PAGE_MEMBERS)


@dataclass(frozen=True, slots=True)
class Written:
    """What a pass leaves.

    Attributes:
        last_us: event time of the pass.
        changed: campaigns that are not as they were.
        joined, left: (campaign id, key id).
        alive: ids of campaigns that go on, changed or not.
        forgotten: ids of campaigns that ended long ago.
    """

    last_us: int
    changed: Sequence[Campaign] = ()
    joined: Sequence[tuple[str, str]] = ()
    left: Sequence[tuple[str, str]] = ()
    alive: Sequence[str] = ()
    forgotten: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CampaignState:
    """What all campaigns are as of.

    Attributes:
        revision: grows with everything that is written.
        last_us: event time of the newest pass; 0 before the first.
        stored: as it is stored; empty before anything.
    """

    revision: int = 0
    last_us: int = 0
    stored: bytes = field(default=b"", repr=False)


class CampaignStore:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def lease(self, worker: str, lease_ms: int) -> bool:
        """Whether this worker is the one that links, for so long from now."""
        with reachable("campaigns"):
            if await self._client.set(LINKER, worker, nx=True, px=lease_ms):
                return True
            owner: Any = await self._client.get(LINKER)
            # Not atomic: who writes something that another one has overtaken is refused by `write`.
            return owner == worker.encode() and bool(await self._client.pexpire(LINKER, lease_ms))

    async def release(self, worker: str) -> None:
        """Lets another worker link at once, where this one did."""
        with reachable("campaigns"):
            if await self._client.get(LINKER) == worker.encode():
                await self._client.delete(LINKER)

    async def state(self) -> CampaignState:
        """What is stored now."""
        with reachable("campaigns"):
            found: Any = await self._client.get(CAMPAIGNS_STATE)
        if not found:
            return CampaignState()
        revision, last_us = found.split()
        return CampaignState(int(revision), int(last_us), found)

    async def heads(self) -> list[Head]:
        """All campaigns without their members, ended ones of the last 90 days too; in no order."""
        found, cursor = dict[bytes, bytes](), 0
        some: Any
        while True:
            with reachable("campaigns"):
                cursor, some = await self._client.hscan(CAMPAIGNS, cursor, count=100)
            found |= some
            if not cursor:
                return [head for data in found.values() if (head := _read_head(data)) is not None]

    async def head(self, campaign_id: str) -> Head | None:
        """One without its members; None where there is none, or it is of another release."""
        with reachable("campaigns"):
            data: Any = await self._client.hget(CAMPAIGNS, campaign_id)
        return _read_head(data) if data else None

    async def members(self, campaign_id: str, page: int = 0) -> tuple[Member, ...]:
        """A page of its members, the strongest first; empty behind the last."""
        with reachable("campaigns"):
            data: Any = await self._client.hget(campaign_pages(campaign_id), str(page))
        return _members.decode(zlib.decompress(data)) if data else ()

    async def links(self, campaign_id: str) -> tuple[Link, ...]:
        """Its strongest edges."""
        with reachable("campaigns"):
            data: Any = await self._client.hget(campaign_pages(campaign_id), _LINKS)
        return _links.decode(zlib.decompress(data)) if data else ()

    async def read(self, campaign_id: str) -> Campaign | None:
        """One with everything; None where there is none."""
        head = await self.head(campaign_id)
        return await self._whole(head) if head is not None else None

    async def all(self) -> list[Campaign]:
        """All with everything, in order of their ids."""
        return [await self._whole(head) for head in sorted(await self.heads(), key=lambda head: head.campaign.id)]

    async def of_keys(self, key_ids: Sequence[str]) -> dict[str, str]:
        """Key id → id of the living campaign that it belongs to, for those that do."""
        if not key_ids:
            return {}
        with reachable("campaigns"):
            found: Any = await self._client.hmget(CAMPAIGN_OF, list(key_ids))
        return {key_id: name.decode() for key_id, name in zip(key_ids, found, strict=True) if name}

    async def write(self, before: CampaignState, made: Written) -> CampaignState | None:
        """Stores a pass; None where something was written since `before` was read, and then nothing was."""
        packed = await asyncio.to_thread(lambda: [(one.id, *_pack(one)) for one in made.changed])
        after = f"{before.revision + 1} {made.last_us}".encode()
        keys = [CAMPAIGNS_STATE, CAMPAIGNS, CAMPAIGN_OF]
        keys += [campaign_pages(one.id) for one in made.changed]
        keys += [campaign_pages(name) for name in (*made.alive, *made.forgotten)]
        args: list[str | int | bytes] = [before.stored, after, CAMPAIGN_TTL_SEC]
        args += [len(made.changed), len(made.alive), len(made.forgotten), len(made.left), len(made.joined)]
        for name, head, pages in packed:
            args += (name, head, len(pages))
            for page, data in pages.items():
                args += (page, data)
        args += made.forgotten
        for name, key_id in (*made.left, *made.joined):
            args += (key_id, name)
        with reachable("campaigns"):
            if not await run_script(self._client, "campaigns", keys, args):
                return None
        return CampaignState(before.revision + 1, made.last_us, after)

    async def erase(self, key_id: str) -> int:
        """Takes a key out of all campaigns, ended ones too; returns out of how many.

        Whatever pass is under way is not stored: it may still know the key.

        Raises:
            StateUnavailable: others wrote again and again; nothing was erased.
        """
        for _ in range(ERASE_ATTEMPTS):
            before = await self.state()
            found: list[Campaign] = []
            for head in await self.heads():
                with reachable("campaigns"):
                    pages: Any = await self._client.hgetall(campaign_pages(head.campaign.id))
                if await asyncio.to_thread(_mentions, list(pages.values()), key_id.encode()):
                    found.append(_without(await self._whole(head), key_id))
            left = [(one.id, key_id) for one in found]
            if await self.write(before, Written(before.last_us, found, left=left)) is not None:
                return len(found)
        raise StateUnavailable("campaigns: others write too often for an erasure; it is tried again")

    async def _whole(self, head: Head) -> Campaign:
        with reachable("campaigns"):
            pages: Any = await self._client.hgetall(campaign_pages(head.campaign.id))
        return await asyncio.to_thread(_unpack, head, pages)


def _pack(one: Campaign) -> tuple[bytes, dict[str, bytes]]:
    """(head, page → bytes)."""
    head = Head(msgspec.structs.replace(one, members=(), links=()), len(one.members))
    parts: dict[str, object] = {
        str(number): one.members[number * PAGE_MEMBERS : (number + 1) * PAGE_MEMBERS] for number in range(head.pages)
    }
    if one.links:
        parts[_LINKS] = one.links
    return _squeeze(head), {name: _squeeze(part) for name, part in parts.items()}


def _unpack(head: Head, pages: dict[bytes, bytes]) -> Campaign:
    members: list[Member] = []
    for number in range(head.pages):
        data = pages.get(str(number).encode())
        members += _members.decode(zlib.decompress(data)) if data else ()
    links = pages.get(_LINKS.encode())
    return msgspec.structs.replace(
        head.campaign, members=tuple(members), links=_links.decode(zlib.decompress(links)) if links else ()
    )


def _squeeze(value: object) -> bytes:
    return zlib.compress(_encoder.encode(value), 1)


def _read_head(data: bytes) -> Head | None:
    try:
        return _heads.decode(zlib.decompress(data))
    except (msgspec.DecodeError, UnicodeDecodeError, zlib.error):
        return None  # of another release: the linker forms it anew


def _mentions(pages: Iterable[bytes], key_id: bytes) -> bool:
    return any(key_id in zlib.decompress(data) for data in pages)


def _without(one: Campaign, key_id: str) -> Campaign:
    return msgspec.structs.replace(
        one,
        members=tuple(member for member in one.members if member.key_id != key_id),
        links=tuple(link for link in one.links if key_id not in (link.a, link.b)),
    )


_encoder = msgspec.msgpack.Encoder()
_heads = msgspec.msgpack.Decoder(Head)
_members = msgspec.msgpack.Decoder(tuple[Member, ...])
_links = msgspec.msgpack.Decoder(tuple[Link, ...])
