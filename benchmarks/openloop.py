"""Load that does not wait for the server: requests come at a given rate, whatever becomes of those before them.

A pool of connections carries them, as in the clients that people use. A request that finds no free connection waits for
one as long as one that was sent waits for its answer; then it is given up, and the connection, where it has one, is closed
and opened anew. So a server that falls behind meets what it would meet in service: a queue, abandoned requests, and fresh
connections.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import numpy as np

TICK_SEC = 0.002
RECONNECT_SEC = 0.1
"""Pause before a connection that could not be opened is tried again."""

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}).*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.IGNORECASE | re.DOTALL)


@dataclass(slots=True)
class Outcome:
    """What became of the requests of one run. Times in seconds, from the moment a request was sent.

    Attributes:
        seconds: length of the run.
        offered: requests that came up.
        good: answered with 200 in time, each with its time.
        refused: answered with another status, by status.
        late: given up.
        broken: connections that ended without an answer.
    """

    seconds: float = 0.0
    offered: int = 0
    good: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    late: int = 0
    broken: int = 0

    @property
    def goodput(self) -> float:
        """Answers with 200 in time, per second."""
        return len(self.good) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Of the times of good answers."""
        return float(np.percentile(self.good, percent)) * 1000 if self.good else float("nan")


class _Connection(asyncio.Protocol):
    """One connection; at most one request is on it."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self.transport: asyncio.Transport | None = None
        self.came_up = 0.0  # when its request did; 0.0 when there is none
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._load.free(self)

    def send(self, request: bytes, came_up: float) -> None:
        assert self.transport is not None
        self.came_up = came_up
        self._received = b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        head = _HEAD.match(received)
        if head is None or len(received) < head.end() + int(head[2]):
            return
        self._load.answered(self, int(head[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._load.lost(self)


class _Load:
    """The pool and the requests that wait for it."""

    def __init__(self, port: int, requests: list[bytes], connections: int, rate: float, timeout_sec: float) -> None:
        self._port, self._requests, self._rate, self._timeout = port, requests, rate, timeout_sec
        self._connections = connections
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()  # when those without a connection came up
        self._running: dict[_Connection, None] = {}  # in the order in which they came up
        self._next = 0
        self._over = False
        self._openings: set[asyncio.Task[None]] = set()
        self.outcome = Outcome()

    async def run(self, seconds: float, warm_sec: float) -> Outcome:
        """Offers load; what comes up in the first `warm_sec` is not counted."""
        for _ in range(self._connections):
            self._open()
        await asyncio.sleep(0.5)
        start = time.perf_counter()
        warm = False
        due = 0.0
        last = start
        while True:
            now = time.perf_counter()
            if not warm and now - start >= warm_sec:
                warm, self.outcome, counted_from = True, Outcome(), now
            if now - start >= seconds + warm_sec:
                break
            due += (now - last) * self._rate if self._rate else 0.0
            last = now
            number = int(due)
            due -= number
            self.outcome.offered += number
            self._waiting.extend([now] * number)
            self._give_up(now)
            self._hand_out(now)
            await asyncio.sleep(TICK_SEC)
        self.outcome.seconds = now - counted_from
        self._over = True
        for task in self._openings:
            task.cancel()
        for connection in (*self._running, *self._idle):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0.05)
        return self.outcome

    def _open(self) -> None:
        async def attempt() -> None:
            while not self._over:
                try:
                    async with asyncio.timeout(self._timeout):
                        await asyncio.get_running_loop().create_connection(
                            lambda: _Connection(self), "127.0.0.1", self._port
                        )
                    return
                except (OSError, TimeoutError):
                    await asyncio.sleep(RECONNECT_SEC)

        task = asyncio.get_running_loop().create_task(attempt())
        self._openings.add(task)
        task.add_done_callback(self._openings.discard)

    def _give_up(self, now: float) -> None:
        while self._waiting and now - self._waiting[0] > self._timeout:
            self._waiting.popleft()
            self.outcome.late += 1
        for connection in list(self._running):
            if now - connection.came_up <= self._timeout:
                break
            del self._running[connection]
            connection.came_up = 0.0
            self.outcome.late += 1
            if connection.transport is not None:
                connection.transport.abort()

    def _hand_out(self, now: float) -> None:
        while self._idle and (self._waiting or not self._rate):
            connection = self._idle.popleft()
            if connection.transport is not None and not connection.transport.is_closing():
                self._next = (self._next + 1) % len(self._requests)
                if self._rate:
                    self._waiting.popleft()
                connection.send(self._requests[self._next], now)
                self._running[connection] = None

    def free(self, connection: _Connection) -> None:
        self._idle.append(connection)
        self._hand_out(time.perf_counter())

    def answered(self, connection: _Connection, status: int) -> None:
        now = time.perf_counter()
        outcome = self.outcome
        self._running.pop(connection, None)
        if status == 200:
            outcome.good.append(now - connection.came_up)
        else:
            outcome.refused[status] = outcome.refused.get(status, 0) + 1
        connection.came_up = 0.0
        self.free(connection)

    def lost(self, connection: _Connection) -> None:
        if connection.came_up:
            self._running.pop(connection, None)
            self.outcome.broken += 1
            connection.came_up = 0.0
        if not self._over:
            self._open()


async def offer(
    port: int,
    requests: list[bytes],
    *,
    connections: int,
    rate: float,
    seconds: float,
    timeout_sec: float,
    warm_sec: float = 1.0,
) -> Outcome:
    """Offer `requests`, in turn, at `rate` per second; a rate of 0 keeps every connection busy instead."""
    return await _Load(port, requests, connections, rate, timeout_sec).run(seconds, warm_sec)
