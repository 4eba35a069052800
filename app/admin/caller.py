"""Who is asking. A route that wants to know takes a `CallerDep`; the look-up is made once for a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.admin.roles import Role

if TYPE_CHECKING:
    from app.admin.auth import Access

BOOTSTRAP = "bootstrap"
"""Id and name of the token that stands in the settings."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a token that was good when the request came.

    Attributes:
        token_id: public part of the token, "bootstrap" for the one in the settings.
        name: what the token was called when it was made.
        role: what it may do, see `app.admin.roles.ROLES`.
    """

    token_id: str
    name: str
    role: Role

    def is_named(self, name: str) -> bool:
        """It is this person's name, letter case and spaces aside, as names of tokens are told apart."""
        return self.name.lower().split() == name.lower().split()


_scheme = HTTPBearer(auto_error=False, description="admin.token, or a token made with POST /v1/tokens")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]


async def current(request: Request, credentials: Credentials) -> Caller:
    """The caller of this request.

    Raises:
        HTTPException: 401 without a good token, 429 after too many wrong ones from this address.
        StateUnavailable: the token cannot be looked up, and was not good within the last minute.
    """
    access: Access = request.app.state.access
    return await access.caller(request, credentials)


CallerDep = Annotated[Caller, Depends(current)]
