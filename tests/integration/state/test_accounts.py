"""Accounts in state, and the copies of them that gateways hold."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from app.errors import BadInput
from app.settings import StateSettings, load
from app.state import accounts as module
from app.state.accounts import Account, AccountDirectory, AccountStore
from app.state.factory import background_client
from app.state.keys import ACCOUNT_CHANGES, ACCOUNTS
from app.state.server import StateServer

FULL = Account("acme", "team", 1_790_000_000_000_000, "f" * 32, ("evaluation", "synthetic_data"), "DE")


def key(number: int) -> str:
    """The id of the `number`-th key."""
    return f"{number:032x}"


@pytest.fixture
def store(client: Any) -> AccountStore:
    """The accounts of an empty state."""
    return AccountStore(client)


@asynccontextmanager
async def following(store: AccountStore, told: dict[str, Account] | None = None) -> AsyncIterator[AccountDirectory]:
    """A directory that follows the changes until the block is left."""
    directory = AccountDirectory(store, told)
    await directory.start()
    try:
        yield directory
    finally:
        await directory.stop()


async def until(holds: Callable[[], bool], timeout_sec: float = 10.0) -> None:
    """Returns when it holds."""
    async with asyncio.timeout(timeout_sec):
        while not holds():  # noqa: ASYNC110 - a task of the directory makes it hold
            await asyncio.sleep(0.01)


async def test_an_account_comes_back_as_it_was_put(store: AccountStore) -> None:
    """Every field survives, a second put replaces the whole, and a deleted account is gone."""
    assert await store.get(key(1)) is None
    assert await store.put(key(1), FULL) is True
    assert await store.get(key(1)) == FULL
    assert await store.put(key(1), Account(plan="free")) is False
    assert await store.get(key(1)) == Account(plan="free")
    assert await store.count() == 1
    assert await store.delete(key(1)) is True
    assert await store.delete(key(1)) is False
    assert await store.get(key(1)) is None


async def test_an_import_is_all_or_nothing(store: AccountStore, client: Any) -> None:
    """One bad account among many, and none is stored and no change is told; without it all are."""
    good = {key(number): Account(f"org{number % 7}") for number in range(5000)}
    with pytest.raises(BadInput, match=r"^org_id may have letters"):
        await store.import_many({**good, key(9999): Account("{acme}")})
    assert await store.count() == 0
    assert await client.exists(ACCOUNT_CHANGES) == 0
    assert await store.import_many(good) == 5000
    assert await store.import_many(good) == 0
    found: dict[str, Account] = {}
    cursor = 0
    while True:
        cursor, page = await store.scan(cursor)
        found.update(page)
        if not cursor:
            break
    assert found == good


@pytest.mark.parametrize(
    ("key_id", "account", "rule"),
    [
        ("sk-secret", Account(), "key_id must be 32 hex digits"),
        (key(1).upper()[:-1] + "F", Account(), "key_id must be 32 hex digits"),
        (key(1), Account(org_id="a b"), "org_id may have"),
        (key(1), Account(org_id="a" * 129), "org_id may have"),
        (key(1), Account(plan="plan\n"), "plan may have"),
        (key(1), Account(payment_id="4111 1111"), "payment_id may have"),
        (key(1), Account(authorised=("x{",)), "authorised may name these uses only: evaluation, synthetic_data$"),
        (key(1), Account(authorised=("evaluation", "evals")), "authorised may name these uses only"),
        (key(1), Account(country="Germany"), "country must be"),
    ],
)
async def test_bad_accounts_are_refused(store: AccountStore, key_id: str, account: Account, rule: str) -> None:
    """Each rule is named in the refusal, which quotes no value."""
    with pytest.raises(BadInput, match=f"^{rule}") as caught:
        await store.put(key_id, account)
    assert "secret" not in str(caught.value)
    assert await store.count() == 0


async def test_an_import_is_bounded(store: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """More accounts than one import may have are refused whole, because the server stands still for each."""
    monkeypatch.setattr(module, "MAX_IMPORT", 10)
    with pytest.raises(BadInput, match="one import may have 10 accounts"):
        await store.import_many({key(number): FULL for number in range(11)})
    assert await store.count() == 0


async def test_a_change_reaches_another_directory(store: AccountStore, redis_db: str) -> None:
    """What one process puts or deletes, the directory of another knows after its next look, twice a second."""
    assert module.POLL_SEC <= 0.5
    other = background_client(redis_db, load(environ={}))
    async with following(AccountStore(other)) as directory:
        assert directory.ready
        await store.put(key(1), FULL)
        await until(lambda: directory.get(key(1)) == FULL, 5.0)
        await store.put(key(1), Account("other"))
        await until(lambda: directory.get(key(1)) == Account("other"), 5.0)
        await store.delete(key(1))
        await until(lambda: directory.get(key(1)) is None, 5.0)
        await store.import_many({key(number): FULL for number in range(module.MAX_NAMED + 1)})
        await until(lambda: len(directory) == module.MAX_NAMED + 1, 5.0)
        assert directory.age_sec is not None
        assert directory.age_sec < 5
    await other.aclose()


async def test_a_directory_that_fell_behind_reads_everything(
    store: AccountStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When changes were trimmed before a directory saw them, it notices the gap and has the right copy again."""
    monkeypatch.setattr(module, "POLL_SEC", 0.05)
    await store.import_many({key(number): FULL for number in range(50)})
    async with following(store) as directory:
        await directory.stop()
        for number in range(50):
            await store.put(key(number), Account("later"))
        await store.delete(key(0))
        await client.xtrim(ACCOUNT_CHANGES, maxlen=1, approximate=False)
        await directory.start()
        await until(lambda: directory.get(key(0)) is None)
        assert {directory.get(key(number)) for number in range(1, 50)} == {Account("later")}


