"""What a request with an Idempotency-Key was answered, so that a repetition gets the same answer and does nothing again."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from app.state.calls import Client, reachable
from app.state.keys import reply

KEEP_SEC = 86_400
"""A client that repeats a request does so within minutes."""

BUSY_SEC = 60
"""How long a request may take before its name is free again: longer than any answer, for the process may have died."""


class Reply(msgspec.Struct, frozen=True):
    """What is kept.

    Attributes:
        body: digest of the request's body: another body under the same name is a mistake.
        status: of the answer; 0 while it is being made.
        answer: its JSON.
    """

    body: str
    status: int = 0
    answer: bytes = b""


_decode = msgspec.msgpack.Decoder(Reply).decode


class Replies:
    """Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def claim(self, name: str, body: bytes) -> Reply | None:
        """Take the name for this request; None when it was free, else what is kept under it."""
        mine = msgspec.msgpack.encode(Reply(digest(body)))
        with reachable("idempotency key"):
            if await self._client.set(reply(name), mine, nx=True, ex=BUSY_SEC):
                return None
            found: Any = await self._client.get(reply(name))
        try:
            return Reply("") if found is None else _decode(found)
        except msgspec.DecodeError:
            return Reply("")

    async def keep(self, name: str, body: bytes, status: int, answer: bytes) -> None:
        """The answer that repetitions get."""
        with reachable("idempotency key"):
            await self._client.set(reply(name), msgspec.msgpack.encode(Reply(digest(body), status, answer)), ex=KEEP_SEC)

    async def release(self, name: str) -> None:
        """Nothing was done: the name is free again."""
        with reachable("idempotency key"):
            await self._client.delete(reply(name))


def digest(body: bytes) -> str:
    """Name of a body."""
    return hashlib.sha256(body).hexdigest()
