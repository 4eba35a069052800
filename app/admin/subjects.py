"""Which keys an order is about, and what is known about each of them now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.admin.models_orders import MAX_KEYS, KeyMatch, Subjects
from app.errors import BadInput
from app.state.accounts import Account, AccountStore
from app.state.key_facts import SLICE, Fact, KeyFacts
from app.state.orders import Order, Orders
from app.state.reading import MAX_PAGE, StateReader
from detectors.contract import Level

MAX_NAMED = 20
"""Unknown keys that a refusal names."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One key.

    Attributes:
        account: None for a stranger.
        order: a person's order that stands about it.
    """

    key_id: str
    fact: Fact
    account: Account | None
    order: Order | None

    @property
    def org_id(self) -> str:
        """Organisation of the account; "" without one."""
        return "" if self.account is None else self.account.org_id


class Unknown(BadInput):
    """Some of the named keys are known neither by their traffic nor by an account; nothing is done about any."""

    def __init__(self, key_ids: Sequence[str]) -> None:
        more = f" and {len(key_ids) - MAX_NAMED:,} more" if len(key_ids) > MAX_NAMED else ""
        named = ", ".join(key_ids[:MAX_NAMED])
        super().__init__(f"body.subjects.keys: was never seen and has no account, so nothing is done: {named}{more}")


class Finder:
    """Resolves subjects. Every method raises StateUnavailable when the server is away."""

    def __init__(self, reader: StateReader, accounts: AccountStore, facts: KeyFacts, orders: Orders) -> None:
        self._reader = reader
        self._accounts = accounts
        self._facts = facts
        self._orders = orders

    async def key_ids(self, asked: Subjects) -> list[str]:
        """The keys, sorted.

        Raises:
            BadInput: an organisation or a match stands for more than MAX_KEYS.
        """
        if asked.keys is not None:
            return sorted(asked.keys)
        found: list[str] = []
        async for key_id in self._of_org(asked.org_id) if asked.org_id is not None else self._matching(asked.match):
            found.append(key_id)
            if len(found) > MAX_KEYS:
                raise BadInput(f"body.subjects: stands for more than {MAX_KEYS:,} keys; ask for fewer at once")
        return sorted(set(found))

    async def look(self, key_ids: Sequence[str]) -> list[Subject]:
        """What is known about each, in their order."""
        accounts: dict[str, Account] = {}
        orders: dict[str, Order] = {}
        for first in range(0, len(key_ids), SLICE):
            part = key_ids[first : first + SLICE]
            accounts |= await self._accounts.get_many(part)
            orders |= await self._orders.get_many(part)
        orgs = {key_id: accounts[key_id].org_id if key_id in accounts else "" for key_id in key_ids}
        facts = await self._facts.gather(orgs)
        return [Subject(key_id, facts[key_id], accounts.get(key_id), orders.get(key_id)) for key_id in key_ids]

    async def find(self, asked: Subjects) -> list[Subject]:
        """Which keys, and what is known about them.

        Raises:
            Unknown: a key is named that is not known.
            BadInput: they are too many, or none.
        """
        found = await self.look(await self.key_ids(asked))
        unknown = [subject.key_id for subject in found if subject.fact.partition is None and subject.account is None]
        if unknown:
            raise Unknown(unknown)
        if not found:
            raise BadInput("body.subjects: no key fits now")
        return found

    def places(self, subject: Subject) -> set[int]:
        """Partitions where the key is known, and where its next request will be decided."""
        home = self._facts.home(subject.key_id, subject.org_id)
        return {home} if subject.fact.partition is None else {home, subject.fact.partition}

    async def states(self, subjects: Iterable[Subject]) -> dict[str, bytes]:
        """Key id → stored state, of those that have one."""
        places = {one.key_id: one.fact.partition for one in subjects if one.fact.partition is not None}
        return await self._facts.states(places)

    async def _of_org(self, org_id: str) -> Any:
        cursor = 0
        while True:
            cursor, found = await self._accounts.scan(cursor)
            for key_id, account in found.items():
                if account.org_id == org_id:
                    yield key_id
            if not cursor:
                return

    async def _matching(self, match: KeyMatch | None) -> Any:
        assert match is not None
        cursor = ""
        while True:
            level = Level[match.at_least.upper()]
            page = await self._reader.list_keys(level, limit=MAX_PAGE, cursor=cursor, or_higher=True)
            for row in page.rows:
                if row.score >= match.min_score and row.key_id.startswith(match.prefix or ""):
                    yield row.key_id
            cursor = page.cursor
            if not cursor:
                return
