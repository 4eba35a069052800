"""Gateways in front of the simulated model API, and clients below the level of any HTTP library."""

from __future__ import annotations

import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import redis

from app.enforcement.policy import encode_verdict
from app.enforcement.rules import Rules
from app.limits.limiter import Limiter
from app.settings import ActionName, ActionRule, Settings
from app.simulate.rig import Rig, RunningGateway
from app.state.events import EventLog
from app.state.keys import PartitionKeys, partition_of
from detectors.contract import Level
from detectors.event import Event, decode

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """The simulated API and a thread for gateways, once per process."""
    made = Rig()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def gateway(rig: Rig) -> RunningGateway:
    """A gateway with the default settings and no limits."""
    return rig.gateway()


@pytest.fixture
def limited(rig: Rig, tmp_path: Path) -> Iterator[Callable[..., RunningGateway]]:
    """Starts gateways with the real limiter and event log on a given state server."""
    running: list[Any] = []

    def start(state_url: str, sections: dict[str, dict[str, Any]], control: Rules | None = None) -> RunningGateway:
        settings = Settings.model_validate(
            {name: part for name, part in sections.items() if name in ("limits", "enforcement")}
        )

        async def services() -> tuple[EventLog, Limiter]:
            events = EventLog(state_url, settings.state, tmp_path / f"spool{len(running)}")
            limiter = Limiter(settings, state_url, events, control)
            await events.start()
            await limiter.start()
            return events, limiter

        events, limiter = rig.thread.call(services())
        running.append((events, limiter))
        return rig.gateway(sections=sections, limiter=limiter, events=events, control=control)

    yield start
    for events, limiter in running:
        rig.thread.call(limiter.stop())
        rig.thread.call(events.stop())


@pytest.fixture
def key() -> str:
    """A credential of its own for each test, by which its calls and events are found."""
    return f"sk-{uuid.uuid4().hex}"


@dataclass
class Reply:
    """One answer as it stood on the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """Value of a header that must be there once."""
        (value,) = [value for found, value in self.headers if found == name]
        return value

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)


@dataclass
class Wire:
    """What came back on one connection."""

    raw: bytes = b""
    closed: bool = False
    seconds: float = 0.0
    arrivals: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def replies(self) -> list[Reply]:
        """Everything that came, as complete answers; fails on bytes that are none."""
        found = []
        rest = self.raw
        while rest:
            head = _HEAD.match(rest)
            assert head is not None, f"no HTTP: {rest[:80]!r}"
            pairs = [line.split(b": ", 1) for line in head[2].split(b"\r\n")[:-1]]
            headers = [(name.decode().lower(), value.decode("latin-1")) for name, value in pairs]
            rest = rest[head.end() :]
            status = int(head[1])
            named = dict(headers)
            if status == 100:
                body = b""
            elif named.get("transfer-encoding") == "chunked":
                body, rest = _unchunked(rest)
            else:
                length = int(named.get("content-length", "0"))
                assert len(rest) >= length, "the answer is cut"
                body, rest = rest[:length], rest[length:]
            found.append(Reply(status, headers, body))
        return found

    @property
    def reply(self) -> Reply:
        """The only answer."""
        (only,) = self.replies
        return only


def _unchunked(rest: bytes) -> tuple[bytes, bytes]:
    parts = []
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n", "the chunk is cut"
        parts.append(rest[:length])
        rest = rest[length + 2 :]
        if not length:
            return b"".join(parts), rest


class RawClient:
    """Sends bytes as they are, and says when it is content."""

    def __call__(
        self,
        url: str,
        pieces: bytes | Sequence[bytes | float],
        *,
        replies: int = 1,
        timeout_sec: float = 2.0,
        leave: bool = False,
    ) -> Wire:
        """Send and read.

        Args:
            url: base address of the server.
            pieces: bytes to send, and seconds to wait in between.
            replies: complete answers to wait for; the connection's end is always enough.
            timeout_sec: longest wait for them, from the last byte sent.
            leave: close the connection after the sending, and read nothing.
        """
        address = urlsplit(url)
        wire = Wire()
        began = time.monotonic()
        with socket.create_connection((address.hostname, address.port), timeout=timeout_sec) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for piece in [pieces] if isinstance(pieces, bytes) else pieces:
                    if isinstance(piece, bytes):
                        sock.sendall(piece)
                    else:
                        until = time.monotonic() + piece
                        while not wire.closed and (left := until - time.monotonic()) > 0:
                            sock.settimeout(left)
                            _read(sock, wire, began)
                        if wire.closed:
                            break
                sock.settimeout(timeout_sec)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server has seen enough; what it said is read below
            until = time.monotonic() + timeout_sec
            while not leave and not wire.closed and not _enough(wire, replies) and time.monotonic() < until:
                sock.settimeout(max(0.001, until - time.monotonic()))
                _read(sock, wire, began)
        wire.seconds = time.monotonic() - began
        return wire


def _read(sock: socket.socket, wire: Wire, began: float) -> None:
    try:
        data = sock.recv(65536)
    except TimeoutError:
        return
    except ConnectionResetError:
        data = b""
    if data:
        wire.raw += data
        wire.arrivals.append((time.monotonic() - began, data))
    else:
        wire.closed = True


def _enough(wire: Wire, replies: int) -> bool:
    try:
        return len([reply for reply in wire.replies if reply.status != 100]) >= replies
    except (AssertionError, ValueError):
        return False


@pytest.fixture(scope="session")
def raw() -> RawClient:
    """A client that sends bytes as they are."""
    return RawClient()


@pytest.fixture
def put(redis_db: str) -> Callable[..., None]:
    """`put(key_id, action, by=…, factor=…)` does what a worker's commit, or a person's order, leaves for `decide`."""

    def leave(key_id: str, action: ActionName, *, by: str = "policy", **rule: Any) -> None:
        at_us = time.time_ns() // 1000
        text = encode_verdict(Level.SUSPECT, ActionRule(action=action, **rule), at_us, by=by, ref="sw-a")
        with redis.Redis.from_url(redis_db) as client:
            client.set(PartitionKeys(partition_of(key_id, 16)).verdict(key_id), text, ex=1000)

    return leave


@pytest.fixture
def events_of(redis_db: str) -> Callable[..., list[Event]]:
    """`events_of(key_id, count)` gives the events of a key, once there are that many."""

    def find(key_id: str, count: int = 1) -> list[Event]:
        until = time.monotonic() + 5
        with redis.Redis.from_url(redis_db) as client:
            while True:
                entries = client.xrange(PartitionKeys(partition_of(key_id, 16)).stream)
                found = [event for _, fields in entries if (event := decode(fields[b"e"])).key_id == key_id]
                if len(found) >= count:
                    return found
                assert time.monotonic() < until, f"{len(found)} events"
                time.sleep(0.01)

    return find
