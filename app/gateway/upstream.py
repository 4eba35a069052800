"""The connection to the model API: an asyncio protocol on httptools, and the pool that keeps such connections alive.

A general HTTP client costs more than the rest of the gateway together. This one does exactly what a proxy needs: one
request at a time per connection, bytes handed on as they arrive, back-pressure in both directions, and a connection that
is closed at once when its exchange ends early. It follows no redirects and never talks to another address than the
configured one.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

from app.errors import UpstreamUnavailable
from app.gateway.batch import Batch
from app.gateway.deadlines import Deadlines
from app.gateway.presence import Presence
from app.settings import GatewaySettings

_HIGH_WATER_BYTES = 256 * 1024
"""Answer bytes held for a slow client before the upstream is asked to wait."""

_WRITE_AT_ONCE_BYTES = 64 * 1024

_IDLE_SEC = 4.0
"""Idle connections are not used after this. Many model servers close theirs after five seconds, and a request that meets
the close on its way is lost."""

_HEAD_MAX_BYTES = 256 * 1024
"""Bytes of one answer's header fields, informational ones included; no model server comes near."""

_NOT_PASSED_ON = frozenset(
    # Hop by hop (RFC 9110 7.6.1), and the date, which the server that the client talks to sets itself.
    b"connection keep-alive proxy-authenticate proxy-connection te trailer transfer-encoding upgrade date".split(b" ")
)
_USUAL_OPTIONS = frozenset((b"keep-alive", b"close", b"transfer-encoding", b"te", b"upgrade", b"trailer", b""))
_UNSAFE_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

Headers = list[tuple[bytes, bytes]]


class UpstreamBusy(UpstreamUnavailable):
    """Every allowed connection stayed in use for the whole connect timeout."""


class Listener(Protocol):
    """Who is called, where waiting in a task would cost more than the call."""

    def stirred(self) -> None:
        """Something has changed: head, bytes, completion or failure."""
        ...


