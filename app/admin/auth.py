"""Who may use the admin API: the holder of the one bearer token.

The check is a dependency of the routes themselves, so it cannot be bypassed by how an address is spelled, and a test walks
every route and fails on one that answers without the token. Routes read their body after it, never before.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import ConfigError
from app.settings import AdminSettings
from app.telemetry import metrics

_scheme = HTTPBearer(auto_error=False, description="the value of admin.token")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]


def require_token(settings: AdminSettings) -> Callable[[Credentials], Awaitable[None]]:
    """The dependency that lets a request with the configured token pass.

    Digests are compared, in constant time, so that not even the token's length shows.

    Raises:
        ConfigError: no token is configured; an admin API without one must not start.
    """
    token = settings.token.get_secret_value().encode()
    if not token:
        raise ConfigError("admin.token must be set (at least 24 characters): the admin API does not start without one")
    expected = hashlib.sha256(token).digest()

    async def check(credentials: Credentials) -> None:
        # Starlette reads header bytes as Latin-1; encoding them so gives the client's bytes back.
        given = credentials.credentials.encode("latin-1") if credentials else b""
        if not hmac.compare_digest(hashlib.sha256(given).digest(), expected):
            metrics.AUTH_FAILURES.labels(kind="wrong" if credentials else "missing").inc()
            raise HTTPException(
                401, "This address needs 'Authorization: Bearer <admin.token>'.", headers={"www-authenticate": "Bearer"}
            )

    return check
