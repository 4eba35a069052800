"""The pipelined connection: replies reach who asked, whatever happens to the callers and to the server."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis

from app.errors import StateUnavailable
from app.state.link import IDLE_SEC, MAX_WAITING, Link
from app.state.wire import pack


@pytest.fixture
async def link(redis_db: str) -> AsyncIterator[Link]:
    """A connected link with a long timeout."""
    found = Link(redis_db, 5000)
    assert await found.start()
    yield found
    await found.stop()


async def test_cancelled_calls_never_shift_a_reply_to_another(link: Link) -> None:
    """Over thousands of calls, cancelled at random moments, every reply that arrives is the caller's own."""
    dice = random.Random(7)
    answered = cancelled = 0

    async def call(number: int) -> None:
        nonlocal answered, cancelled
        future = link.call(pack("ECHO", f"n{number}"))
        try:
            if dice.random() < 0.5:
                async with asyncio.timeout(dice.choice((0, 0.0001, 0.0005, 0.002))):
                    reply = await future
            else:
                reply = await future
        except TimeoutError:
            cancelled += 1
            return
        assert reply == f"n{number}".encode()
        answered += 1

    for start in range(0, 6000, 200):
        await asyncio.gather(*(call(number) for number in range(start, start + 200)))
    assert answered + cancelled == 6000
    assert answered > 2000
    assert cancelled > 500


async def test_calls_that_timed_out_never_shift_a_reply_to_another(own_server: Any) -> None:
    """A frozen server answers late; those replies are thrown away, and later callers get their own."""
    link = Link(own_server.url, 30)
    assert await link.start()
    for round_ in range(4):
        own_server.signal(signal.SIGSTOP)
        lost = [asyncio.ensure_future(link.call(pack("ECHO", f"lost-{round_}-{number}"))) for number in range(50)]
        assert all(isinstance(found, StateUnavailable) for found in await asyncio.gather(*lost, return_exceptions=True))
        own_server.signal(signal.SIGCONT)
        async with asyncio.timeout(10):
            while not link.ready:  # noqa: ASYNC110 - the link's own task sets it
                await asyncio.sleep(0.01)
        kept = 0
        for number in range(100):
            try:
                assert await link.call(pack("ECHO", f"{round_}-{number}")) == f"{round_}-{number}".encode()
                kept += 1
            except StateUnavailable:  # a busy machine
                await asyncio.sleep(0.05)
        assert kept > 50
    await link.stop()


async def test_a_frozen_server_costs_a_call_its_timeout_and_then_nothing(own_server: Any) -> None:
    """The first calls wait for the timeout; once the circuit is open a call fails at once."""
    link = Link(own_server.url, 50)
    assert await link.start()
    own_server.signal(signal.SIGSTOP)
    calls = [link.call(pack("PING")) for _ in range(10)]
    assert all(isinstance(found, StateUnavailable) for found in await asyncio.gather(*calls, return_exceptions=True))
    assert not link.ready
    with pytest.raises(StateUnavailable):
        link.call(pack("PING"))
    await link.stop()


async def test_the_link_comes_back_after_the_server_was_killed(own_server: Any) -> None:
    """Calls on their way fail when the connection breaks; after the restart the link answers by itself."""
    link = Link(own_server.url, 200)
    assert await link.start()
    own_server.signal(signal.SIGSTOP)
    waiting = link.call(pack("PING"))
    await asyncio.sleep(0.01)
    own_server.signal(signal.SIGKILL)
    with pytest.raises(StateUnavailable):
        await waiting
    with pytest.raises(StateUnavailable):
        await asyncio.gather(link.call(pack("PING")))
    own_server.restart()
    async with asyncio.timeout(10):
        while not link.ready:  # noqa: ASYNC110 - the link's own task sets it
            await asyncio.sleep(0.01)
    assert await link.call(pack("PING")) == b"PONG"
    await link.stop()


async def test_calls_in_flight_are_bounded(link: Link) -> None:
    """Beyond the bound a call is refused and nothing is sent, instead of filling the memory."""
    calls = [link.call(pack("ECHO", str(number))) for number in range(MAX_WAITING)]
    with pytest.raises(StateUnavailable):
        link.call(pack("PING"))
    replies = await asyncio.gather(*calls)
    assert replies[-1] == str(MAX_WAITING - 1).encode()
    assert await link.call(pack("PING")) == b"PONG"


async def test_a_server_that_is_away_at_the_start_is_found_later(own_server: Any) -> None:
    """Starting reports that nobody answers, soon, and connects as soon as somebody does."""
    own_server.signal(signal.SIGKILL)
    link = Link(own_server.url, 50)
    before = time.monotonic()
    assert not await link.start()
    assert time.monotonic() - before < 5
    own_server.restart()
    async with asyncio.timeout(10):
        while not link.ready:  # noqa: ASYNC110 - the link's own task sets it
            await asyncio.sleep(0.01)
    await link.stop()


async def test_password_and_database_of_the_address_are_used(own_server: Any) -> None:
    """With them the link works in that database; with a wrong password it stays away instead of asking without one."""
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("requirepass", "s3cret")
    address = own_server.url.replace("?db=0", "?db=3&password=")
    link = Link(address + "s3cret", 1000)
    assert await link.start()
    assert await link.call(pack("SET", "here", "1")) == b"OK"
    await link.stop()
    with redis.Redis.from_url(address + "s3cret") as client:
        assert client.keys() == [b"here"]
    wrong = Link(address + "wrong", 1000)
    assert not await wrong.start()
    assert not wrong.ready
    await wrong.stop()


async def test_a_stall_of_our_own_is_not_taken_for_one_of_the_server(redis_db: str) -> None:
    """Replies that arrived while this process was busy are read, even when their time seems to be over."""
    link = Link(redis_db, 50)
    assert await link.start()
    for number in range(5):
        call = link.call(pack("ECHO", str(number)))
        await asyncio.sleep(0)
        time.sleep(0.08)  # noqa: ASYNC251 - the stall
        assert await call == str(number).encode()
    assert link.ready
    await link.stop()


async def test_a_loss_shows_though_nobody_calls(own_server: Any) -> None:
    """The link asks by itself while it is idle, so that a frozen server is known within seconds, and so is its return."""
    link = Link(own_server.url, 50)
    assert await link.start()
    own_server.signal(signal.SIGSTOP)
    await _until(lambda: not link.ready)
    own_server.signal(signal.SIGCONT)
    await _until(lambda: link.ready)
    await link.stop()


async def test_a_busy_link_asks_nothing_by_itself(own_server: Any) -> None:
    """Calls tell enough: the server is sent no PING beside them, and some while there are none."""
    link = Link(own_server.url, 1000)
    assert await link.start()

    async def pings() -> int:
        told = await link.call(pack("INFO", "commandstats"))
        return int(told.partition(b"cmdstat_ping:calls=")[2].partition(b",")[0])

    before = await pings()
    for _ in range(12):
        await asyncio.sleep(0.1)
        assert await link.call(pack("GET", "x")) is None
    assert await pings() <= before + 1  # one, where the machine stood still for a while
    before = await pings()
    await asyncio.sleep(4 * IDLE_SEC)
    assert await pings() > before
    await link.stop()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the link's own task sets it
            await asyncio.sleep(0.01)
