"""One fast connection to the state server for the path that a request waits on.

Commands that concurrent requests give in one turn of the event loop leave in one write; replies are matched by order. A
reply is never given to another caller: a call that timed out or was cancelled keeps its place in the queue until its reply
has come and been thrown away, and a broken connection takes its queue with it.

A slow server costs a call at most its timeout. After `BREAK_AFTER` failures in a row the circuit opens: calls fail at once,
and a probe asks every `PROBE_SEC` whether the server answers again. Nothing is ever sent twice from here, but what a node
of a Cluster refused because it is not the place for it (`app.state.cluster`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, cast

import hiredis
from redis.asyncio.connection import SSLConnection

from app.errors import StateUnavailable
from app.state.factory import parse_address

log = logging.getLogger(__name__)

BREAK_AFTER = 5
"""Failures in a row that open the circuit (research on the decision path: 5, or 20 % in one second)."""

PROBE_SEC = 0.25
"""Pause between two attempts to connect, or to hear an answer while the circuit is open."""

CONNECT_SEC = 0.5
"""Longest wait for a connection and its greeting."""

DEAF_SEC = 2.0
"""A connection whose oldest call has waited this long is given up; the next one starts with an empty queue."""

MAX_WAITING = 8192
"""Calls in the queue at most; beyond it the server is hopelessly behind and a call fails at once."""

LATE = "the state server did not answer in time"

_PING = b"*1\r\n$4\r\nPING\r\n"
_ASKING = b"*1\r\n$6\r\nASKING\r\n"

Refused: TypeAlias = Callable[["Attempt", hiredis.ReplyError], bool]
"""Takes over a call that the server refused, and says whether it did; the call's future is then answered by it."""


class Caller(Protocol):
    """What decisions, events and slots need of a connection: `Link`, or `app.state.cluster.ClusterLink`."""

    @property
    def ready(self) -> bool:
        """Some partition can be asked about now."""
        ...

    @property
    def whole(self) -> bool:
        """Every partition can be asked about now."""
        ...

    async def start(self) -> bool:
        """Connects and keeps connected; false when nobody answers yet."""
        ...

    async def stop(self) -> None:
        """Closes; calls that still wait fail."""
        ...

    def call(self, command: bytes, partition: int = 0) -> asyncio.Future[Any]:
        """Sends one command about a partition, see `Link.call`."""
        ...

    def post(self, command: bytes, partition: int = 0) -> None:
        """Sends behind what was sent before, whether or not that was answered in time; nobody waits for the reply."""
        ...

    def distrust(self, partition: int = 0) -> None:
        """A reply about this partition was none that its command can have: what else comes there cannot be trusted."""
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


