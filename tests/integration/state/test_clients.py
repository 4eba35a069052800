"""A client against a server that is slow, absent or busy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.errors import StateUnavailable
from app.settings import load
from app.state.calls import reachable
from app.state.factory import MAX_CONNECTIONS, background_client


async def test_a_silent_server_costs_a_bounded_time(data_dir: Path) -> None:
    """A server that accepts and never answers is given up after the few attempts that are allowed."""
    calls = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_unix_server(swallow, data_dir / "deaf.sock")
    settings = load(environ={"STILLWATCH_STATE__BACKGROUND_TIMEOUT_MS": "50"})
    client = background_client(f"unix://{data_dir}/deaf.sock", settings)
    async with asyncio.timeout(30):
        with pytest.raises(StateUnavailable, match=r"^greeting: the state server did not answer"), reachable("greeting"):
            await client.ping()
    assert calls >= 2
    await client.aclose()
    server.close()
    await server.wait_closed()


async def test_an_absent_server_is_named_by_what_was_wanted(data_dir: Path) -> None:
    """Without a server the sentence says what was wanted and quotes no address."""
    client = background_client(f"unix://{data_dir}/none.sock?password=hunter2", load(environ={}))
    with pytest.raises(StateUnavailable) as caught, reachable("accounts"):
        await client.get("x")
    assert str(caught.value).startswith("accounts: ")
    assert "hunter2" not in str(caught.value)
    assert "none.sock" not in str(caught.value)
    await client.aclose()


async def test_a_burst_waits_for_connections(redis_db: str) -> None:
    """More calls at once than there are connections all get their own answers."""
    client = background_client(redis_db, load(environ={}))
    names = [str(number) for number in range(MAX_CONNECTIONS * 10)]
    assert await asyncio.gather(*(client.echo(name) for name in names)) == [name.encode() for name in names]
    assert len(await client.client_list()) <= MAX_CONNECTIONS
    await client.aclose()
