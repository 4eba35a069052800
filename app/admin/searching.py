"""Search over keys: by id, organisation, plan, level, score, last use and what is asked for about them.

Lists are ordered as the index is, by suspicion or by last use, so pages are stable; what no index knows is looked up for
each key of a page and compared. The work of one answer is bounded: it may be short, or empty, and still have a next page.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from app.admin.models_keys import KeyQuery
from app.admin.views import micros
from app.enforcement.policy import Action, decode_verdict
from app.state.accounts import Account, AccountStore
from app.state.keys import partition_of
from app.state.reading import KeyRow, StateReader
from detectors.contract import Level

MAX_SCANNED = 4_000
"""Keys that one answer looks at."""

MAX_SEC = 1.2
"""… and how long: half of what a person waits for an answer."""

_PAGE = 400


@dataclass(frozen=True, slots=True)
class Found:
    """One key with what was looked up about it.

    Attributes:
        plan: of the account, or the default one.
        action: what is asked for about it now; None for nothing.
    """

    row: KeyRow
    account: Account | None
    plan: str
    action: Action | None


class Search:
    """Over one deployment's state. Raises StateUnavailable when the server is away."""

    def __init__(self, reader: StateReader, accounts: AccountStore, partitions: int, default_plan: str) -> None:
        self._reader = reader
        self._accounts = accounts
        self._partitions = partitions
        self._default_plan = default_plan

    async def page(self, query: KeyQuery) -> tuple[list[Found], str]:
        """(keys that fit, cursor of the next page, "" behind the last).

        Raises:
            BadInput: the cursor is not one that a page gave.
        """
        flagged = query.level == "flagged"
        level = None if query.level is None else Level.SUSPECT if flagged else Level[query.level.upper()]
        # Keys of an organisation live in one partition, whatever their ids.
        where = None if query.org_id is None else {partition_of(query.org_id, self._partitions)}
        stop = time.monotonic() + MAX_SEC
        found: list[Found] = []
        cursor, scanned = query.cursor, 0
        while True:
            size = query.limit if not query.compares else max(query.limit, _PAGE)
            page = await self._reader.list_keys(level, query.q or "", size, cursor, or_higher=flagged, partitions=where)
            last = page.rows[-1] if page.rows else None
            for one in await self._look([row for row in page.rows if _fits_row(row, query)]):
                if not _fits(one, query):
                    continue
                found.append(one)
                if len(found) == query.limit:
                    ended = one.row is last and not page.cursor
                    return found, "" if ended else one.row.cursor
            scanned += len(page.rows)
            cursor = page.cursor
            if not cursor or (last is not None and _nothing_follows(last, query)):
                return found, ""
            if scanned >= MAX_SCANNED or time.monotonic() >= stop:
                return found, cursor

    async def _look(self, rows: list[KeyRow]) -> list[Found]:
        if not rows:
            return []
        now_us = time.time_ns() // 1000
        accounts = await self._accounts.get_many([row.key_id for row in rows])
        verdicts = await self._reader.verdicts([(row.key_id, row.partition) for row in rows])
        found = []
        for row, verdict in zip(rows, verdicts, strict=True):
            account = accounts.get(row.key_id)
            plan = account.plan if account is not None and account.plan else self._default_plan
            action = decode_verdict(verdict)
            found.append(Found(row, account, plan, None if action is None or action.until_us <= now_us else action))
        return found


def _fits_row(row: KeyRow, query: KeyQuery) -> bool:
    """What the list itself knows."""
    if query.min_score is not None and not (row.judged and row.score >= query.min_score):
        return False
    if query.max_score is not None and row.judged and row.score > query.max_score:
        return False
    seen_us = None if row.last_seen_ms is None else row.last_seen_ms * 1000
    after, before = micros(query.seen_after), micros(query.seen_before)
    if after is not None and (seen_us is None or seen_us < after):
        return False
    return before is None or (seen_us is not None and seen_us < before)


def _fits(one: Found, query: KeyQuery) -> bool:
    if query.org_id is not None and (one.account is None or one.account.org_id != query.org_id):
        return False
    if query.plan is not None and one.plan != query.plan:
        return False
    return query.action is None or ("observe" if one.action is None else one.action.action) == query.action


def _nothing_follows(last: KeyRow, query: KeyQuery) -> bool:
    """In a list by last use, what comes behind was used earlier still."""
    after = micros(query.seen_after)
    by_time = query.level is None and query.q is None
    return by_time and after is not None and last.last_seen_ms is not None and last.last_seen_ms * 1000 < after
