"""Admin tokens as they are stored: by public id, with the SHA-256 of the whole token and never the token.

A token has 256 random bits, so a plain fast hash is enough: nobody tries all of them.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from app.errors import BadInput, Conflict
from app.state.calls import Client, reachable, run_script
from app.state.keys import TOKENS, TOKENS_USED

MAX_TOKENS = 500
"""Tokens of a deployment, those that ended less than KEPT_SEC ago included. They are for people and their scripts."""

KEPT_SEC = 90 * 86_400
"""How long a token that has ended can still be looked up, so that a name in the audit log can be explained."""

USED_STEP_SEC = 3600
"""How coarse the time of last use is: one write per token, process and hour."""


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """One token. Times are unix seconds.

    Attributes:
        token_id: public part, eight characters.
        digest: SHA-256 of the whole token, hex.
        name: who or what uses it.
        role: see `app.admin.roles.Role`.
        created_sec: when it was made.
        expires_sec: from when on it is refused.
        created_by: token id of who made it.
        revoked_sec: since when it is refused; None while it is not.
    """

    token_id: str
    digest: str
    name: str
    role: str
    created_sec: int
    expires_sec: int
    created_by: str
    revoked_sec: int | None = None

    def ended_sec(self) -> int:
        """When it ends, or ended."""
        return self.expires_sec if self.revoked_sec is None else min(self.revoked_sec, self.expires_sec)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Token).decode


class TokenStore:
    """Keeps tokens. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._used: dict[str, int] = {}  # bounded: only ids of stored tokens get here

    async def get(self, token_id: str) -> Token | None:
        """The token with this id, ended ones too."""
        with reachable("admin tokens"):
            data: Any = await self._client.hget(TOKENS, token_id)
        return _read(data)

    async def listed(self) -> list[tuple[Token, int | None]]:
        """(token, when it was last used, to the hour), those made last first."""
        with reachable("admin tokens"):
            pipe = self._client.pipeline(transaction=False)
            pipe.hgetall(TOKENS)
            pipe.hgetall(TOKENS_USED)
            stored, used = await pipe.execute()
        found = [token for data in stored.values() if (token := _read(data)) is not None]
        found.sort(key=lambda token: (-token.created_sec, token.token_id))
        return [(token, _seconds(used.get(token.token_id.encode()))) for token in found]

    async def add(self, token: Token) -> None:
        """Keeps a new token, and forgets those that ended long ago.

        Raises:
            Conflict: a token that counts has this name, letter case and spaces aside: "by another person" goes by names.
            BadInput: there are MAX_TOKENS already.
        """
        limit = time.time() - KEPT_SEC
        old = [known.token_id for known, _ in await self.listed() if known.ended_sec() < limit]
        with reachable("admin tokens"):
            if old:
                await self._client.hdel(TOKENS, *old)
                await self._client.hdel(TOKENS_USED, *old)
            kept = await run_script(
                self._client, "tokens", [TOKENS], [token.token_id, _encode(token), MAX_TOKENS, int(time.time())]
            )
        for token_id in old:
            self._used.pop(token_id, None)
        if int(kept) < 0:
            raise Conflict("a token that counts has this name already: take another name, or revoke that token first")
        if not kept:
            raise BadInput(f"there are {MAX_TOKENS} tokens; those that ended are forgotten after {KEPT_SEC // 86_400} days")

    async def revoke(self, token: Token) -> Token:
        """Refuses the token from now on."""
        ended = msgspec.structs.replace(token, revoked_sec=int(time.time()))
        with reachable("admin tokens"):
            await self._client.hset(TOKENS, token.token_id, _encode(ended))
        return ended

    async def used(self, token_id: str) -> bool:
        """Notes that a token was used in this hour, if that is not noted yet; true when it was not."""
        hour = int(time.time()) // USED_STEP_SEC * USED_STEP_SEC
        if self._used.get(token_id) == hour:
            return False
        with reachable("admin tokens"):
            await self._client.hset(TOKENS_USED, token_id, hour)
        self._used[token_id] = hour
        return True


def _read(data: bytes | None) -> Token | None:
    """The stored token; None where there is none. One that does not decode lets nobody in."""
    try:
        return None if data is None else _decode(data)
    except msgspec.DecodeError:
        return None


def _seconds(data: bytes | None) -> int | None:
    return None if data is None else int(data)
