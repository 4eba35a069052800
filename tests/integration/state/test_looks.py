"""Ballots and looks in state: what a commit leaves, what a look is written over, and that both end by themselves."""

from __future__ import annotations

import pytest
import redis.asyncio as aioredis

from app.settings import load
from app.state.factory import background_client
from app.state.keys import BALLOT_RING, PartitionKeys, looks
from app.state.looks import LookStore, read_looks
from app.state.ownership import Ownership
from app.state.partition import Batch, PartitionStore
from detectors.looks import DAY_US, Ballot, Dated, Looks, encode

Client = aioredis.Redis


async def _commit(store: PartitionStore, last: int, ballots: dict[tuple[int, str], Ballot], model: str = "m1") -> None:
    batch = Batch(await store.cursor(), f"{last}-0")
    batch.ballots = {name: encode(one) for name, one in ballots.items()}
    batch.ballot_model, batch.ballot_ttl_sec = model, 1000
    await store.commit(batch)


@pytest.fixture
async def stores(redis_db: str) -> tuple[Client, list[PartitionStore]]:
    """A client, and two leased partitions."""
    client = background_client(redis_db, load(environ={}))
    leases = [await Ownership(client, "w", 60_000).acquire(number) for number in range(2)]
    return client, [PartitionStore(client, lease) for lease in leases if lease is not None]


async def test_a_look_has_the_newest_ballot_of_every_key(stores: tuple[Client, list[PartitionStore]]) -> None:
    """Of all partitions, of its own interval and model; a later commit replaces a key's earlier ballot."""
    client, (first, second) = stores
    await _commit(first, 1, {(7, "a"): Ballot("o", 0.5), (7, "b"): Ballot("o", 0.4)})
    await _commit(first, 2, {(7, "a"): Ballot("o", 0.1), (8, "a"): Ballot("o", 0.9)})
    await _commit(second, 1, {(7, "c"): Ballot("p", 0.2)})
    store = LookStore(client, 2, "m1")
    assert (await store.progress()).numbers == (7, 8)
    assert await store.ballots(7) == {"a": Ballot("o", 0.1), "b": Ballot("o", 0.4), "c": Ballot("p", 0.2)}
    assert await LookStore(client, 2, "m2").ballots(7) == {}
    assert await store.ballots(7 + BALLOT_RING) == {}
    assert 0 < await client.ttl(PartitionKeys(0).ballots(7)) <= 1000
    await client.aclose()


async def test_a_name_holds_one_interval_after_the_other(stores: tuple[Client, list[PartitionStore]]) -> None:
    """A newer interval, or another model, takes the place; what comes late for an older one is left out."""
    client, (first, _) = stores
    store = LookStore(client, 2, "m1")
    await _commit(first, 1, {(7, "a"): Ballot("o", 0.5)})
    await _commit(first, 2, {(7 + BALLOT_RING, "b"): Ballot("o", 0.5)})
    await _commit(first, 3, {(7, "c"): Ballot("o", 0.5)})
    assert await store.ballots(7) == {}
    assert list(await store.ballots(7 + BALLOT_RING)) == ["b"]
    await _commit(first, 4, {(7 + BALLOT_RING, "d"): Ballot("o", 0.5)}, "m2")
    assert await store.ballots(7 + BALLOT_RING) == {}
    assert list(await LookStore(client, 2, "m2").ballots(7 + BALLOT_RING)) == ["d"]
    await client.aclose()


async def test_two_workers_cannot_both_write_the_next_look(stores: tuple[Client, list[PartitionStore]]) -> None:
    """Who comes second with a look made from the same ones writes nothing; one worker at a time has the lease."""
    client, _ = stores
    store = LookStore(client, 2, "m1")
    assert await store.read() == b""
    one, two = (Looks(past=(Dated(number, DAY_US),)) for number in (1, 2))
    assert await store.write(b"", one)
    assert not await store.write(b"", two)
    assert read_looks(await store.read(), DAY_US, 0.05) == one
    assert await store.write(await store.read(), two)
    assert read_looks(await store.read(), DAY_US, 0.05) == two
    assert await client.ttl(looks("m1")) > 0
    assert await store.lease("w1", 60_000)
    assert await store.lease("w1", 60_000)
    assert not await store.lease("w2", 60_000)
    await client.aclose()
