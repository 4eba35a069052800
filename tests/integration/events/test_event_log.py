"""Every event handed over is in the stream once, on disk, or counted as lost."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path
from typing import Any

import redis

from app.state.keys import PartitionKeys

PARTITIONS = 4


def hand_over(log: Any, first: int, count: int) -> dict[int, list[bytes]]:
    """Appends numbered events; returns them by partition."""
    given: dict[int, list[bytes]] = {number: [] for number in range(PARTITIONS)}
    for number in range(first, first + count):
        event = f"event-{number:06d}".encode()
        log.append(event, number % PARTITIONS)
        given[number % PARTITIONS].append(event)
    return given


def total(found: dict[int, list[bytes]]) -> list[bytes]:
    """All events, sorted."""
    return sorted(event for events in found.values() for event in events)


async def test_events_arrive_in_order_and_are_counted(make_log: Any, redis_db: str, read: Any, books: Any) -> None:
    """A thousand events of four partitions are appended in the order they were given."""
    log = await make_log(redis_db)
    given = hand_over(log, 0, 1000)
    await log.flush()
    assert read(redis_db) == given
    assert books.since() == {"appended": 1000}


async def test_events_wait_on_disk_while_the_server_is_gone(
    make_log: Any, own_server: Any, read: Any, books: Any, until: Any, tmp_path: Path
) -> None:
    """What is handed over between a kill and the restart is spooled, and appended in order when the server is back."""
    log = await make_log(own_server.url)
    given = hand_over(log, 0, 100)
    await log.flush()
    own_server.signal(signal.SIGKILL)
    while_away = hand_over(log, 100, 400)
    await log.flush()
    assert books.since()["spooled"] >= 400
    own_server.restart()
    await until(lambda: books.since().get("appended") == 500)
    found = read(own_server.url)
    assert found == {number: given[number] + while_away[number] for number in range(PARTITIONS)}
    await until(lambda: not list((tmp_path / "spool").iterdir()))
    assert set(books.since()) == {"appended", "spooled"}


async def test_an_append_whose_answer_was_lost_is_made_once(
    make_log: Any, own_server: Any, read: Any, books: Any, until: Any
) -> None:
    """A frozen server does late what nobody waits for any more; the copies in the spool change nothing then."""
    log = await make_log(own_server.url)
    hand_over(log, 0, 10)
    await log.flush()
    own_server.signal(signal.SIGSTOP)
    hand_over(log, 10, 40)
    await log.flush()  # returns when the batches are in the spool
    assert books.since()["spooled"] == 40
    own_server.signal(signal.SIGCONT)
    await until(lambda: books.since().get("appended") == 50)
    assert total(read(own_server.url)) == [f"event-{number:06d}".encode() for number in range(50)]


async def test_random_kills_and_freezes_lose_and_repeat_nothing(
    make_log: Any, own_server: Any, read: Any, books: Any, until: Any
) -> None:
    """Events handed over at any moment of a bad day are in the streams exactly once at its end."""
    log = await make_log(own_server.url, background_timeout_ms=60)
    dice = random.Random(3)
    count = 0
    for _ in range(8):
        for _ in range(10):
            hand_over(log, count, 10)
            count += 10
            await asyncio.sleep(dice.random() * 0.01)
        if dice.random() < 0.5:
            own_server.signal(signal.SIGKILL)
            hand_over(log, count, 20)
            await asyncio.sleep(dice.random() * 0.2)
            own_server.restart()
        else:
            own_server.signal(signal.SIGSTOP)
            hand_over(log, count, 20)
            await asyncio.sleep(dice.random() * 0.2)
            own_server.signal(signal.SIGCONT)
        count += 20
    await until(lambda: books.since().get("appended") == count, 30)
    await log.flush()
    assert total(read(own_server.url)) == [f"event-{number:06d}".encode() for number in range(count)]
    assert set(books.since()) <= {"appended", "spooled"}


async def test_a_full_stream_is_not_trimmed(make_log: Any, redis_db: str, read: Any, books: Any, until: Any) -> None:
    """A partition at its bound sends events to the spool; others and all settlements pass until a worker catches up."""
    log = await make_log(redis_db, stream_max_entries=1000)
    hand_over(log, 0, PARTITIONS * 1000)
    await log.flush()
    name = PartitionKeys(1).stream
    with redis.Redis.from_url(redis_db) as client:
        client.zadd("sw:{p0001}:ck:k", {"r1": 1, "r2": 2})
        client.expire("sw:{p0001}:ck:k", 100)
        client.xtrim(PartitionKeys(2).stream, maxlen=0)
        log.append(b"late", 1, [(b"sw:{p0001}:ck:k", 0, ["r1"])])
        log.append(b"other", 2)
        await log.flush()
        assert client.xlen(name) == 1000
        assert client.zrange("sw:{p0001}:ck:k", 0, -1) == [b"r2"]
        assert read(redis_db)[2] == [b"other"]
        assert books.since() == {"appended": PARTITIONS * 1000 + 1, "spooled": 1}
        await asyncio.sleep(0.5)
        assert client.xlen(name) == 1000
        client.xtrim(name, maxlen=10)
    await until(lambda: read(redis_db)[1][-1] == b"late")
    assert books.since() == {"appended": PARTITIONS * 1000 + 2, "spooled": 1}


async def test_a_full_partition_holds_up_no_other_in_the_spool(
    make_log: Any, own_server: Any, read: Any, until: Any
) -> None:
    """Spooled events of a partition whose stream is full wait, in order, while those behind them are appended."""
    log = await make_log(own_server.url, stream_max_entries=1000)
    for number in range(1000):
        log.append(b"old-%d" % number, 0)
    await log.flush()
    own_server.signal(signal.SIGKILL)
    for number in range(50):
        log.append(b"a-%02d" % number, 0)
        log.append(b"b-%02d" % number, 1)
        if number % 10 == 9:
            await log.flush()
    own_server.restart()
    await until(lambda: len(read(own_server.url)[1]) == 50)
    assert len(read(own_server.url)[0]) == 1000
    with redis.Redis.from_url(own_server.url) as client:
        client.xtrim(PartitionKeys(0).stream, maxlen=0)
    await until(lambda: len(read(own_server.url)[0]) == 50)
    assert read(own_server.url)[0] == [b"a-%02d" % number for number in range(50)]
    assert read(own_server.url)[1] == [b"b-%02d" % number for number in range(50)]


async def test_what_the_spool_cannot_take_is_counted(make_log: Any, own_server: Any, books: Any) -> None:
    """Beyond the bound of the disk events are lost, and exactly those are counted."""
    log = await make_log(own_server.url, spool_max_mb=1)
    own_server.signal(signal.SIGKILL)
    for _ in range(30):
        for _ in range(5):
            log.append(b"x" * 20_000, 0)
        await log.flush()
    found = books.since()
    assert found["spooled"] + found["spool_full"] == 150
    assert 45 <= found["spooled"] <= 52


async def test_stopping_delivers_what_waits(make_log: Any, redis_db: str, read: Any, books: Any) -> None:
    """Events handed over just before the end are appended by it."""
    log = await make_log(redis_db)
    given = hand_over(log, 0, 300)
    await log.stop()
    assert read(redis_db) == given
    assert books.since() == {"appended": 300}


async def test_stopping_without_a_server_leaves_the_events_to_the_next_process(
    make_log: Any, own_server: Any, read: Any, books: Any, until: Any
) -> None:
    """A gateway that stops during an outage spools within its time limit; the next one appends what it finds."""
    log = await make_log(own_server.url)
    own_server.signal(signal.SIGSTOP)
    given = hand_over(log, 0, 200)
    async with asyncio.timeout(3):
        await log.stop(0.1)
    assert books.since() == {"spooled": 200}
    own_server.signal(signal.SIGCONT)
    await make_log(own_server.url)
    await until(lambda: books.since().get("appended") == 200)
    assert total(read(own_server.url)) == total(given)


async def test_settlements_in_the_spool_are_made_up_for(
    make_log: Any, own_server: Any, read: Any, books: Any, until: Any
) -> None:
    """A slot that could not be freed while state was away is freed when it is back."""
    with redis.Redis.from_url(own_server.url) as client:
        client.zadd("sw:{p0001}:ck:k", {"r1": 1, "r2": 2})
        client.expire("sw:{p0001}:ck:k", 100)
    log = await make_log(own_server.url)
    own_server.signal(signal.SIGKILL)
    log.append(b"event", 1, [(b"sw:{p0001}:ck:k", 0, ["r1"])])
    await log.flush()
    own_server.restart()
    await until(lambda: books.since().get("appended") == 1)
    with redis.Redis.from_url(own_server.url) as client:
        assert client.zrange("sw:{p0001}:ck:k", 0, -1) == [b"r2"]


async def test_a_server_out_of_memory_sends_events_to_the_spool(
    make_log: Any, own_server: Any, read: Any, books: Any, until: Any
) -> None:
    """A refusal that passes loses nothing: the events follow when there is room again."""
    log = await make_log(own_server.url)
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", "1")
        given = hand_over(log, 0, 40)
        await log.flush()
        assert books.since() == {"spooled": 40}
        client.config_set("maxmemory", "0")
    await until(lambda: books.since().get("appended") == 40)
    assert total(read(own_server.url)) == total(given)