class Link:
    """Client of one server, one connection at a time. Methods are called from the thread of one event loop."""

    def __init__(self, url: str | Mapping[str, Any], timeout_ms: int, refused: Refused | None = None) -> None:
        """A link that is not connected yet.

        Args:
            url: redis://, rediss:// or unix://, as redis-py reads them, with password and database; or its parts.
            timeout_ms: longest wait of a call for its reply.
            refused: is shown every error of the server before the caller is.

        Raises:
            ConfigError: `url` is no address of a state server.
        """
        self._address = parse_address(url) if isinstance(url, str) else dict(url)
        self._timeout = timeout_ms / 1000
        self._refused = refused
        self._wire: _Wire | None = None
        self._failures = 0
        self._open = False
        self._keeper: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._connected_once = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Connected, and the circuit is closed."""
        return self._wire is not None and not self._open

    @property
    def whole(self) -> bool:
        """As `ready`: one server has all partitions."""
        return self._wire is not None and not self._open

    @property
    def waiting(self) -> int:
        """Calls whose replies have not come, those that nobody waits for any more among them."""
        return len(self._wire.waiting) if self._wire is not None else 0

    @property
    def met(self) -> bool:
        """The server has answered once."""
        return self._connected_once.is_set()

    def open(self) -> None:
        """Begins to connect, and keeps connected until `stop`."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def start(self) -> bool:
        """As `open`; true when the server answered, false when it is still away."""
        self.open()
        try:
            async with asyncio.timeout(CONNECT_SEC):
                await self._connected_once.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Closes; calls that still wait fail."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        if self._wire is not None:
            self._wire.close("stopped")

    def call(self, command: bytes, partition: int = 0) -> asyncio.Future[Any]:
        """Sends one command with the others of this turn.

        Args:
            command: in RESP, see `pack`.
            partition: that it is about; a Cluster keeps it on the node that has it.

        Returns:
            A future of the reply. An error of the server is a value of type `hiredis.ReplyError`. The future fails with
            StateUnavailable when the time is over or the connection breaks; it may be cancelled at any time.

        Raises:
            StateUnavailable: not connected, circuit open, or too many calls wait. Nothing was sent.
        """
        wire = self._wire
        if wire is None or self._open or len(wire.waiting) >= MAX_WAITING or wire.paused:
            raise StateUnavailable("the state server is not reachable now")
        return wire.send(command, partition)

    def post(self, command: bytes, partition: int = 0) -> None:
        """Undoes what a call that nobody waits for may have done, also while the circuit is open: the order is kept.

        Where there is no connection, or too much waits, nothing is sent.
        """
        wire = self._wire
        if wire is not None and len(wire.waiting) < MAX_WAITING and not wire.paused:
            wire.send(command, partition).add_done_callback(forget)

    def again(self, attempt: Attempt, *, asking: bool = False) -> bool:
        """Sends a call that another node refused; false when nothing was sent.

        Args:
            attempt: whose future is answered by the reply. Its deadline is watched by who resends it.
            asking: the slot is on its way to this node, which serves it only to those who know that.
        """
        wire = self._wire
        if wire is None or self._open or len(wire.waiting) >= MAX_WAITING or wire.paused:
            return False
        if asking:
            wire.send(_ASKING).add_done_callback(forget)
        wire.resend(attempt)
        return True

    def distrust(self, partition: int = 0) -> None:
        """A reply was none that its command can have: the connection is given up, and with it all replies to come."""
        if self._wire is not None:
            self._wire.close("distrusted")

    # Called by the connection

    def answered(self) -> None:
        """A reply came in time."""
        self._failures = 0

    def failed(self, number: int) -> None:
        """So many calls got no reply in time."""
        self._failures += number
        if self._failures >= BREAK_AFTER and not self._open:
            self._open = True
            log.warning("the state server does not answer in time; deciding without it until it does")
            self._wake.set()

    def lost(self, wire: _Wire) -> None:
        """The connection is gone."""
        if self._wire is wire:
            self._wire = None
            self._wake.set()

    # The keeper

    async def _keep(self) -> None:
        quiet = False
        while True:
            self._wake.clear()
            if self._wire is None:
                try:
                    self._wire = await self._connect()
                except (OSError, StateUnavailable, TimeoutError) as error:
                    if not quiet:
                        # Messages of others may quote the address, which may hold a password; ours do not.
                        why = error if isinstance(error, StateUnavailable) else type(error).__name__
                        log.warning("the state server cannot be reached: %s", why)
                    quiet = True
                    await asyncio.sleep(PROBE_SEC)
                    continue
                quiet = False
                self._close_circuit()
            elif self._open:
                await self._probe(self._wire)
            else:
                await self._wake.wait()

    def _close_circuit(self) -> None:
        if self._open:
            log.warning("the state server answers again")
        self._failures = 0
        self._open = False
        self._connected_once.set()

    async def _probe(self, wire: _Wire) -> None:
        try:
            await wire.send(_PING)
        except StateUnavailable:
            # The late reply, if it ever comes, is heard by nobody, so give the server a moment and ask again.
            if wire.deaf:
                wire.close("deaf")
            else:
                await asyncio.sleep(PROBE_SEC)
        else:
            self._close_circuit()

    async def _connect(self) -> _Wire:
        """A connection that has answered its greeting.

        Raises:
            OSError, TimeoutError: there is no connection.
            StateUnavailable: the server refused the greeting.
        """
        address = self._address
        loop = asyncio.get_running_loop()
        wire = _Wire(self, loop, self._timeout, self._refused)
        async with asyncio.timeout(CONNECT_SEC):
            if "path" in address:
                await loop.create_unix_connection(lambda: wire, address["path"])
            else:
                await loop.create_connection(
                    lambda: wire, address.get("host", "localhost"), address.get("port", 6379), ssl=_tls(address)
                )
            try:
                # All at once: the order of the replies is the order of the commands.
                replies = await asyncio.gather(*[wire.send(command) for command in self._greeting()])
                if any(isinstance(reply, hiredis.ReplyError) for reply in replies):
                    raise StateUnavailable("the state server refused the password or the database")
            except BaseException:
                wire.close("greeting")
                raise
        return wire

    def _greeting(self) -> list[bytes]:
        address = self._address
        commands = []
        if address.get("password"):
            who = (address["username"],) if address.get("username") else ()
            commands.append(pack("AUTH", *who, address["password"]))
        if address.get("db"):
            commands.append(pack("SELECT", str(address["db"])))
        return [*commands, _PING]


class _Wire(asyncio.Protocol):
    """One connection and the queue of those who wait for its replies."""

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop, timeout: float, refused: Refused | None) -> None:
        self._link = link
        self._loop = loop
        self._timeout = timeout
        self._refused = refused
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._expired = 0  # how many at the head of the queue have run out of time
        # (who waits, until when, the attempt where it may be sent elsewhere), oldest first
        self.waiting: deque[tuple[asyncio.Future[Any], float, Attempt | None]] = deque()
        self.paused = False
        self.closed = False

    @property
    def deaf(self) -> bool:
        """Nothing has come back for long."""
        return bool(self.waiting) and self._loop.time() > self.waiting[0][1] + DEAF_SEC

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
            self._link.answered()

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
            self._link.failed(number)

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
        self._link.lost(self)


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


def _tls(address: dict[str, Any]) -> ssl.SSLContext | None:
    """TLS as redis-py's URL options ask for it; certificates are checked unless `ssl_cert_reqs=none` says otherwise."""
    if address.get("connection_class") is not SSLConnection:
        return None
    context = ssl.create_default_context(cafile=address.get("ssl_ca_certs"))
    if address.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif str(address.get("ssl_check_hostname", "true")).lower() in ("false", "0", "no"):
        context.check_hostname = False
    if address.get("ssl_certfile"):
        context.load_cert_chain(address["ssl_certfile"], address.get("ssl_keyfile"))
    return context
