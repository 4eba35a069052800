"""The gateway while its state server hangs or is dead: the failure policy decides, and no client waits for state."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.settings import StateSettings
from app.state.keys import PartitionKeys
from app.state.server import StateServer
from detectors.event import decode

BODY = b'{"model":"still-small-2","messages":[{"role":"user","content":"hi"}],"max_tokens":4}'
TELLING_SEC = 0.5
"""Ten decision timeouts: a request that waited for state would take longer, one that a busy machine delays does not."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StateServer]:
    """A state server of this test's own, to be hurt."""
    made = StateServer(StateSettings(data_dir=tmp_path / "data"))
    made.open()
    yield made
    if made.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(made.pid, signal.SIGCONT)
    made.close()


def plan(policy: str, **rule: Any) -> dict[str, Any]:
    """Settings whose default plan has this rule for each key, and this policy for the loss of state."""
    return {"limits": {"plans": {"default": {"key": rule}}, "on_state_loss": policy}}


def ask(key: str) -> bytes:
    """A chat request."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n"
    return head % (key.encode(), len(BODY)) + BODY


def logged(server: StateServer, key_id: str, count: int) -> list[str]:
    """Ids of a key's events in the streams, once there are that many."""
    until = time.monotonic() + 10
    with redis.Redis.from_url(server.url) as client:
        while True:
            entries = [
                decode(fields[b"e"]) for number in range(16) for _, fields in client.xrange(PartitionKeys(number).stream)
            ]
            found = [event.event_id for event in entries if event.key_id == key_id]
            if len(found) >= count or time.monotonic() > until:
                return found
            time.sleep(0.05)


def test_hanging_server_delays_nobody_and_loses_nothing(limited: Any, server: StateServer, raw: Any, key: str) -> None:
    """While the server hangs, requests pass under the local policy; when it goes on, every event arrives, once."""
    gateway = limited(server.url, plan("local", requests_per_min=600))
    assert raw(gateway.url, ask(key)).reply.status == 200
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    for _ in range(8):
        wire = raw(gateway.url, ask(key))
        assert wire.reply.status == 200
        assert wire.seconds < TELLING_SEC
    os.kill(server.pid, signal.SIGCONT)
    found = logged(server, gateway.key_id(key), 9)
    assert len(found) == len(set(found)) == 9
    assert raw(gateway.url, ask(key)).reply.status == 200


def test_dead_server_leaves_the_local_budget(limited: Any, server: StateServer, raw: Any, key: str) -> None:
    """After the server is killed, a key has its budget in this process, and then a 429 with a wait; never a 5xx."""
    gateway = limited(server.url, plan("local", requests_per_min=3))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wires = [raw(gateway.url, ask(key)) for _ in range(5)]
    assert [wire.reply.status for wire in wires] == [200, 200, 200, 429, 429]
    assert all(wire.seconds < TELLING_SEC for wire in wires)
    assert 1 <= int(wires[-1].reply.header("retry-after")) <= 60
    assert wires[-1].reply.json["error"]["code"] == "rate_limit_exceeded"


def test_dead_server_under_the_open_policy(limited: Any, server: StateServer, raw: Any, key: str) -> None:
    """Under `open` everything passes."""
    gateway = limited(server.url, plan("open", requests_per_min=1))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert [raw(gateway.url, ask(key)).reply.status for _ in range(4)] == [200] * 4


def test_dead_server_under_the_closed_policy(limited: Any, server: StateServer, raw: Any, rig: Any, key: str) -> None:
    """Under `closed` nothing passes: a 503 that the SDKs retry, at once."""
    gateway = limited(server.url, plan("closed", requests_per_min=1))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    before = rig.api.served
    wire = raw(gateway.url, ask(key))
    assert (wire.reply.status, wire.reply.json["error"]["code"]) == (503, "overloaded")
    assert int(wire.reply.header("retry-after")) >= 1
    assert wire.seconds < TELLING_SEC
    assert rig.api.served == before