class Connection(asyncio.Protocol):
    """One connection; serves one exchange at a time.

    Attributes:
        status: of the answer; 0 until its head is complete.
        headers: of the answer, without hop-by-hop fields, names in lower case.
        length: declared body length, -1 when none.
        framed: the body has a declared end, so a lost connection cannot look like one.
        complete: the whole answer has arrived.
        failed: "" or why the answer will not be completed: cut, timeout, protocol, abandoned.
        fresh: nothing of an answer has arrived yet.
        listener: called at once at every change, beside a future that waits; the exchange sets and clears it.
    """

    __slots__ = (
        "_chunked",
        "_chunks",
        "_head_bytes",
        "_held",
        "_keep",
        "_named",
        "_parser",
        "_paused",
        "_pool",
        "_transport",
        "_waiter",
        "busy",
        "complete",
        "failed",
        "framed",
        "fresh",
        "headers",
        "idle_at",
        "length",
        "listener",
        "no_body",
        "reused",
        "status",
    )

    def __init__(self, pool: Upstream) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._held = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._keep = False
        self.listener: Listener | None = None
        self.busy = False
        self.reused = False
        self.idle_at = 0.0
        self._reset(False)

    def _reset(self, no_body: bool) -> None:
        self.status = 0
        self.headers: Headers = []
        self.length = -1
        self.framed = True
        self._chunked = False
        self._head_bytes = 0
        self._named: set[bytes] = set()
        self.complete = False
        self.failed = ""
        self.fresh = True
        self.no_body = no_body

    # What an exchange does with it

    def send(self, head: bytes, body: bytes, no_body: bool) -> None:
        """Send a request. `no_body`: the answer to it never has one (HEAD)."""
        self._reset(no_body)
        self.busy = True
        transport = self._transport
        assert transport is not None
        if len(body) <= _WRITE_AT_ONCE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        self._pool.silence.set(self)

    def wait(self) -> asyncio.Future[None]:
        """A future that is done when something has changed: head, bytes, completion or failure."""
        waiter = self._waiter = self._pool.loop.create_future()
        return waiter

    def take(self) -> bytes:
        """All body bytes that have arrived and were not taken yet."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._held = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
            if not self.complete:
                self._pool.silence.set(self)
        return data

    def abandon(self) -> None:
        """The exchange ends before the answer does: close, so that the model stops working on it."""
        self._fail("abandoned")
        self.close()

    def close(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return self._keep and not self.failed and self._transport is not None and not self._transport.is_closing()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if not self.busy or self.complete:
            # Bytes nobody asked for would be taken as the answer to somebody else's request.
            self._keep = False
            self.close()
            return
        self.fresh = False
        self._pool.silence.set(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # Also bytes behind a complete answer: that one stands, but nothing more is believed of this connection.
            self._keep = False
            self._fail("protocol")
            self.close()
        if not self.status:  # one that is complete within its first read cannot be too large
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_MAX_BYTES:
                self._fail("protocol")
                self.close()
        self._wake()

    def eof_received(self) -> bool:
        """Called by the loop; False lets it close the transport."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        self._keep = False
        if self.busy and not self.complete and not self.failed:
            if self.status and not self.framed and exc is None:
                self.complete = True
                self._wake()
            else:
                self._fail("cut")
        self._pool.forget(self)

    def expired(self) -> None:
        """The upstream was silent for too long."""
        self._fail("timeout")
        self.close()

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A message begins; a second one without a request is refused."""
        if self.complete:
            raise ValueError("an answer without a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer, which is not passed on."""
        if self.status:
            return
        name = name.lower()
        if name == b"content-length":
            self.length = int(value) if value.isdigit() else -1
        elif name in _NOT_PASSED_ON:
            if name == b"transfer-encoding":
                self._chunked = True
            elif name == b"connection":
                self._named.update(option.strip().lower() for option in value.split(b","))
            return
        elif _UNSAFE_VALUE.search(value):
            raise ValueError("a header value with control characters")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        status = self._parser.get_status_code()
        if not 100 <= status < 600:
            raise ValueError("a status of no class")
        if status < 200:
            if status == 101:
                raise ValueError("an upgrade that nobody asked for")
            self.headers = []
            self.length = -1
            self._chunked = False
            self._named.clear()
            return
        if self._head_bytes and sum(len(name) + len(value) for name, value in self.headers) > _HEAD_MAX_BYTES:
            raise ValueError("the head of the answer is too large")
        self._keep = self._parser.should_keep_alive()
        if not self._named <= _USUAL_OPTIONS:
            self.headers = [pair for pair in self.headers if pair[0] not in self._named]
        if status in (204, 304):
            # A length there is that of another answer (RFC 9110 8.6); the server in front would wait for its bytes.
            self.headers = [pair for pair in self.headers if pair[0] != b"content-length"]
            self.length = 0
        # With neither a length nor chunks, the body ends with the connection.
        self.framed = self._chunked or self.length >= 0
        self.status = status
        if self.no_body:
            self.complete = True
            self._keep = False  # the parser still expects the body that the length announces

    def on_body(self, data: bytes) -> None:
        """Body bytes."""
        self._chunks.append(data)
        self._held += len(data)
        if self._held > _HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            # A client that reads slowly is not the upstream's silence.
            self._pool.silence.clear(self)
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The message is complete; informational ones do not count."""
        if self.status:
            self.complete = True

    # Inside

    def _fail(self, why: str) -> None:
        if not self.complete and not self.failed:
            self.failed = why
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        if self.listener is not None:
            self._pool.batch.add(self.listener.stirred)


class Upstream:
    """Connections to one configured address."""

    def __init__(self, settings: GatewaySettings) -> None:
        address = urlsplit(settings.upstream)
        self._tls = address.scheme == "https"
        self._host = address.hostname or ""
        self._port = address.port or (443 if self._tls else 80)
        self._context: ssl.SSLContext | None = None
        self._connect_sec = settings.upstream_connect_timeout_sec
        self._max = settings.upstream_max_connections
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._opening = 0
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self.base_path = address.path.rstrip("/").encode()
        self.host_header = address.netloc.encode()
        self.batch = Batch()
        self.silence = Deadlines(settings.upstream_read_timeout_sec)
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]
        self.presence: Presence | None = None

    def take_idle(self) -> Connection | None:
        """An idle connection that is still good, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and self.loop.time() - connection.idle_at < _IDLE_SEC:
                connection.reused = True
                return connection
            connection.close()
        return None

    async def connect(self, *, fresh: bool = False) -> Connection:
        """A connection: an idle one, a new one, or the next that is given back. `fresh` rules out an idle one.

        Raises:
            UpstreamBusy: none became free in time.
            UpstreamUnavailable: the address does not answer.
        """
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
        connection = None if fresh else self.take_idle()
        if connection is not None:
            return connection
        if len(self._open) + self._opening >= self._max:
            handed = await self._queued()
            if handed is not None:
                handed.reused = True
                return handed
        return await self._new()

    async def _queued(self) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        self._queue.append(waiter)
        try:
            async with asyncio.timeout(self._connect_sec):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                # It was handed over in the same turn in which we gave up; somebody else may want it.
                handed = waiter.result()
                if handed is None:
                    self._hand_on(None)
                else:
                    self.release(handed)
            if isinstance(error, TimeoutError):
                raise UpstreamBusy("all connections to the upstream are in use") from None
            raise

    async def _new(self) -> Connection:
        self._opening += 1
        try:
            if self._tls and self._context is None:
                self._context = ssl.create_default_context()
                self._context.set_alpn_protocols(["http/1.1"])
            async with asyncio.timeout(self._connect_sec):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self),
                    self._host,
                    self._port,
                    ssl=self._context,
                    server_hostname=self._host if self._tls else None,
                )
        except TimeoutError:
            raise self._away("the upstream did not accept a connection in time") from None
        except OSError as error:
            raise self._away(f"the upstream cannot be reached: {error.strerror or type(error).__name__}") from None
        finally:
            self._opening -= 1
        if self.presence is not None:
            self.presence.there()
        self._open.add(connection)
        return connection

    def _away(self, sentence: str) -> UpstreamUnavailable:
        self._hand_on(None)
        if self.presence is not None:
            self.presence.away(sentence)
        return UpstreamUnavailable(sentence)

    def release(self, connection: Connection) -> None:
        """Give a connection back after a complete answer."""
        self.silence.clear(connection)
        connection.busy = False
        if not connection.usable:
            connection.close()
            return
        if self._queue and self._hand_on(connection):
            return
        connection.idle_at = self.loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(_IDLE_SEC, self._drop_stale)

    def forget(self, connection: Connection) -> None:
        """A connection is gone; somebody who waits may open a new one."""
        self.silence.clear(connection)
        if connection in self._open:
            self._open.discard(connection)
            self._hand_on(None)

    def _hand_on(self, connection: Connection | None) -> bool:
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _drop_stale(self) -> None:
        now = self.loop.time()
        for connection in [c for c in self._idle if now - c.idle_at >= _IDLE_SEC or not c.usable]:
            self._idle.remove(connection)
            connection.close()
        self._sweep = self.loop.call_later(_IDLE_SEC / 2, self._drop_stale) if self._idle else None

    async def close(self) -> None:
        """Close every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.silence.close()
        self._idle.clear()
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)  # lets the transports report their end
