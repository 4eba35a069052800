"""The public keys by which members sign what comes as a file, and how far each member's signed feeds were taken."""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec

from app.errors import BadInput
from app.state.calls import Client, reachable, run_script
from app.state.intel_keys import INTEL_FEEDS, INTEL_SIGNERS

MAX_SIGNERS = 2_500
"""Members of all groups; MAX_GROUPS times MAX_MEMBERS of `app.state.intel_groups`."""

Place = Literal["new", "again", "done", "older", "other", "full"]


class Signer(msgspec.Struct, frozen=True):
    """A member's public key.

    Attributes:
        public_key: its 32 bytes, hexadecimal.
        fingerprint: SHA-256 of them, hexadecimal.
        created_sec: when it was registered, unix seconds.
        created_by: token id of who did.
    """

    public_key: str
    fingerprint: str
    created_sec: int
    created_by: str


_decode = msgspec.json.Decoder(Signer).decode
_encode = msgspec.json.Encoder().encode


class Signers:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, group: str, member: str) -> Signer | None:
        """A member's key; None where none is registered, or what is stored cannot be read."""
        with reachable("signers"):
            data: Any = await self._client.hget(INTEL_SIGNERS, f"{group} {member}")
        return _read(data)

    async def of_group(self, group: str) -> dict[str, Signer]:
        """Member → key, of the group."""
        with reachable("signers"):
            stored: Any = await self._client.hgetall(INTEL_SIGNERS)
        found = {}
        for name, data in stored.items():
            owner, _, member = name.decode().partition(" ")
            if owner == group and (signer := _read(data)) is not None:
                found[member] = signer
        return found

    async def put(self, group: str, member: str, public_key: bytes, fingerprint: str, created_by: str) -> Signer:
        """Registers a key in place of the one that the member had.

        Raises:
            BadInput: there are MAX_SIGNERS.
        """
        field = f"{group} {member}"
        signer = Signer(public_key.hex(), fingerprint, int(time.time()), created_by)
        with reachable("signers"):
            known: Any = await self._client.hexists(INTEL_SIGNERS, field)
            if not known and int(await self._client.hlen(INTEL_SIGNERS)) >= MAX_SIGNERS:
                raise BadInput(f"there are {MAX_SIGNERS:,} keys of members, and no more can be")
            await self._client.hset(INTEL_SIGNERS, field, _encode(signer))
        return signer

    async def forget(self, group: str, member: str) -> bool:
        """Forgets a member's key; whether there was one. How far its feeds were taken stays known."""
        with reachable("signers"):
            return bool(await self._client.hdel(INTEL_SIGNERS, f"{group} {member}"))

    async def forget_group(self, group: str) -> None:
        """Forgets the keys of a group's members."""
        for member in await self.of_group(group):
            await self.forget(group, member)

    async def claim(self, group: str, member: str, fingerprint: str, seq: int, digest: str, *, done: bool) -> Place:
        """Notes that a signed feed of a member is being taken, or `done`, that all of it is.

        Returns:
            "new": it is the newest. "again": the same was begun before and is not done. "done": the same was taken whole.
            "older": a later one of this key was there. "other": there was another of the same number. "full": no more
            members can be noted. The last three note nothing.
        """
        args: list[str | int | bytes] = [f"{group} {member}", fingerprint, seq, digest, int(done), 2 * MAX_SIGNERS]
        with reachable("signed feeds"):
            found: Any = await run_script(self._client, "intel_feed", [INTEL_FEEDS], args)
        place: Place = found.decode()
        return place


def _read(data: bytes | None) -> Signer | None:
    try:
        return None if data is None else _decode(data)
    except msgspec.DecodeError:
        return None
