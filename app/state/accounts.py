"""Accounts: what the operator told about keys. Written through `AccountStore`, read from a copy in `AccountDirectory`.

A gateway must know its keys while the state server is away, so each one holds all accounts in memory and follows the
stream of changes: the server tells of them at once, and a look every POLL_SEC does without that. Each change names the one
before it; a reader that finds a gap reads everything again.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from app.errors import BadInput, StateUnavailable
from app.state.calls import Client, reachable, run_script
from app.state.keys import ACCOUNT_CHANGES, ACCOUNTS
from app.state.partition import START, next_id, parse_id
from app.state.waiting import end, wait_for_change
from detectors.contract import USES

log = logging.getLogger(__name__)

KEY_ID = re.compile(r"[0-9a-f]{32}")
"""A key id is a BLAKE2b-128 in hex, as `app.gateway.identity.Hasher` makes it."""

NAME = re.compile(r"[0-9A-Za-z_.:@-]{0,128}")
"""Organisations, plans and payments. No brace may occur: an organisation's name is part of key names with hash tags."""

MAX_CHANGES = 10_000
"""Changes the stream remembers; a directory that missed more reads all accounts again."""

MAX_NAMED = 500
"""An import of more accounts than this is one change, "read everything again", instead of one for each."""

MAX_IMPORT = 200_000
"""Accounts of one import; the server does nothing else meanwhile, about 0.2 s for this many."""

TOLD_SLICE = 10_000
"""Accounts of an operator's file that are stored at once: 10 ms, which no decision notices. A file is stored at each start,
so it need not be all or nothing."""

POLL_SEC = 0.5
"""How often a directory looks for changes if the server tells of none, and the pause after the server was away."""

_SCAN_COUNT = 2000


class Account(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of one key. Fields that a later version adds are skipped by this one.

    Attributes:
        org_id: organisation; its keys share budgets and a partition; "" for none.
        plan: name under limits.plans; "" for the default.
        created_us: when the key was created, µs since 1970, UTC.
        payment_id: keyed hash of the payment token.
        authorised: uses that the contract allows, of `detectors.contract.USES`.
        country: ISO 3166 code in capitals.
    """

    org_id: str = ""
    plan: str = ""
    created_us: int | None = None
    payment_id: str = ""
    authorised: tuple[str, ...] = ()
    country: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Account).decode


def check(key_id: str, account: Account) -> None:
    """Raises BadInput when something that key names or labels are made of is not a plain name."""
    if not KEY_ID.fullmatch(key_id):
        raise BadInput("key_id must be 32 hex digits, as the service shows it")
    for field, value in (("org_id", account.org_id), ("plan", account.plan), ("payment_id", account.payment_id)):
        if not NAME.fullmatch(value):
            raise BadInput(f"{field} may have letters, digits and _ . : @ - only, at most 128")
    check_uses(account.authorised)
    if not re.fullmatch(r"([A-Z]{2})?", account.country):
        raise BadInput("country must be an ISO 3166 code of two capitals")


def check_uses(uses: Iterable[str]) -> None:
    """Raises BadInput when a use is none that any rule knows: it would excuse nothing, and look as if it did."""
    if not set(uses) <= set(USES):
        raise BadInput(f"authorised may name these uses only: {', '.join(USES)}")


class AccountStore:
    """Reads and changes accounts. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, key_id: str) -> Account | None:
        """The account as stored now."""
        with reachable("accounts"):
            found: Any = await self._client.hget(ACCOUNTS, key_id)
        return None if found is None else _read(key_id, found)

    async def get_many(self, key_ids: Iterable[str]) -> dict[str, Account]:
        """Those of the keys that have an account."""
        names = list(key_ids)
        if not names:
            return {}
        with reachable("accounts"):
            found: Any = await self._client.hmget(ACCOUNTS, names)
        return _read_all((name, data) for name, data in zip(names, found, strict=True) if data is not None)

    async def count(self) -> int:
        """How many accounts there are."""
        with reachable("accounts"):
            return int(await self._client.hlen(ACCOUNTS))

    async def scan(self, cursor: int = 0, count: int = _SCAN_COUNT) -> tuple[int, dict[str, Account]]:
        """(next cursor, some accounts), in no order. Start with 0 and go on until 0 comes back.

        About `count` come at a time. One that is there throughout comes at least once; one that changes meanwhile may not.
        """
        with reachable("accounts"):
            answer: Any = await self._client.hscan(ACCOUNTS, cursor, count=count)
        position, found = answer
        return int(position), _read_all((name.decode(), data) for name, data in found.items())

    async def put(self, key_id: str, account: Account) -> bool:
        """Stores one account; true when the key had none.

        Raises:
            BadInput: the key id or a field breaks its rule.
        """
        return await self.import_many({key_id: account}) == 1

    async def delete(self, key_id: str) -> bool:
        """Removes the account; false when there was none. A key without account is a stranger, not a blocked key."""
        return await self._change("delete", [key_id], 1) == 1

    async def import_many(self, accounts: Mapping[str, Account]) -> int:
        """Stores all of them or none; returns how many keys had no account before.

        Raises:
            BadInput: one breaks a rule, or there are more than MAX_IMPORT; nothing was stored.
        """
        if len(accounts) > MAX_IMPORT:
            raise BadInput(f"one import may have {MAX_IMPORT:,} accounts; send the rest in another")
        if not accounts:
            return 0
        flat: list[str | bytes] = []
        for key_id, account in accounts.items():
            check(key_id, account)
            flat += (key_id, _encode(account))
        return await self._change("put", flat, len(accounts))

    async def _change(self, what: str, flat: list[str | bytes] | list[str], count: int) -> int:
        names = [ACCOUNTS, ACCOUNT_CHANGES]
        with reachable("accounts"):
            args: list[str | int | bytes] = [what, MAX_CHANGES, int(count <= MAX_NAMED), *flat]
            return int(await run_script(self._client, "accounts", names, args))

    async def newest_change(self) -> str:
        """Id of the last change, START when there is none."""
        with reachable("account changes"):
            found: Any = await self._client.xrevrange(ACCOUNT_CHANGES, count=1)
        return found[0][0].decode() if found else START

    async def wait(self, after: str, wait_ms: int) -> bool:
        """Waits for a change after that one, see `wait_for_change`."""
        return await wait_for_change(self._client, ACCOUNT_CHANGES, after, wait_ms)

    async def changes(self, after: str) -> tuple[list[tuple[str, str, str]], str]:
        """([(id, id of the one before, key id or "*")], id of the newest of all), those after `after`, oldest first."""
        with reachable("account changes"):
            pipe = self._client.pipeline(transaction=False)
            pipe.xrange(ACCOUNT_CHANGES, min=next_id(after))
            pipe.xrevrange(ACCOUNT_CHANGES, count=1)
            found, newest = await pipe.execute()
        entries = [(entry.decode(), fields[b"p"].decode(), fields[b"k"].decode()) for entry, fields in found]
        return entries, newest[0][0].decode() if newest else START