async def test_any_history_ends_in_the_same_copy(store: AccountStore, client: Any) -> None:
    """After any mix of puts, deletes, imports and lost changes the next look makes the copy equal to the state."""
    dice = random.Random(11)
    directory = AccountDirectory(store)
    await directory.start()
    await directory.stop()
    for _ in range(60):
        for _ in range(dice.randrange(5)):
            chosen = {key(dice.randrange(30)): Account(f"org{dice.randrange(9)}") for _ in range(dice.randrange(1, 4))}
            if dice.random() < 0.4:
                await store.delete(next(iter(chosen)))
            else:
                await store.import_many(chosen)
        if dice.random() < 0.3:
            await client.xtrim(ACCOUNT_CHANGES, maxlen=dice.randrange(1, 3), approximate=False)
        await directory._turn()
        _, stored = await store.scan(count=1000)
        assert {name: directory.get(name) for name in map(key, range(30)) if directory.get(name)} == stored
        assert len(directory) == len(stored)


async def test_the_stream_of_changes_is_bounded(store: AccountStore, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many changes there are, the stream keeps about its maximum, and each names the one before it."""
    monkeypatch.setattr(module, "MAX_CHANGES", 200)
    for _ in range(4):
        await store.import_many({key(number): FULL for number in range(200)})
    entries = await client.xrange(ACCOUNT_CHANGES)
    assert len(entries) <= 400
    for (before, _), (_, fields) in pairwise(entries):
        assert fields[b"p"] == before


async def test_the_copy_outlives_the_server(own: StateSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server is away accounts are known, the age grows, and changes made after its return are seen."""
    monkeypatch.setattr(module, "POLL_SEC", 0.05)
    monkeypatch.setattr("app.state.server.WATCH_SEC", 5.0)
    async with StateServer(own) as server:
        client = background_client(server.url, load(environ={}))
        store = AccountStore(client)
        await store.put(key(1), FULL)
        async with following(store) as directory:
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: (directory.age_sec or 0) > 0.3)
            assert directory.get(key(1)) == FULL
            assert directory.ready
            await until(lambda: (directory.age_sec or 9) < 0.2, 20)
            await store.put(key(2), FULL)
            await until(lambda: directory.get(key(2)) == FULL)
        await client.aclose()


async def test_an_emptied_server_is_a_loss_not_an_order(
    store: AccountStore, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the state has lost everything, the copy stays in use and one line says so; new accounts replace it."""
    monkeypatch.setattr(module, "POLL_SEC", 0.02)
    caplog.set_level(logging.ERROR)
    await store.put(key(1), FULL)
    async with following(store) as directory:
        await client.flushdb()
        await until(lambda: "gone from the state server" in caplog.text)
        await asyncio.sleep(0.1)
        assert directory.get(key(1)) == FULL
        assert len(caplog.records) == 1
        await store.put(key(2), FULL)
        await until(lambda: directory.get(key(2)) == FULL)
        assert directory.get(key(1)) is None


async def test_a_directory_starts_without_a_server(data_dir: Any) -> None:
    """Without a server it is not ready, knows what the operator's file says, and starting it raises nothing."""
    client = background_client(f"unix://{data_dir}/none.sock", load(environ={}))
    async with following(AccountStore(client), {key(1): FULL}) as directory:
        assert not directory.ready
        assert directory.age_sec is None
        assert directory.get(key(1)) == FULL
        assert directory.get(key(2)) is None
    await client.aclose()


async def test_the_operators_file_is_stored_once(store: AccountStore, client: Any) -> None:
    """What a file says goes to the state, wins over what was there, and a second start with it changes nothing."""
    await store.import_many({key(1): Account("old"), key(2): Account("kept")})
    told = {key(1): FULL, key(3): FULL}
    async with following(store, told) as directory:
        assert {name: directory.get(name) for name in map(key, (1, 2, 3))} == {
            key(1): FULL,
            key(2): Account("kept"),
            key(3): FULL,
        }
    assert await store.get_many([key(1), key(2), key(3)]) == {key(1): FULL, key(2): Account("kept"), key(3): FULL}
    length = await client.xlen(ACCOUNT_CHANGES)
    async with following(store, told) as directory:
        assert directory.get(key(3)) == FULL
    assert await client.xlen(ACCOUNT_CHANGES) == length


async def test_records_of_other_versions(store: AccountStore, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A field that a later version added is skipped; one that does not decode makes its key a stranger, with a line."""
    await client.hset(ACCOUNTS, key(1), msgspec.msgpack.encode({"org_id": "acme", "colour": "blue"}))
    await client.hset(ACCOUNTS, key(2), b"\xc1")
    async with following(store) as directory:
        assert directory.get(key(1)) == Account("acme")
        assert directory.get(key(2)) is None
    assert "does not decode" in caplog.text
