"""The decision path's client of a Cluster: calls find their node, also while slots move and masters are lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.errors import ConfigError, StateUnavailable
from app.simulate.state_servers import LocalCluster
from app.state.cluster import ClusterLink, slot_of
from app.state.keys import PartitionKeys
from app.state.link import Link
from app.state.wire import pack

PARTITIONS = 16
NAMES = [PartitionKeys(number).tag + ":test" for number in range(PARTITIONS)]


@pytest.fixture
async def link(cluster: LocalCluster) -> AsyncIterator[ClusterLink]:
    """A connected link with a long timeout."""
    found = ClusterLink(cluster.url, 5000, PARTITIONS)
    assert await found.start()
    yield found
    await found.stop()


async def test_calls_reach_the_master_of_their_partition(link: ClusterLink, cluster: LocalCluster) -> None:
    """Every partition is written and read, and all three masters have some; a node that was not named is learnt."""
    await asyncio.gather(*(link.call(pack("SET", name, name), number) for number, name in enumerate(NAMES)))
    found = await asyncio.gather(*(link.call(pack("GET", name), number) for number, name in enumerate(NAMES)))
    assert found == [name.encode() for name in NAMES]
    assert {cluster.master_of(slot_of(number)).port for number in range(PARTITIONS)} == {
        node.port for node in cluster.masters
    }
    assert all(node.ask("DBSIZE") != "0" for node in cluster.masters)
    slots = [cluster.masters[0].ask("CLUSTER", "KEYSLOT", name) for name in NAMES]
    assert slots == [str(slot_of(number)) for number in range(PARTITIONS)]


async def test_cancelled_calls_never_shift_a_reply_to_another(link: ClusterLink) -> None:
    """Over calls to three nodes, cancelled at random moments, every reply that arrives is the caller's own."""
    dice = random.Random(3)
    answered = 0

    async def call(number: int) -> None:
        nonlocal answered
        future = link.call(pack("ECHO", f"n{number}"), number % PARTITIONS)
        if dice.random() < 0.5:
            asyncio.get_running_loop().call_later(dice.choice((0, 0.0002, 0.001)), future.cancel)
        try:
            assert await future == f"n{number}".encode()
            answered += 1
        except asyncio.CancelledError:
            return

    for start in range(0, 3000, 200):
        await asyncio.gather(*(call(number) for number in range(start, start + 200)))
    assert answered > 1500


async def test_a_call_follows_a_slot_that_moves(link: ClusterLink, cluster: LocalCluster) -> None:
    """While a slot is on its way (ASK) and after it has gone (MOVED), calls get their answers; nothing is done twice."""
    slot = slot_of(3)
    old = cluster.master_of(slot)
    new = next(node for node in cluster.masters if node is not old)
    ids = {node: node.ask("CLUSTER", "MYID") for node in cluster.masters}
    await link.call(pack("DEL", NAMES[3]), 3)
    new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[old])
    old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[new])
    assert [await link.call(pack("INCR", NAMES[3]), 3) for _ in range(3)] == [1, 2, 3]  # of a key that is not there: ASK
    for node in (new, *(node for node in cluster.masters if node is not new)):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[new])
    assert [await link.call(pack("INCR", NAMES[3]), 3) for _ in range(3)] == [4, 5, 6]
    for node in cluster.masters:
        node.ask("DEL", NAMES[3]) if node is new else None
    for node in (old, *(node for node in cluster.masters if node is not old)):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[old])
    assert await link.call(pack("INCR", NAMES[3]), 3) == 1


async def test_keys_that_are_half_moved_are_asked_for_again(link: ClusterLink, cluster: LocalCluster) -> None:
    """A command about a key here and one that has gone (TRYAGAIN) ends with an answer or an error, within its time."""
    slot = slot_of(5)
    old = cluster.master_of(slot)
    new = next(node for node in cluster.masters if node is not old)
    other = PartitionKeys(5).tag + ":other"
    old.ask("SET", NAMES[5], "1")
    new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", old.ask("CLUSTER", "MYID"))
    old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", new.ask("CLUSTER", "MYID"))
    calling = asyncio.ensure_future(link.call(pack("MGET", NAMES[5], other), 5))
    await asyncio.sleep(0.002)
    for node in (old, new):
        node.ask("CLUSTER", "SETSLOT", slot, "STABLE")
    async with asyncio.timeout(5):
        found = await calling
    assert found == [b"1", None] or str(found).startswith("TRYAGAIN")
    old.ask("DEL", NAMES[5])