class AccountDirectory:
    """All accounts in this process, at most about POLL_SEC old while the server answers.

    Args:
        store: where they are kept.
        told: accounts from the operator's file, known at once; they are stored as soon as the server answers.
        timeout_sec: of the store's client; a wait for news is shorter.
    """

    def __init__(self, store: AccountStore, told: Mapping[str, Account] | None = None, *, timeout_sec: float = 2.0) -> None:
        self._store = store
        self._wait_ms = max(1, round(min(POLL_SEC, timeout_sec / 2) * 1000))
        self._told = dict(told or {})
        self._copy: dict[str, Account] = dict(self._told)
        self._last: str | None = None  # newest change that the copy holds; None: there is no copy of the state yet
        self._fresh_at: float | None = None
        self._emptied = False
        self._task: asyncio.Task[None] | None = None

    def get(self, key_id: str) -> Account | None:
        """The account of a key, or None."""
        return self._copy.get(key_id)

    def __len__(self) -> int:
        return len(self._copy)

    @property
    def ready(self) -> bool:
        """The state's accounts were read at least once."""
        return self._last is not None

    @property
    def age_sec(self) -> float | None:
        """Time since the copy was last known to be complete; None before the first time."""
        return None if self._fresh_at is None else time.monotonic() - self._fresh_at

    async def start(self) -> None:
        """Reads all accounts, then follows the changes until `stop`. Returns at once when the server is away."""
        try:
            await self._turn()
        except StateUnavailable as error:
            log.warning("%s; %d accounts are known without it", error, len(self))
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stops following; the copy stays readable."""
        if self._task:
            await end(self._task)
            self._task = None

    async def _follow(self) -> None:
        away = self._last is None
        while True:
            try:
                if away or not await self._store.wait(self._last or START, self._wait_ms):
                    await asyncio.sleep(POLL_SEC)
                await self._turn()
                if away:
                    log.info("the state server answers again; %d accounts are known", len(self))
                away = False
            except StateUnavailable as error:
                if not away:
                    log.warning("%s; the copy of %d accounts is used", error, len(self))
                away = True

    async def _turn(self) -> None:
        """Brings the copy up to date."""
        if self._last is None:
            await self._reload()
            await self._tell()
        entries, newest = await self._store.changes(self._last or START)
        if newest == START and self._last != START:
            # An emptied server is a loss, not an order to forget: with unknown keys denied it would lock everyone out.
            if not self._emptied:
                log.error("the accounts are gone from the state server; the copy of %d is used", len(self))
            self._emptied = True
            return
        self._emptied = False
        if entries and entries[0][1] == self._last and not any(key_id == "*" for _, _, key_id in entries):
            await self._apply([key_id for _, _, key_id in entries])
            self._last = entries[-1][0]
        elif entries or parse_id(newest) < parse_id(self._last or START):
            await self._reload()
        self._fresh_at = time.monotonic()

    async def _apply(self, changed: Iterable[str]) -> None:
        names = set(changed)
        found = await self._store.get_many(names)
        self._copy.update(found)
        for key_id in names - found.keys():
            self._copy.pop(key_id, None)

    async def _reload(self) -> None:
        """A new copy. The place in the changes is taken first: what changes meanwhile is read once more afterwards."""
        last = await self._store.newest_change()
        copy: dict[str, Account] = {}
        cursor = 0
        while True:
            cursor, found = await self._store.scan(cursor)
            copy.update(found)
            if not cursor:
                break
        self._told = {key_id: account for key_id, account in self._told.items() if copy.get(key_id) != account}
        copy.update(self._told)
        self._copy = copy
        self._last = last

    async def _tell(self) -> None:
        """Stores what the operator's file says otherwise than the state."""
        news = list(self._told.items())
        for first in range(0, len(news), TOLD_SLICE):
            await self._store.import_many(dict(news[first : first + TOLD_SLICE]))
        self._told = {}


def _read(key_id: str, data: bytes) -> Account | None:
    try:
        return _decode(data)
    except msgspec.DecodeError:
        log.error("the account of key %s does not decode; the key counts as unknown", key_id)
        return None


def _read_all(found: Iterable[tuple[str, bytes]]) -> dict[str, Account]:
    return {name: account for name, data in found if (account := _read(name, data)) is not None}
