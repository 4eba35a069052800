"""An import of accounts may allow what some flagged keys were flagged for: those are let go at once, as after a PUT."""

from __future__ import annotations

from collections.abc import Mapping

from app.admin.lifting import Lifting
from app.state.accounts import Account
from app.state.reading import MAX_PAGE, StateReader
from detectors.contract import Level


async def excuse_imported(reader: StateReader, lifting: Lifting, accounts: Mapping[str, Account], by: str) -> None:
    """Goes through the flagged keys, which are few, rather than through the accounts, of which there may be many.

    Raises:
        StateUnavailable: the server is away; keys not reached are excused by their next verdict.
    """
    if not any(account.authorised for account in accounts.values()):
        return
    cursor = ""
    while True:
        page = await reader.list_keys(Level.WATCH, limit=MAX_PAGE, cursor=cursor, or_higher=True)
        for row in page.rows:
            account = accounts.get(row.key_id)
            if account is not None:
                await lifting.excuse(row.key_id, account, by)
        cursor = page.cursor
        if not cursor:
            return
