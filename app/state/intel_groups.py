"""Trust groups, and the credentials of their members: who may read what is shared there, and who sent what.

A credential is a token of the form of an admin token and opens nothing but its group's addresses. It is stored by its
public id, as the SHA-256 of the whole token; it has 256 random bits, so a plain fast hash is enough.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from app.errors import BadInput
from app.state.calls import Client, reachable
from app.state.intel_keys import INTEL_GROUPS, INTEL_MEMBERS, CollectionKeys

MAX_GROUPS = 50
MAX_MEMBERS = 50
"""Of one group. Labs that share are few; each has a queue of its own with bounds of its own."""

MAX_CREDENTIALS = 5_000
"""Stored ones, those that ended less than KEPT_SEC ago included."""

KEPT_SEC = 90 * 86_400
"""How long a credential that has ended can still be looked up, so that a name in the audit log can be explained."""

GROUP = r"^[a-z0-9][a-z0-9-]{0,31}$"
MEMBER = r"^[a-z0-9][a-z0-9_.-]{0,63}$"

KINDS = ("feed", "submit")
"""The collections of a group: what is shared with it, and what its members send."""


class Group(msgspec.Struct, frozen=True):
    """One trust group.

    Attributes:
        name: in addresses.
        title: for people.
        feed_id: id of the collection that members read.
        submit_id: id of the one that they write to.
        created_sec: unix seconds.
    """

    name: str
    title: str
    feed_id: str
    submit_id: str
    created_sec: int

    def kind(self, collection_id: str) -> str | None:
        """Which of the collections has this id, or this name."""
        named = {self.feed_id: "feed", self.submit_id: "submit", "feed": "feed", "submit": "submit"}
        return named.get(collection_id.lower())


class Credential(msgspec.Struct, frozen=True):
    """A member's credential. Times are unix seconds.

    Attributes:
        token_id: public part, eight characters.
        digest: SHA-256 of the whole token, hex.
        group: the only one that it opens.
        member: whose it is.
        may_submit: the member may send objects; else it only reads.
        created_sec: when it was made.
        expires_sec: from when on it is refused.
        created_by: token id of the person who made it.
    """

    token_id: str
    digest: str
    group: str
    member: str
    may_submit: bool
    created_sec: int
    expires_sec: int
    created_by: str


_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode
_group = msgspec.json.Decoder(Group).decode
_credential = msgspec.json.Decoder(Credential).decode


class IntelGroups:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, name: str) -> Group | None:
        """One group; None where there is none."""
        if not re.fullmatch(GROUP, name):
            return None
        with reachable("trust groups"):
            data: Any = await self._client.hget(INTEL_GROUPS, name)
        return _read(_group, data)

    async def all(self) -> list[Group]:
        """All groups, by name."""
        with reachable("trust groups"):
            stored: Any = await self._client.hvals(INTEL_GROUPS)
        found = [group for data in stored if (group := _read(_group, data)) is not None]
        return sorted(found, key=lambda group: group.name)

    async def put(self, name: str, title: str) -> tuple[Group, bool]:
        """(the group, whether it is new). One that is there gets the title and keeps its collections.

        Raises:
            BadInput: the name cannot be one, or there are MAX_GROUPS.
        """
        if not re.fullmatch(GROUP, name):
            raise BadInput("group: must be 1 to 32 lower-case letters, digits and '-'")
        known = await self.get(name)
        if known is not None:
            group = msgspec.structs.replace(known, title=title)
        else:
            group = Group(name, title, str(uuid.uuid4()), str(uuid.uuid4()), int(time.time()))
        with reachable("trust groups"):
            if known is None:
                if int(await self._client.hlen(INTEL_GROUPS)) >= MAX_GROUPS:
                    raise BadInput(f"there are {MAX_GROUPS} groups, and no more can be")
                if not await self._client.hsetnx(INTEL_GROUPS, name, _encode(group)):
                    known = await self.get(name)  # somebody else was faster
                    return (group if known is None else known), False
            else:
                await self._client.hset(INTEL_GROUPS, name, _encode(group))
        return group, known is None

    async def delete(self, name: str) -> int:
        """Ends the credentials of all members, forgets the group and everything in its collections; how many ended.

        What members sent and nobody has dealt with stays in its queues, and so does which tokens there were.
        """
        now = int(time.time())
        ended = [one for one in await self._credentials() if one.group == name and one.expires_sec > now]
        with reachable("trust groups"):
            for one in ended:
                await self._write(msgspec.structs.replace(one, expires_sec=now))
            await self._client.hdel(INTEL_GROUPS, name)
            for kind in KINDS:
                await self._client.unlink(*CollectionKeys(name, kind).all())
        return len(ended)

    async def credential(self, token_id: str) -> Credential | None:
        """A credential by its public id, ended ones too."""
        with reachable("members"):
            data: Any = await self._client.hget(INTEL_MEMBERS, token_id)
        return _read(_credential, data)

    async def members(self, group: str) -> list[Credential]:
        """The credentials of a group that count, by member; a member may have two of them while one is replaced."""
        now = time.time()
        found = [one for one in await self._credentials() if one.group == group and one.expires_sec > now]
        return sorted(found, key=lambda one: (one.member, -one.created_sec, one.token_id))

    async def give(self, credential: Credential, overlap_sec: int = 0) -> None:
        """Keeps a credential in place of those that the member had, which count for so long yet.

        Raises:
            BadInput: the member's name cannot be one, or the group has MAX_MEMBERS, or there are MAX_CREDENTIALS.
        """
        if not re.fullmatch(MEMBER, credential.member):
            raise BadInput("member: must be 1 to 64 lower-case letters, digits and '_', '.', '-'")
        now = int(time.time())
        known = await self._credentials()
        old = [one.token_id for one in known if one.expires_sec < now - KEPT_SEC]
        count = [one for one in known if one.group == credential.group and one.expires_sec > now]
        names = {one.member for one in count}
        if credential.member not in names and len(names) >= MAX_MEMBERS:
            raise BadInput(f"the group has {MAX_MEMBERS} members, and no more can be in it")
        if len(known) - len(old) >= MAX_CREDENTIALS:
            raise BadInput(
                f"there are {MAX_CREDENTIALS:,} credentials; ended ones are forgotten after {KEPT_SEC // 86_400} days"
            )
        with reachable("members"):
            if old:
                await self._client.hdel(INTEL_MEMBERS, *old)
            await self._write(credential)
            for one in count:
                if one.member == credential.member and one.expires_sec > now + overlap_sec:
                    await self._write(msgspec.structs.replace(one, expires_sec=now + overlap_sec))

    async def end(self, group: str, member: str) -> int:
        """Refuses every credential of a member from now on; how many counted."""
        now = int(time.time())
        counted = [one for one in await self.members(group) if one.member == member]
        with reachable("members"):
            for one in counted:
                await self._write(msgspec.structs.replace(one, expires_sec=now))
        return len(counted)

    async def _credentials(self) -> list[Credential]:
        with reachable("members"):
            stored: Any = await self._client.hvals(INTEL_MEMBERS)
        return [one for data in stored if (one := _read(_credential, data)) is not None]

    async def _write(self, credential: Credential) -> None:
        await self._client.hset(INTEL_MEMBERS, credential.token_id, _encode(credential))


def _read(decode: Callable[[bytes], _T], data: bytes | None) -> _T | None:
    """The stored record; None where there is none. One that does not decode lets nobody in."""
    try:
        return None if data is None else decode(data)
    except msgspec.DecodeError:
        return None
