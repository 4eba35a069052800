"""Who is behind a bearer token: the bootstrap token of the settings, or one that was made with POST /v1/tokens.

A made token is `sw_<id>_<secret>_<checksum>`: eight characters to look it up by, 256 random bits, and a CRC-32 by which
scanners find a leaked one and by which a slip of the pen is refused without asking the state. Digests are compared in
constant time, also where there is no token of that id, so the time of a refusal says nothing about which ids exist.

While the state server is away the bootstrap token works, and every token that was good within the last minute.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
import zlib
from collections import OrderedDict
from typing import cast

from fastapi import HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials

from app.admin.caller import BOOTSTRAP, Caller
from app.admin.deadline import ANSWER_SEC, answered
from app.admin.failures import Failures, place_of
from app.admin.roles import ROLES, Role
from app.errors import ConfigError, StateUnavailable
from app.settings import AdminSettings
from app.state.tokens import Token, TokenStore
from app.telemetry import metrics

log = logging.getLogger(__name__)

REMEMBERED_SEC = 60.0
"""How long a token that was good is believed while the state server is away; a revoked one as well, for so long."""

MAX_REMEMBERED = 512

_LOOKUP_SEC = 1.0
"""Longest wait for the state server about a token: what is asked for with it needs its time too."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"(sw_([0-9A-Za-z]{8})_[0-9A-Za-z]{43})_([0-9A-Za-z]{6})", re.ASCII)
_SECRET_CHARS = 43  # 62**43 > 2**256

_NEVER_SEC = 2**53

MIN_DISTINCT = 8
"""Different characters a bootstrap token must have: 24 random hex digits have fewer than 8 once in 10^6."""

KNOWN = ("changeme", "change-me", "change_me", "example", "password", "secret-token", "your-token", "stillwatch-admin")
"""What stands in the tokens that people copy from guides."""


def made() -> tuple[str, str]:
    """(token, its id): a new one, of `secrets`."""
    token_id = _drawn(8)
    body = f"sw_{token_id}_{_drawn(_SECRET_CHARS)}"
    return f"{body}_{_checksum(body)}", token_id


def digest_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("latin-1")).hexdigest()


def token_id_of(token: str) -> str | None:
    """The id in a token that has the right form and checksum."""
    found = _FORM.fullmatch(token)
    return found[2] if found and hmac.compare_digest(_checksum(found[1]), found[3]) else None


def check_bootstrap(settings: AdminSettings) -> str:
    """The bootstrap token.

    Raises:
        ConfigError: there is none, or anybody could guess it; an admin API must not start so.
    """
    token = settings.token.get_secret_value()
    if not token:
        raise ConfigError("admin.token must be set (at least 24 characters): the admin API does not start without one")
    if len(set(token)) < MIN_DISTINCT:
        raise ConfigError(f"admin.token must be random: it has fewer than {MIN_DISTINCT} different characters")
    if any(word in token.lower() for word in KNOWN):
        raise ConfigError("admin.token must be random: it holds a word of an example")
    return token


class Access:
    """Knows callers by their tokens.

    Args:
        settings: with the bootstrap token.
        tokens: the other ones.

    Attributes:
        failures: wrong tokens by where they came from.

    Raises:
        ConfigError: as `check_bootstrap`.
    """

    def __init__(self, settings: AdminSettings, tokens: TokenStore) -> None:
        secret = check_bootstrap(settings)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        self._bootstrap = Token(BOOTSTRAP, digest, BOOTSTRAP, "admin", 0, _NEVER_SEC, BOOTSTRAP)
        self._tokens = tokens
        self._good: OrderedDict[bytes, tuple[float, Token]] = OrderedDict()
        self.failures = Failures()

    async def caller(self, request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller:
        """The caller of a request.

        Raises:
            HTTPException: 401 or 429, see `app.admin.caller.current`.
            StateUnavailable: the token cannot be looked up, and is not remembered.
        """
        # Two of them could be read differently by a proxy in front and by us.
        one = len(request.headers.getlist("authorization")) == 1
        place = place_of(request)
        # Starlette reads header bytes as Latin-1; encoding them so gives the client's bytes back.
        given = credentials.credentials.encode("latin-1") if credentials and one else b""
        digest = hashlib.sha256(given).digest()
        if given and (wait := self.failures.wait_sec(place)) and self._remembered(digest) is None:
            metrics.AUTH_FAILURES.labels(kind="limited").inc()
            self.failures.tell(place)
            raise HTTPException(429, "Too many wrong tokens came from this address.", headers={"retry-after": str(wait)})
        if _is_good(self._bootstrap, digest):
            token: Token | None = self._bootstrap
            self._remember(digest, self._bootstrap)
        else:
            token = await self._stored(given, digest)
        if token is None:
            if given:  # as often at most as the place is limited to
                self.failures.note(place)
                log.warning("a wrong token was refused: %s", token_id_of(given.decode("latin-1")) or "none of ours")
            metrics.AUTH_FAILURES.labels(kind="wrong" if credentials else "missing").inc()
            raise HTTPException(
                401, "This address needs 'Authorization: Bearer <token>'.", headers={"www-authenticate": "Bearer"}
            )
        return Caller(token.token_id, token.name, cast(Role, token.role))

    async def _stored(self, given: bytes, digest: bytes) -> Token | None:
        """The good token that was given, if it is one."""
        token_id = token_id_of(given.decode("latin-1"))
        if token_id is None:
            return None
        try:
            async with answered(_LOOKUP_SEC - ANSWER_SEC):
                token = await self._tokens.get(token_id)
                if token is not None and _is_good(token, digest) and await self._tokens.used(token_id):
                    log.info("token %s, role %s, is in use", token_id, token.role)
        except StateUnavailable:
            token = self._remembered(digest)
            if token is None:
                raise
            log.warning("the state server is away; token %s was good within the last minute and is believed", token_id)
            return token if _is_good(token, digest) else None
        if token is None or not _is_good(token, digest):
            self._good.pop(digest, None)
            return None
        self._remember(digest, token)
        return token

    def _remember(self, digest: bytes, token: Token) -> None:
        """Settings or state say now that this token is good."""
        self._good[digest] = time.monotonic(), token
        self._good.move_to_end(digest)
        if len(self._good) > MAX_REMEMBERED:
            self._good.popitem(last=False)

    def _remembered(self, digest: bytes) -> Token | None:
        """The token that was good within the last minute."""
        at, token = self._good.get(digest, (-REMEMBERED_SEC, None))
        return token if time.monotonic() - at <= REMEMBERED_SEC else None


def _is_good(token: Token | None, digest: bytes) -> bool:
    """Whether a stored token is the given one and still counts. All is looked at, whatever is found first."""
    stored = bytes.fromhex(token.digest) if token else bytes(32)
    same = hmac.compare_digest(stored, digest)
    return token is not None and same and token.role in ROLES and time.time() < token.ended_sec()


def _drawn(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    text = ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        text = _ALPHABET[rest] + text
    return text
