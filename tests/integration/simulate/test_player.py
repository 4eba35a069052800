"""Simulated clients over real HTTP: what they count is what the server did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from app.errors import UpstreamUnavailable
from app.simulate.faults import Faults
from app.simulate.model_api import ModelApi, ModelApiConfig
from app.simulate.rig import LoopThread
from app.simulate.traffic.http import Http
from app.simulate.traffic.player import RETRIES, Player, Tally
from app.simulate.traffic.population import ATTACKS, HONEST, populate

Serve = Callable[[Faults], tuple[str, ModelApi]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a model API that misbehaves as told; its address and itself."""
    thread = LoopThread()

    def serve(faults: Faults) -> tuple[str, ModelApi]:
        api = ModelApi(ModelApiConfig(faults=faults, remember=True))
        return thread.serve(api), api

    yield serve
    thread.stop()


async def _play(url: str, seconds: float) -> dict[str, Tally]:
    player = Player(url, populate([(kind, 1) for kind in (*HONEST, *ATTACKS)], 1))
    playing = asyncio.create_task(player.run())
    await asyncio.sleep(seconds)
    player.stop()
    await playing
    return player.tallies


async def test_every_client_talks_and_is_counted(serve: Serve) -> None:
    """All kinds get answers at the same time, streamed ones too, and the sum of the counts is what the server served."""
    url, api = serve(Faults())
    tallies = await _play(url, 3.0)
    assert all(tally.answered for tally in tallies.values())
    assert all(tally.answered == tally.sent for tally in tallies.values())
    assert sum(tally.sent for tally in tallies.values()) == api.served
    assert all(call.headers["x-forwarded-for"].startswith("198.1") for call in api.calls)


async def test_a_refused_client_tries_again_and_says_so(serve: Serve) -> None:
    """After a 429 a client waits as long as it was told, and its library numbers the attempts."""
    url, api = serve(Faults(status=429, retry_after="0.1"))
    tallies = await _play(url, 3.0)
    assert all(tally.limited == tally.sent > 0 for tally in tallies.values())
    counts = {int(call.headers.get("x-stainless-retry-count", "0")) for call in api.calls}
    assert counts == set(range(RETRIES + 1))


async def test_other_errors_count_as_failures(serve: Serve) -> None:
    """A server that fails, or breaks off its answers, stops no client."""
    for faults in (Faults(status=500), Faults(cut_after=0)):
        url, _ = serve(faults)
        tallies = await _play(url, 2.0)
        assert all(tally.failed == tally.sent > 0 for tally in tallies.values())


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(answer: Answer) -> AsyncIterator[Http]:
    """A client of a server that answers each connection so."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await answer(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    http = Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_sec=1.0)
    try:
        yield http
    finally:
        await http.close()
        server.close()
        await server.wait_closed()
        await asyncio.wait(running)


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    """A server may close an idle connection at any moment; the request that meets it is sent again on a new one."""
    served = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        served += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        await reader.read(1)  # the next request is not answered

    async with _server(once) as http:
        for _ in range(3):
            assert (await http.request("GET", "/", {})).body == b"ok"
    assert served == 3


async def test_a_large_answer_arrives_whole() -> None:
    """An answer beyond the pool's high-water mark is read to its end."""
    body = b"x" * 3_000_000

    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async with _server(large) as http:
        assert (await http.request("GET", "/", {})).body == body


async def test_a_server_that_is_away_or_breaks_off_is_unavailable() -> None:
    """Both ways of not answering are the same error."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await writer.drain()

    async with _server(half) as http:
        with pytest.raises(UpstreamUnavailable, match="broke off"):
            await http.request("GET", "/", {})
    with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
        await Http("http://127.0.0.1:9").request("GET", "/", {})
