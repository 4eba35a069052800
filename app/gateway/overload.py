"""What a gateway does with more work than it can do: it keeps the work bounded and refuses the rest at next to no cost.

Order of shedding, cheapest first; what has begun is never shed:

1. a connection on which nothing is under way is closed, the one idle longest first, when a new one needs its place;
2. where every connection is busy, a new one is refused (`Doorman`): one read and one write, nothing is parsed;
3. requests begin in the order in which they came (`Turnstile`), a few in each turn of the loop, so that a burst neither
   floods the state server nor starves the answers that are on their way; one whose client has left is forgotten, and one
   that has waited longer than `gateway.max_wait_ms` is refused unread: its client will not wait for the answer either.

A refusal is the dialect's own 503 or 529 with the time after which to try again. It has no request id, is not charged, and
is no event: nobody has looked who sent it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import resource
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from app.enforcement import wire_errors
from app.gateway.deadlines import Deadlines
from app.telemetry import metrics

log = logging.getLogger(__name__)

PER_TURN = 32
"""Requests begun in one turn of the loop. Enough that their decisions leave in one write; few enough that the state server
has answered them before the decision's time is over (measured: `python -m benchmarks overload`)."""

RETRY_MS = (600, 850, 1100, 1350, 1600, 1850, 2100, 2350)
"""Waits that refused clients are told in turn, so that they do not all come back at once."""

OTHER_FILES = 64
"""Files and connections of a gateway besides those of clients and upstream, generously."""

_HEAR_SEC = 2.0
"""How long a refused connection may take to send the request that its refusal answers."""

_WAITING_ROOM = 512
"""Connections that wait for their refusal; more are closed without a word."""


class Waiting(Protocol):
    """A connection with a request that is to begin."""

    def begin_due(self, late: bool) -> None:
        """Its turn has come; `late`: after too long a time."""
        ...


class Turnstile:
    """Lets requests begin, oldest first."""

    __slots__ = ("_loop", "_max_wait_sec", "_queue")

    def __init__(self, max_wait_ms: int) -> None:
        self._queue: deque[tuple[Waiting, float]] = deque()
        self._max_wait_sec = max_wait_ms / 1000
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, waiting: Waiting) -> None:
        """Let it begin at the end of this turn of the loop, or in a later one when others came before it."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()  # not yet there when the object is made
        if not self._queue:
            loop.call_soon(self._run)
        self._queue.append((waiting, loop.time()))

    def _run(self) -> None:
        queue = self._queue
        loop = self._loop
        assert loop is not None
        since = loop.time() - self._max_wait_sec
        for _ in range(min(PER_TURN, len(queue))):
            waiting, came = queue.popleft()
            waiting.begin_due(came < since)
        if queue:
            loop.call_soon(self._run)


class Doorman:
    """Makes the protocol of each new connection: the server's own, or one that only says no.

    Args:
        protocol: class of the server's own.
        most: connections at the same time.
    """

    def __init__(self, protocol: Callable[..., asyncio.Protocol], idles: Deadlines, most: int) -> None:
        self._protocol = protocol
        self._idles = idles
        self._most = most
        self._hearing: set[_Refused] = set()
        self._deadlines = Deadlines(_HEAR_SEC)

    def __call__(self, *, server_state: Any, **others: Any) -> asyncio.Protocol:
        """Called by the server for each connection it has accepted."""
        if len(server_state.connections) >= self._most:
            if not self._idles.expire_oldest():
                return _Refused(self._hearing, self._deadlines)
            metrics.SHED.labels("idle_connection").inc()
        return self._protocol(server_state=server_state, **others)


class _Refused(asyncio.Protocol):
    """A connection that is one too many: it hears the beginning of a request, answers it with a no, and is closed."""

    __slots__ = ("_deadlines", "_hearing", "_transport")

    def __init__(self, hearing: set[_Refused], deadlines: Deadlines) -> None:
        self._hearing = hearing
        self._deadlines = deadlines
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        metrics.SHED.labels("connection").inc()
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and is no subclass
        if len(self._hearing) >= _WAITING_ROOM:
            self._transport.abort()
            return
        self._hearing.add(self)
        self._deadlines.set(self)

    def data_received(self, data: bytes) -> None:
        """Its first bytes name the path, and so the dialect."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(refusal(data[:64], keep=False))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._hearing.discard(self)
        self._deadlines.clear(self)

    def expired(self) -> None:
        """It sent nothing."""
        if self._transport is not None:
            self._transport.close()


def _refusals(dialect: str, keep: bool) -> itertools.cycle[bytes]:
    error = wire_errors.render(
        wire_errors.BUSY, "The service is at capacity; please try again.", dialect=dialect, request_id=""
    )
    made = []
    for wait_ms in RETRY_MS:
        headers = [pair for pair in error.headers if pair[1]] + wire_errors.retry_headers(wait_ms)
        if not keep:
            headers.append((b"connection", b"close"))
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        made.append(b"HTTP/1.1 %d \r\n%b\r\n%b" % (error.status, lines, error.body))
    return itertools.cycle(made)


_MADE = {(dialect, keep): _refusals(dialect, keep) for dialect in ("openai", "anthropic") for keep in (True, False)}


def refusal(target: bytes, *, keep: bool) -> bytes:
    """A whole answer, made beforehand.

    Args:
        target: bytes in which the path stands.
        keep: the connection stays open for a next request.
    """
    return next(_MADE["anthropic" if b"/v1/messages" in target else "openai", keep])


def fitting(most: int, upstream: int) -> int:
    """The bound on connections that this process can keep: the limit of open files is raised where it may be.

    Args:
        most: as configured.
        upstream: connections to the model API.
    """
    wanted = most + upstream + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        most = max(1, soft - upstream - OTHER_FILES)
        log.warning("gateway.max_connections: %d files may be open, so at most %d clients are served at once", soft, most)
    return most
