"""What a gateway does with more work than it can do: it keeps the work bounded and refuses the rest at next to no cost.

Order of shedding, cheapest first; what has begun is never shed:

1. a connection on which nothing is under way is closed, the one idle longest first, when a new one needs its place;
2. where every connection is busy, a new one is refused (`Doorman`): one read and one write, nothing is parsed, and so many
   a second at most; the others wait for their refusal, so that clients who come back at once cost little;
3. requests begin in the order in which they came (`Turnstile`), a few in each turn of the loop, so that a burst neither
   floods the state server nor starves the answers that are on their way; one whose client has left is forgotten, and one
   that has waited longer than `gateway.max_wait_ms` is refused unread, since its client will hardly wait for the answer,
   and for a while its connection is not read.

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

PER_TURN = 64
"""Requests begun in one turn of the loop. Enough that their decisions leave in one write; few enough that the state server
has answered them before the decision's time is over (measured: `python -m benchmarks overload`)."""

RETRY_MS = (600, 850, 1100, 1350, 1600, 1850, 2100, 2350)
"""Waits that refused clients are told in turn, so that they do not all come back at once."""

PAUSE_SEC = 0.6
"""How long a connection whose request was refused is not read: the shortest wait that is told. Who obeys notices nothing,
and who does not costs no more refusals than that."""

OTHER_FILES = 64
"""Files and connections of a gateway besides those of clients and upstream, generously."""

REFUSALS_PER_TICK = 10
TICK_SEC = 0.02
"""500 refused connections a second: at 30 µs each, opening and closing included, 1.5 % of a core."""

HEAR_SEC = 5.0
"""How long a refused connection may wait, for its request or for its refusal; then it is closed without a word."""


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
        idles: its connections on which nothing is under way, the one idle longest first.
        most: connections at the same time; as many again may wait to be refused, and more are closed at once.
    """

    def __init__(self, protocol: Callable[..., asyncio.Protocol], idles: Deadlines, most: int) -> None:
        self._protocol = protocol
        self._idles = idles
        self._most = most
        self._refused: set[_Refused] = set()
        self._due: deque[_Refused] = deque()  # those that have sent something, in order
        self._deadlines = Deadlines(HEAR_SEC)
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, *, server_state: Any, **others: Any) -> asyncio.Protocol:
        """Called by the server for each connection it has accepted."""
        if len(server_state.connections) >= self._most:
            if not self._idles.expire_oldest():
                metrics.SHED.labels("connection").inc()
                return _Refused(self)
            metrics.SHED.labels("idle_connection").inc()
        return self._protocol(server_state=server_state, **others)

    def enters(self, refused: _Refused) -> bool:
        """One more waits to be refused; false when there is no room for it."""
        if len(self._refused) >= self._most:
            return False
        self._refused.add(refused)
        self._deadlines.set(refused)
        return True

    def asks(self, refused: _Refused) -> None:
        """It has sent the beginning of a request."""
        self._due.append(refused)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SEC, self._tick)

    def leaves(self, refused: _Refused) -> None:
        """It is gone."""
        self._refused.discard(refused)
        self._deadlines.clear(refused)

    def _tick(self) -> None:
        said = 0
        while self._due and said < REFUSALS_PER_TICK:
            said += self._due.popleft().refuse()  # those who left meanwhile do not count
        self._timer = asyncio.get_running_loop().call_later(TICK_SEC, self._tick) if self._due else None


class _Refused(asyncio.Protocol):
    """A connection that is one too many: it hears the beginning of a request, answers it with a no, and is closed."""

    __slots__ = ("_doorman", "_target", "_transport")

    def __init__(self, doorman: Doorman) -> None:
        self._doorman = doorman
        self._target = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and is no subclass
        if not self._doorman.enters(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Its first bytes name the path, and so the dialect."""
        if not self._target:
            self._target = data[:64]
            self._doorman.asks(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._doorman.leaves(self)

    def refuse(self) -> bool:
        """Say no; false when nobody hears it any more."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        transport.write(refusal(self._target, keep=False))
        transport.close()
        return True

    def expired(self) -> None:
        """It waited too long."""
        if self._transport is not None:
            self._transport.abort()


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
    wanted = 2 * most + upstream + OTHER_FILES  # those who wait for their refusal, too
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        most = max(1, (soft - upstream - OTHER_FILES) // 2)
        log.warning("gateway.max_connections: %d files may be open, so at most %d clients are served at once", soft, most)
    return most