async def test_a_lost_master_takes_only_its_partitions(hurt_cluster: LocalCluster, until: Any) -> None:
    """Other partitions answer all the time; the lost ones fail at once, and answer within 5 s, from the replica."""
    link = ClusterLink(hurt_cluster.url, 50, PARTITIONS)
    assert await link.start()
    victim = hurt_cluster.master_of(slot_of(0))
    lost = [number for number in range(PARTITIONS) if hurt_cluster.master_of(slot_of(number)) is victim]
    kept = [number for number in range(PARTITIONS) if number not in lost]
    for number in range(PARTITIONS):
        assert await link.call(pack("SET", NAMES[number], "x"), number) == b"OK"
    await until(hurt_cluster.replicated)
    victim.signal(signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    began = loop.time()
    waits = []
    late = 0
    while not link.whole or loop.time() - began < 1:
        for number in kept:
            try:
                assert await link.call(pack("GET", NAMES[number]), number) == b"x"
            except StateUnavailable:  # a busy machine
                late += 1
        before = loop.time()
        with contextlib.suppress(StateUnavailable):
            await link.call(pack("GET", NAMES[lost[0]]), lost[0])
        waits.append(loop.time() - before)
        await asyncio.sleep(0.02)
    assert loop.time() - began < 2.0 + 5.0  # the node timeout, and the recovery
    assert late < 20
    assert sorted(waits)[len(waits) // 2] < 0.01
    assert await link.call(pack("GET", NAMES[lost[0]]), lost[0]) == b"x"
    victim.signal(signal.SIGCONT)  # the old master comes back as a replica, and nobody minds
    await asyncio.sleep(0.3)
    assert await link.call(pack("GET", NAMES[lost[0]]), lost[0]) == b"x"
    await link.stop()


async def test_a_frozen_master_shows_though_nobody_calls(cluster: LocalCluster, until: Any) -> None:
    """Each node is asked while it is idle, so that the state is known to be incomplete; the others stay ready."""
    link = ClusterLink(cluster.url, 50, PARTITIONS)
    assert await link.start()
    victim = cluster.master_of(slot_of(0))
    victim.signal(signal.SIGSTOP)
    try:
        assert await until(lambda: not link.whole) < 5.0
        assert link.ready
    finally:
        victim.signal(signal.SIGCONT)
    await until(lambda: link.whole)
    await link.stop()


async def test_masters_change_places_again_and_again(hurt_cluster: LocalCluster, until: Any) -> None:
    """Over twenty failovers, under load, every answer is the caller's own and the link heals by itself each time."""
    link = ClusterLink(hurt_cluster.url, 500, PARTITIONS)
    assert await link.start()
    pairs = [list(pair) for pair in zip(hurt_cluster.masters, hurt_cluster.replicas, strict=True)]
    stop = False
    answered = 0

    async def ask() -> None:
        nonlocal answered
        number = 0
        while not stop:
            number += 1
            partition = number % PARTITIONS
            with contextlib.suppress(StateUnavailable):
                reply = await link.call(pack("SET", NAMES[partition], str(number), "GET"), partition)
                if not isinstance(reply, Exception):  # an error of the server is a value
                    assert reply is None or int(reply) % PARTITIONS == partition
                    answered += 1
            await asyncio.sleep(0.001)

    asking = asyncio.create_task(ask())
    for turn in range(20):
        pair = pairs[turn % 3]
        master, replica = pair
        await until(lambda: "master_link_status:up" in replica.ask("INFO", "replication"))  # noqa: B023
        replica.ask("CLUSTER", "FAILOVER")
        await until(lambda: "role:master" in replica.ask("INFO", "replication"))  # noqa: B023
        pair[:] = [replica, master]
        assert await until(lambda: link.whole) < 5.0
        for number in range(PARTITIONS):
            async with asyncio.timeout(5):
                while True:
                    with contextlib.suppress(StateUnavailable):
                        if await link.call(pack("EXISTS", NAMES[number]), number) in (0, 1):
                            break
                    await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
    stop = True
    await asking
    assert answered > 100
    await link.stop()


async def test_the_link_finds_a_cluster_that_was_away_at_the_start(cluster: LocalCluster, until: Any) -> None:
    """Starting says that nobody answers, soon; as soon as one named node does, the others are found."""
    for node in cluster.masters:
        node.signal(signal.SIGSTOP)
    link = ClusterLink(cluster.url, 50, PARTITIONS)
    assert not await link.start()
    with pytest.raises(StateUnavailable):
        link.call(pack("PING"), 0)
    for node in cluster.masters:
        node.signal(signal.SIGCONT)
    assert await until(lambda: link.whole) < 5
    await link.stop()


async def test_a_server_that_is_no_cluster_is_not_used_as_one(redis_db: str, server: Any) -> None:
    """The link stays away from it instead of guessing."""
    link = ClusterLink(f"{server.url},127.0.0.1:{server.port}".replace("/0,", ","), 50, PARTITIONS)
    assert not await link.start()
    await link.stop()


@pytest.mark.parametrize("url", ["redis://a:1/3,b:2", "unix:///s,unix:///t", "redis://a:1,u:p@b:2", "redis://a:1,b:2/1"])
def test_addresses_that_are_no_nodes_of_a_cluster(url: str) -> None:
    """A database, a socket, or credentials of a later node are refused when the settings are read."""
    with pytest.raises(ConfigError, match=r"^state\.redis_url must"):
        ClusterLink(url, 50, PARTITIONS)


def test_a_link_of_one_server_takes_no_list(tmp_path: Any) -> None:
    """A list of nodes is never taken for the name of one."""
    with pytest.raises(ConfigError):
        Link("redis://a:1,b:2", 50)
