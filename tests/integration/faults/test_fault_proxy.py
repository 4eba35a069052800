"""The fault proxy does to a connection what it says, and nothing when it is healed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from app.simulate.fault_proxy import FaultProxy, Flow


@pytest.fixture
async def echo() -> AsyncIterator[FaultProxy]:
    """A proxy in front of a server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy = FaultProxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    yield proxy
    await proxy.stop()
    server.close()


async def _open(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def _says(reader: asyncio.StreamReader, size: int, seconds: float = 5.0) -> bytes:
    async with asyncio.timeout(seconds):
        return await reader.readexactly(size)


async def test_without_a_fault_bytes_pass_as_they_are(echo: FaultProxy) -> None:
    """A megabyte comes back whole and in order, and the end of one side is the end of the other."""
    reader, writer = await _open(echo)
    data = bytes(range(256)) * 4096
    writer.write(data)
    assert await _says(reader, len(data)) == data
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_a_delay_costs_time_and_no_throughput(echo: FaultProxy) -> None:
    """Ten pieces sent together are all late by the delay, and not each by one more."""
    reader, writer = await _open(echo)
    echo.to_client = Flow(delay_sec=0.2)
    before = time.monotonic()
    for number in range(10):
        writer.write(b"%d" % number)
        await asyncio.sleep(0.01)
    assert await _says(reader, 10) == b"0123456789"
    assert 0.2 <= time.monotonic() - before < 1.5
    writer.close()


async def test_slices_and_freezing_lose_nothing(echo: FaultProxy) -> None:
    """What was held back comes when the fault ends; slices make one stream again."""
    reader, writer = await _open(echo)
    echo.to_client = Flow(frozen=True, slice_bytes=3)
    writer.write(b"held back")
    with pytest.raises(TimeoutError):
        await _says(reader, 1, 0.1)
    echo.to_client.frozen = False
    assert await _says(reader, 9) == b"held back"
    writer.close()


async def test_one_bit_is_turned_over_where_it_should_be(echo: FaultProxy) -> None:
    """Every piece differs from what was sent in one bit, as often as was counted."""
    reader, writer = await _open(echo)
    echo.to_server = Flow(corrupt=1.0)
    writer.write(b"\0" * 64)
    found = await _says(reader, 64)
    assert sum(byte.bit_count() for byte in found) == echo.damaged == 1
    writer.close()


async def test_swallowed_bytes_end_their_connection_when_healed(echo: FaultProxy) -> None:
    """Nothing comes while bytes are dropped, and the stream with the gap is reset instead of going on."""
    reader, writer = await _open(echo)
    echo.to_client = Flow(drop=True)
    writer.write(b"gone")
    with pytest.raises(TimeoutError):
        await _says(reader, 1, 0.1)
    await echo.heal()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    again_reader, again = await _open(echo)
    again.write(b"back")
    assert await _says(again_reader, 4) == b"back"
    again.close()
    writer.close()


async def test_a_half_open_connection_stays_silent_for_ever(echo: FaultProxy) -> None:
    """It takes what is sent and never answers, also when everything is healed; new connections work."""
    reader, writer = await _open(echo)
    writer.write(b"x")
    assert await _says(reader, 1) == b"x"
    echo.half_open()
    await echo.heal()
    writer.write(b"anybody there")
    with pytest.raises(TimeoutError):
        await _says(reader, 1, 0.1)
    assert not reader.at_eof()
    again_reader, again = await _open(echo)
    again.write(b"yes")
    assert await _says(again_reader, 3) == b"yes"
    again.close()
    writer.close()


async def test_connections_are_reset_and_refused(echo: FaultProxy) -> None:
    """A reset ends what is open with an error; while refusing, nobody gets through."""
    reader, writer = await _open(echo)
    writer.write(b"x")
    assert await _says(reader, 1) == b"x"
    echo.refuse = True
    await echo.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    again_reader, again = await _open(echo)
    with pytest.raises(ConnectionError):
        await again_reader.readexactly(1)
    assert len(echo) == 0
    again.close()
    writer.close()
