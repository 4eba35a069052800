"""Routes over accounts: what the operator knows about a key. Gateways take a change over within a second or so."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from app.admin import views
from app.admin.bodies import JSON_LINES, described, parse_lines, read_body
from app.admin.deadline import ACCOUNTS_PER_SEC, answered
from app.admin.lifting import Lifting
from app.admin.models import KEY_ID, AccountIn, AccountLine, AccountList, AccountOut, AccountQuery, ImportOut
from app.state.accounts import AccountStore

IMPORT_PATH = "/v1/accounts:import"

KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]

_UNKNOWN = "There is no account for this key."


def router(accounts: AccountStore, lifting: Lifting) -> APIRouter:
    """The account routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["accounts"])

    @routes.get("/accounts")
    async def list_accounts(query: Annotated[AccountQuery, Query()]) -> AccountList:
        """All accounts, page by page."""
        async with answered():
            after, found = await accounts.scan(query.cursor, query.limit)
        return AccountList(
            accounts=[views.account(*item) for item in sorted(found.items())], next_cursor=str(after) if after else None
        )

    @routes.get("/accounts/{key_id}")
    async def get_account(key_id: KeyId) -> AccountOut:
        """One account."""
        async with answered():
            found = await accounts.get(key_id)
        if found is None:
            raise HTTPException(404, _UNKNOWN)
        return views.account(key_id, found)

    @routes.put("/accounts/{key_id}", openapi_extra=described(AccountIn))
    async def put_account(key_id: KeyId, request: Request) -> AccountOut:
        """Make an account, or replace the whole of it: a field that is not given is emptied.

        Where it allows a use that excuses what was found, the action about the key is lifted with it.
        """
        account = views.stored_account(await read_body(request, AccountIn))
        async with answered():
            await accounts.put(key_id, account)
            await lifting.excuse(key_id, account)
        return views.account(key_id, account)

    @routes.delete("/accounts/{key_id}", status_code=204, response_class=Response)
    async def delete_account(key_id: KeyId) -> None:
        """Forget an account; the key itself, and what it did, stays known."""
        async with answered():
            known = await accounts.delete(key_id)
        if not known:
            raise HTTPException(404, _UNKNOWN)

    @routes.post("/accounts:import", openapi_extra=described(AccountLine, JSON_LINES))
    async def import_accounts(request: Request) -> ImportOut:
        """Make or replace many accounts, one JSON object with its `key_id` on each line: all of them or none.

        A use that they allow lifts an action at the key's next verdict.
        """
        lines = await asyncio.to_thread(parse_lines, await request.body())
        async with answered():
            await accounts.count()  # a server that is away is found before a long import gives it longer
        async with answered(len(lines) / ACCOUNTS_PER_SEC):
            await accounts.import_many({line.key_id: views.stored_account(line) for line in lines})
        return ImportOut(stored=len(lines))

    return routes
