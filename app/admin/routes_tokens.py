"""Routes over admin tokens: make, list, revoke."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Request, Response

from app.admin import auth
from app.admin.auditing import Auditor
from app.admin.bodies import described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import answered
from app.admin.models_access import PUBLIC_ID, TokenIn, TokenList, TokenMade, TokenOut
from app.admin.permissions import permit
from app.state.tokens import Token, TokenStore

TokenId = Annotated[str, Path(pattern=PUBLIC_ID, description="public part of a token, as the list shows it")]

_DAY_SEC = 86_400


def router(tokens: TokenStore, auditor: Auditor) -> APIRouter:
    """The token routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["tokens"])

    @routes.get("/tokens", dependencies=[permit("tokens.read")])
    async def list_tokens() -> TokenList:
        """All tokens without their secrets, those made last first. The bootstrap token of the settings is none of them."""
        async with answered():
            found = await tokens.listed()
        return TokenList(tokens=[TokenOut(**_view(token, used)) for token, used in found])

    @routes.post("/tokens", status_code=201, dependencies=[permit("tokens.write")], openapi_extra=described(TokenIn))
    async def make_token(request: Request, caller: CallerDep) -> TokenMade:
        """Make a token. It is in this answer and nowhere else: only its digest is kept."""
        asked = await read_body(request, TokenIn)
        secret, token_id = auth.made()
        now = int(time.time())
        token = Token(
            token_id=token_id,
            digest=auth.digest_of(secret),
            name=asked.name,
            role=asked.role,
            created_sec=now,
            expires_sec=now + asked.days * _DAY_SEC,
            created_by=caller.token_id,
        )
        after = {"name": token.name, "role": token.role, "expires": _moment(token.expires_sec).isoformat()}
        await auditor.record(caller, request, "token.make", f"token:{token_id}", after=after)
        async with answered():
            await tokens.add(token)
        return TokenMade(**_view(token, None), token=secret)

    @routes.delete("/tokens/{token_id}", status_code=204, response_class=Response, dependencies=[permit("tokens.write")])
    async def revoke_token(token_id: TokenId, request: Request, caller: CallerDep) -> None:
        """Refuse a token from its next request on."""
        async with answered():
            token = await tokens.get(token_id)
        if token is None or token.revoked_sec is not None:
            raise HTTPException(404, "There is no such token, or it is revoked already.")
        before = {"name": token.name, "role": token.role}
        await auditor.record(caller, request, "token.revoke", f"token:{token_id}", before=before)
        async with answered():
            await tokens.revoke(token)

    return routes


def _view(token: Token, used_sec: int | None) -> dict[str, Any]:
    status: Literal["active", "expired", "revoked"] = "active"
    if token.revoked_sec is not None:
        status = "revoked"
    elif token.expires_sec <= time.time():
        status = "expired"
    return {
        "token_id": token.token_id,
        "name": token.name,
        "role": token.role,
        "created": _moment(token.created_sec),
        "expires": _moment(token.expires_sec),
        "created_by": token.created_by,
        "last_used": None if used_sec is None else _moment(used_sec),
        "revoked": None if token.revoked_sec is None else _moment(token.revoked_sec),
        "status": status,
    }


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
