"""Routes over accounts: what the operator knows about a key. Gateways take a change over within a second or so."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from app.admin import views
from app.admin.auditing import Auditor
from app.admin.bodies import JSON_LINES, described, read_body
from app.admin.caller import CallerDep
from app.admin.deadline import ACCOUNTS_PER_SEC, answered
from app.admin.excuses import excuse_imported
from app.admin.import_lines import check_lines
from app.admin.lifting import Lifting
from app.admin.models import KEY_ID, AccountIn, AccountLine, AccountList, AccountOut, AccountQuery, ImportOut, ImportQuery
from app.admin.permissions import permit
from app.admin.problems import ProblemResponse
from app.state.accounts import AccountStore
from app.state.reading import StateReader

IMPORT_PATH = "/v1/accounts:import"

KeyId = Annotated[str, Path(pattern=KEY_ID, description="key id: the keyed hash of the credential, in hex")]

_EXAMPLE = {"org_id": "acme", "plan": "team", "created_at": "2026-11-01T00:00:00Z", "authorised": ["evaluation"]}
_UNKNOWN = "There is no account for this key."


def router(reader: StateReader, accounts: AccountStore, lifting: Lifting, auditor: Auditor) -> APIRouter:
    """The account routes over one deployment's state."""
    routes = APIRouter(prefix="/v1", tags=["accounts"])

    @routes.get("/accounts", dependencies=[permit("accounts.read")])
    async def list_accounts(query: Annotated[AccountQuery, Query()]) -> AccountList:
        """All accounts, page by page."""
        async with answered():
            after, found = await accounts.scan(query.cursor, query.limit)
        return AccountList(
            accounts=[views.account(*item) for item in sorted(found.items())], next_cursor=str(after) if after else None
        )

    @routes.get("/accounts/{key_id}", dependencies=[permit("accounts.read")])
    async def get_account(key_id: KeyId) -> AccountOut:
        """One account."""
        async with answered():
            found = await accounts.get(key_id)
        if found is None:
            raise HTTPException(404, _UNKNOWN)
        return views.account(key_id, found)

    @routes.put(
        "/accounts/{key_id}", dependencies=[permit("accounts.write")], openapi_extra=described(AccountIn, example=_EXAMPLE)
    )
    async def put_account(key_id: KeyId, request: Request, caller: CallerDep) -> AccountOut:
        """Make an account, or replace the whole of it: a field that is not given is emptied.

        Where it allows a use that excuses what was found, the action about the key is lifted with it.
        """
        account = views.stored_account(await read_body(request, AccountIn))
        async with answered():
            known = await accounts.get(key_id)
        before = None if known is None else views.account(key_id, known).model_dump(mode="json")
        after = views.account(key_id, account).model_dump(mode="json")
        await auditor.record(caller, request, "account.put", f"key:{key_id}", before=before, after=after)
        async with answered():
            await accounts.put(key_id, account)
            await lifting.excuse(key_id, account, caller.name)
        return views.account(key_id, account)

    @routes.delete(
        "/accounts/{key_id}",
        status_code=204,
        response_class=Response,
        dependencies=[permit("accounts.write")],
    )
    async def delete_account(key_id: KeyId, request: Request, caller: CallerDep) -> None:
        """Forget an account; the key itself, and what it did, stays known."""
        async with answered():
            known = await accounts.get(key_id)
        if known is None:
            raise HTTPException(404, _UNKNOWN)
        before = views.account(key_id, known).model_dump(mode="json")
        await auditor.record(caller, request, "account.delete", f"key:{key_id}", before=before)
        async with answered():
            await accounts.delete(key_id)

    @routes.post(
        "/accounts:import",
        dependencies=[permit("accounts.write")],
        response_model=ImportOut,
        openapi_extra=described(
            AccountLine, JSON_LINES, {"key_id": "1e1c62b667e743a8fcef373929cf7839", **_EXAMPLE}, required=False
        ),
    )
    async def import_accounts(request: Request, query: Annotated[ImportQuery, Query()], caller: CallerDep) -> Any:
        """Make or replace many accounts, one JSON object with its `key_id` on each line: all of them or none.

        The answer to a bad one names every bad line. A use that an account allows lifts at once what it excuses.
        """
        checked = await asyncio.to_thread(check_lines, await request.body())
        if checked.faults:
            return ProblemResponse(422, checked.sentence, checked.faults)
        lines = checked.accounts
        async with answered():
            before = await accounts.count()  # a server that is away is found before a long import gives it longer
        if query.dry_run:
            return ImportOut(lines=len(lines), stored=0, dry_run=True)
        await auditor.record(
            caller, request, "account.import", "accounts", before={"accounts": before}, after={"stored": len(lines)}
        )
        found = {line.key_id: views.stored_account(line) for line in lines}
        async with answered(len(lines) / ACCOUNTS_PER_SEC):
            await accounts.import_many(found)
            await excuse_imported(reader, lifting, found, caller.name)
        return ImportOut(lines=len(lines), stored=len(lines), dry_run=False)

    return routes
