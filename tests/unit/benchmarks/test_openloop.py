"""The open loop counts what becomes of every request: answered, refused, or given up."""

from __future__ import annotations

import asyncio
import itertools

from benchmarks.openloop import offer

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


async def test_every_request_is_counted_once() -> None:
    """A server that answers one in three, refuses one and leaves one unanswered is seen as exactly that."""
    turn = itertools.count()
    seen = {"good": 0, "refused": 0, "unanswered": 0}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                what = ("good", "refused", "unanswered")[next(turn) % 3]
                seen[what] += 1
                if what != "unanswered":
                    status = b"200 OK" if what == "good" else b"503 "
                    writer.write(b"HTTP/1.1 %b\r\nContent-Length: 2\r\nx: y\r\n\r\nok" % status)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    out = await offer(port, [REQUEST], connections=4, rate=150, seconds=1.2, timeout_sec=0.2, warm_sec=0.0)
    assert out.goodput > 0
    assert len(out.good) <= seen["good"] <= len(out.good) + 4
    assert out.refused.keys() == {503}
    assert out.refused[503] <= seen["refused"]
    assert out.late > 0
    assert out.offered >= len(out.good) + out.refused[503] + out.late
    assert 0 < out.percentile_ms(99) < 200
    server.close()
