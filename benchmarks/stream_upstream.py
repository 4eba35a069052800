"""A model API that only streams, at a fixed pace, and writes into every chunk when it was sent.

    python -m benchmarks.stream_upstream PORT CHUNKS INTERVAL_MS

The stamp is the machine's monotonic clock, which the client reads too: the difference is how long a chunk was under way.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"still-large-2",'
    b'"choices":[{"index":0,"delta":{"content":" @%d "},"logprobs":null,"finish_reason":null}]}\n\n'
)
_LAST = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"still-large-2",'
    b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":310,"completion_tokens":20,"total_tokens":330}}\n\ndata: [DONE]\n\n'
)


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Streamer(asyncio.Protocol):
    """One connection: reads requests whole and answers each with a stream."""

    chunks = 20
    interval_sec = 0.05

    def __init__(self) -> None:
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has no such base class

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone; so is its stream."""
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Part of a request."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if len(body) < length:
            return
        self._data = body[length:]
        self._transport.write(_HEAD)
        self._due = asyncio.get_running_loop().time()
        self._send(self.chunks)

    def _send(self, left: int) -> None:
        if not left:
            self._transport.write(_framed(_LAST) + b"0\r\n\r\n")
            return
        self._transport.write(_framed(_CHUNK % time.monotonic_ns()))
        self._due += self.interval_sec
        self._timer = asyncio.get_running_loop().call_at(self._due, self._send, left - 1)


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Streamer, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    Streamer.chunks, Streamer.interval_sec = int(sys.argv[2]), float(sys.argv[3]) / 1000
    uvloop.run(serve(int(sys.argv[1])))
