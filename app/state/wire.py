"""One connection to a server and the queue of those who wait for its replies, in the order of their commands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast

import hiredis

from app.errors import StateUnavailable

DEAF_SEC = 2.0
"""A connection whose oldest call has waited this long is given up; the next one starts with an empty queue."""

LATE = "the state server did not answer in time"

Refused: TypeAlias = Callable[["Attempt", hiredis.ReplyError], bool]
"""Takes over a call that the server refused, and says whether it did; the call's future is then answered by it."""


class Owner(Protocol):
    """Who made a connection and is told how it does."""

    def answered(self) -> None:
        """A reply came in time."""
        ...

    def failed(self, number: int) -> None:
        """So many calls got no reply in time."""
        ...

    def lost(self, wire: Wire) -> None:
        """The connection is gone."""
        ...


class Attempt:
    """One call on its way: who waits, until when, and, where it may be sent elsewhere, what was sent."""

    __slots__ = ("command", "deadline", "future", "partition", "turns")

    def __init__(self, future: asyncio.Future[Any], deadline: float, command: bytes, partition: int) -> None:
        self.future = future
        self.deadline = deadline
        self.command = command
        self.partition = partition
        self.turns = 0  # how often it was sent elsewhere


class Wire(asyncio.Protocol):
    """One connection and the queue of those who wait for its replies."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, timeout: float, refused: Refused | None) -> None:
        self._owner = owner
        self._loop = loop
        self._timeout = timeout
        self._refused = refused
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._used_at = loop.time()  # kept by the timer, which every call arms: a time for each call would cost each call
        self._expired = 0  # how many at the head of the queue have run out of time
        # (who waits, until when, the attempt where it may be sent elsewhere), oldest first
        self.waiting: deque[tuple[asyncio.Future[Any], float, Attempt | None]] = deque()
        self.paused = False
        self.closed = False

    @property
    def deaf(self) -> bool:
        """Nothing has come back for long."""
        return bool(self.waiting) and self._loop.time() > self.waiting[0][1] + DEAF_SEC

    @property
    def idle_sec(self) -> float:
        """How long ago the last call was answered or given up, give or take its timeout; 0.0 while one is under way."""
        return self._loop.time() - self._used_at if self._timer is None else 0.0

    def send(self, command: bytes, partition: int = 0) -> asyncio.Future[Any]:
        """Queues a command for the write at the end of this turn."""
        loop = self._loop
        future = loop.create_future()
        deadline = loop.time() + self._timeout
        if self.closed:
            future.set_exception(StateUnavailable("the connection to the state server is closed"))
            return future
        attempt = Attempt(future, deadline, command, partition) if self._refused is not None else None
        self._queue(command, future, deadline, attempt)
        return future

    def resend(self, attempt: Attempt) -> None:
        """Queues a call that was refused elsewhere."""
        # The queue runs by its own timeout, so that its head is always the oldest. Who resends keeps the caller's.
        self._queue(attempt.command, attempt.future, self._loop.time() + self._timeout, attempt)

    def _queue(self, command: bytes, future: asyncio.Future[Any], deadline: float, attempt: Attempt | None) -> None:
        loop = self._loop
        self.waiting.append((future, deadline, attempt))
        unsent = self._unsent
        if not unsent:
            loop.call_soon(self._flush)
        unsent.append(command)
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)

    def close(self, why: str) -> None:
        """Gives the connection up."""
        if self._transport is not None:
            self._transport.abort()
        self._break(why)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and is no subclass
        if self.closed:  # given up while it was being made
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Replies, whole or in parts."""
        reader = self._reader
        waiting = self.waiting
        heard = False
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                future, _, attempt = waiting.popleft()
                if self._expired:
                    self._expired -= 1
                else:
                    heard = True
                if not future.done() and (attempt is None or not self._taken_over(attempt, reply)):
                    future.set_result(reply)
        except (hiredis.HiredisError, IndexError):
            # A reply that nobody asked for, or none of the protocol: what else comes here cannot be trusted.
            self.close("protocol")
            return
        if heard:
            self._owner.answered()

    def _taken_over(self, attempt: Attempt, reply: Any) -> bool:
        return isinstance(reply, hiredis.ReplyError) and self._refused is not None and self._refused(attempt, reply)

    def pause_writing(self) -> None:
        """The server reads too slowly."""
        self.paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection broke or was closed."""
        self._break("lost")

    def _flush(self) -> None:
        if self._unsent and self._transport is not None and not self.closed:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _expire(self) -> None:
        """Fails every call whose time is over; one timer serves the whole queue, since the oldest is always first.

        Both asyncio and uvloop read sockets before they run timers, so replies that came during a stall of ours count.
        """
        now = self._loop.time()
        waiting = self.waiting
        number = 0
        self._timer = None
        self._used_at = now
        while self._expired < len(waiting):
            future, deadline, _ = waiting[self._expired]
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._expire)
                break
            self._expired += 1
            number += 1
            if not future.done():
                future.set_exception(StateUnavailable(LATE))
        if number:
            self._owner.failed(number)

    def _break(self, why: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._unsent.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self.waiting = self.waiting, deque()
        for future, _, _ in waiting:
            if not future.done():
                future.set_exception(StateUnavailable(f"the connection to the state server was lost ({why})"))
        self._owner.lost(self)


def too_late(future: asyncio.Future[Any]) -> None:
    """The time of a call is over, whatever it waits for."""
    if not future.done():
        future.set_exception(StateUnavailable(LATE))


def forget(future: asyncio.Future[Any]) -> None:
    """Its outcome is of no interest, a failure neither."""
    if not future.cancelled():
        future.exception()


def pack(*parts: str | bytes | int) -> bytes:
    """One command in RESP."""
    command: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]
    return command
