"""A TCP proxy that hurts what passes through it: the state server seen over a bad network.

Every fault is switched while connections are open, in each direction by itself: bytes late, in slices, damaged, held back
or swallowed; and of connections as a whole: refused, reset, or half open. Bytes never vanish from the middle of a stream
that goes on, since TCP does not do that either: a connection that has lost some is reset when the fault is healed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

_READ_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends a reset


@dataclass(slots=True)
class Flow:
    """What is done to the bytes of one direction.

    Attributes:
        delay_sec: they come so much later, in their order.
        slice_bytes: they come so many at a time; 0 as they were sent.
        corrupt: share of the pieces in which one random bit is turned over.
        frozen: they are held back, and come when this ends.
        drop: they are swallowed.
    """

    delay_sec: float = 0.0
    slice_bytes: int = 0
    corrupt: float = 0.0
    frozen: bool = False
    drop: bool = False


class FaultProxy:
    """Proxy of one server.

    Attributes:
        port: where it listens; set once started.
        to_server: fault of what clients send.
        to_client: fault of what the server answers.
        refuse: new connections are reset at once.
        damaged: pieces in which a bit was turned over, so far.
    """

    def __init__(self, target_port: int, *, seed: int = 1) -> None:
        """Not listening yet. `target_port` is on loopback, like the proxy's own."""
        self.port = 0
        self.to_server = Flow()
        self.to_client = Flow()
        self.refuse = False
        self.damaged = 0
        self._target_port = target_port
        self._dice = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()

    def __len__(self) -> int:
        return len(self._pairs)

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes everything."""
        if self._server is not None:
            self._server.close()
        for pair in list(self._pairs):
            await pair.end()
        if self._server is not None:
            await self._server.wait_closed()

    async def heal(self) -> None:
        """Ends every fault. Connections that lost bytes are reset; half-open ones stay so until their client gives up."""
        self.to_server, self.to_client, self.refuse = Flow(), Flow(), False
        for pair in [pair for pair in self._pairs if pair.lossy]:
            await pair.end(reset=True)

    async def reset(self) -> None:
        """Resets every connection."""
        for pair in list(self._pairs):
            await pair.end(reset=True)

    def half_open(self) -> None:
        """The server's side of every connection is gone without a word: nothing ever comes back on it."""
        for pair in self._pairs:
            pair.orphan()

    def change(self, data: bytes, flow: Flow) -> bytes:
        """The bytes as they arrive."""
        if flow.corrupt and self._dice.random() < flow.corrupt:
            self.damaged += 1
            at, bit = self._dice.randrange(len(data)), self._dice.randrange(8)
            return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        return data

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            _close(writer, reset=True)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _close(writer, reset=True)
            return
        pair = _Pair(self, writer, server_writer)
        self._pairs.add(pair)
        try:
            await pair.run(reader, server_reader)
        finally:
            self._pairs.discard(pair)


class _Pair:
    """A client's connection and ours to the server."""

    def __init__(self, proxy: FaultProxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._tasks: list[asyncio.Task[None]] = []
        self._orphan = False
        self.lossy = False

    async def run(self, client: asyncio.StreamReader, server: asyncio.StreamReader) -> None:
        """Passes bytes on until one side ends, or the pair is ended."""
        up = asyncio.create_task(self._pass_on(client, self._server, lambda: self._proxy.to_server))
        down = asyncio.create_task(self._pass_on(server, self._client, lambda: self._proxy.to_client))
        self._tasks = [up, down]
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._orphan and not up.done():  # the client is listened to, and told nothing
            await asyncio.wait((up,))
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for writer in (self._client, self._server):
            _close(writer)

    async def end(self, *, reset: bool = False) -> None:
        """Closes both connections."""
        for writer in (self._client, self._server):
            _close(writer, reset=reset)
        self._orphan = False
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def orphan(self) -> None:
        """Takes the server's side away."""
        self._orphan = True
        _close(self._server)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: Callable[[], Flow]) -> None:
        """Reads at once and writes when it is due, so that a delay costs time and no throughput."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.create_task(self._write(pieces, writer, flow))
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(_READ_BYTES):
                    if self._orphan:
                        continue
                    if flow().drop:
                        self.lossy = True
                    elif not self.lossy:
                        pieces.put_nowait((loop.time() + flow().delay_sec, data))
            if not self._orphan:
                pieces.put_nowait((0.0, b""))
                await writing
        finally:
            writing.cancel()

    async def _write(
        self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, flow: Callable[[], Flow]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await pieces.get()
            if not data:
                return
            while (wait := due - loop.time()) > 0 and flow().delay_sec:  # noqa: ASYNC110 - whoever tests changes a field
                await asyncio.sleep(min(wait, 0.02))
            while flow().frozen:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.005)
            data = self._proxy.change(data, flow())
            size = flow().slice_bytes or len(data)
            with contextlib.suppress(OSError):
                for start in range(0, len(data), size):
                    writer.write(data[start : start + size])
                    await writer.drain()
                    await asyncio.sleep(0)


def _close(writer: asyncio.StreamWriter, *, reset: bool = False) -> None:
    if reset:
        sock = writer.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
    else:
        writer.close()
