"""One fast connection to the state server for the path that a request waits on.

Commands that concurrent requests give in one turn of the event loop leave in one write; replies are matched by order. A
reply is never given to another caller: a call that timed out or was cancelled keeps its place in the queue until its reply
has come and been thrown away, and a broken connection takes its queue with it.

A slow server costs a call at most its timeout. After `BREAK_AFTER` failures in a row the circuit opens: calls fail at once,
and a probe asks every `PROBE_SEC` whether the server answers again. Where nobody calls, a PING every `IDLE_SEC` stands for
the calls, so that a loss is seen before somebody has to wait for it. Nothing is ever sent twice from here, but what a node
of a Cluster refused because it is not the place for it (`app.state.cluster`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Mapping
from typing import Any, Protocol

import hiredis
from redis.asyncio.connection import SSLConnection

from app.errors import StateUnavailable
from app.state.factory import parse_address
from app.state.wire import Attempt, Refused, Wire, forget, pack

log = logging.getLogger(__name__)

BREAK_AFTER = 5
"""Failures in a row that open the circuit (research on the decision path: 5, or 20 % in one second)."""

PROBE_SEC = 0.25
"""Pause between two attempts to connect, or to hear an answer while the circuit is open."""

IDLE_SEC = 0.4
"""Pause between two questions whether the server still answers while nobody calls: a loss shows after some 2 s."""

CONNECT_SEC = 0.5
"""Longest wait for a connection and its greeting."""

MAX_WAITING = 8192
"""Calls in the queue at most; beyond it the server is hopelessly behind and a call fails at once."""

_PING = b"*1\r\n$4\r\nPING\r\n"
_ASKING = b"*1\r\n$6\r\nASKING\r\n"


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
        self._wire: Wire | None = None
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

    def lost(self, wire: Wire) -> None:
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
                await self._watch(self._wire)

    def _close_circuit(self) -> None:
        if self._open:
            log.warning("the state server answers again")
        self._failures = 0
        self._open = False
        self._connected_once.set()

    async def _watch(self, wire: Wire) -> None:
        """Waits for something to do; after a while without calls asks the server itself, and its silence counts, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SEC):
                await self._wake.wait()
            return
        if wire.idle_sec > IDLE_SEC / 2:
            with contextlib.suppress(StateUnavailable):
                await wire.send(_PING)

    async def _probe(self, wire: Wire) -> None:
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

    async def _connect(self) -> Wire:
        """A connection that has answered its greeting.

        Raises:
            OSError, TimeoutError: there is no connection.
            StateUnavailable: the server refused the greeting.
        """
        address = self._address
        loop = asyncio.get_running_loop()
        wire = Wire(self, loop, self._timeout, self._refused)
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
