"""Processes stop without losing anything and start in any order: the real commands, signals and a real state server."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import polars
import pytest

WARM = "sk-warm"


class Stream(threading.Thread):
    """A client of one running stream; ready once its first bytes have come."""

    def __init__(self, port: int, key: str, *, chunks: int, delay_ms: int) -> None:
        super().__init__(daemon=True)
        self._where = ("127.0.0.1", port)
        self._headers = {
            "authorization": f"Bearer {key}",
            "x-sim-chunks": str(chunks),
            "x-sim-words": str(chunks),
            "x-sim-chunk-delay-ms": str(delay_ms),
        }
        self.ready = threading.Event()
        self.body = b""
        self.ended_at = 0.0
        self.start()
        assert self.ready.wait(20)

    def run(self) -> None:
        """Called by the thread."""
        connection = http.client.HTTPConnection(*self._where, timeout=60)
        ask = {"model": "still-small-2", "stream": True, "messages": [{"role": "user", "content": "Tell me all."}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(ask), self._headers)
        answer = connection.getresponse()
        assert answer.status == 200
        while data := answer.read1():
            self.body += data
            self.ready.set()
        self.ended_at = time.monotonic()
        connection.close()


def _archived(site: Any) -> list[str]:
    """Ids of the events in the archive, as often as they are in it."""
    files = list((Path(site.folder) / "volumes" / "archive").rglob("*.parquet"))
    return [name for path in files for name in polars.read_parquet(path, columns=["event_id"])["event_id"]]


def _refuses(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_sigterm_drains_streams_and_loses_no_event(site: Any) -> None:
    """New connections are refused, streams that end in time are whole, the others end in an error event; all are events."""
    site.start("valkey")
    gateway = site.start("gateway", STILLWATCH_GATEWAY__GRACE_SEC="3")
    worker = site.start("worker")
    assert all(site.chat(WARM) == 200 for _ in range(5))
    short = [Stream(site.ports[8080], WARM, chunks=15, delay_ms=80) for _ in range(3)]
    long = [Stream(site.ports[8080], WARM, chunks=400, delay_ms=80) for _ in range(2)]
    gateway.ask_to_stop()
    began = time.monotonic()
    time.sleep(0.5)
    assert _refuses(site.ports[8080])
    status, said = site.get(9101, "/healthz")
    assert (status, said.startswith(b"stopping")) == (503, True)
    assert site.get(9101, "/livez")[0] == 200
    assert gateway.ended() == 0
    assert 2.5 < time.monotonic() - began < 15
    for stream in (*short, *long):
        stream.join(5)
    assert all(stream.body.rstrip().endswith(b"data: [DONE]") for stream in short)
    for stream in long:
        assert b"[DONE]" not in stream.body
        assert json.loads(stream.body.rstrip().rsplit(b"\n\n", 1)[1][6:])["error"]["code"] == "overloaded"
    assert worker.stop() == 0
    archived = _archived(site)
    assert len(archived) == len(set(archived)) == 10
    assert "Traceback" not in gateway.said + worker.said


def test_second_signal_ends_the_grace(site: Any) -> None:
    """An operator in a hurry need not wait: a second SIGTERM ends the running streams properly, and their events stay."""
    site.start("valkey")
    gateway = site.start("gateway", STILLWATCH_GATEWAY__GRACE_SEC="60")
    worker = site.start("worker")
    long = [Stream(site.ports[8080], WARM, chunks=600, delay_ms=80) for _ in range(2)]
    gateway.ask_to_stop()
    time.sleep(0.5)
    assert gateway.process.poll() is None
    began = time.monotonic()
    gateway.ask_to_stop()
    assert gateway.ended() == 0
    assert time.monotonic() - began < 15
    for stream in long:
        stream.join(5)
        assert b'"code":"overloaded"' in stream.body
    assert worker.stop() == 0
    assert len(_archived(site)) == 2


def test_a_worker_that_is_stopped_gives_its_work_to_the_next(site: Any) -> None:
    """SIGTERM in the middle of work: what was applied stays applied, the leases are free at once, nothing is done twice."""
    site.start("valkey")
    site.start("gateway")
    first = site.start("worker", STILLWATCH_WORKER__BATCH_ENTRIES="3")
    keys = [f"sk-{number}" for number in range(4)]
    for number in range(40):
        assert site.chat(keys[number % 4]) == 200
    assert first.stop() == 0
    for number in range(20):
        assert site.chat(keys[number % 4]) == 200
    second = site.start("worker", STILLWATCH_WORKER__LEASE_MS="60000")
    with site.client("worker") as client:
        _until(lambda: len({client.get(f"sw:{{p{number:04d}}}:own") for number in range(16)} - {None}) >= 1, seconds=5)
        _until(lambda: not any(client.xlen(f"sw:{{p{number:04d}}}:ev") for number in range(16)))
    assert second.stop() == 0
    archived = _archived(site)
    assert len(archived) == len(set(archived)) == 60


def test_processes_may_start_before_the_state_server(site: Any) -> None:
    """Each waits or goes on by its policy, says so in its health, and heals when the server comes; no event is lost."""
    gateway = site.start("gateway")
    worker = site.start("worker")
    admin = site.start("admin")
    assert [site.chat(f"sk-{number}") for number in range(5)] == [200] * 5
    assert site.get(9101, "/healthz")[0] == site.get(9102, "/healthz")[0] == 503
    assert [site.get(port, "/livez")[0] for port in (9101, 9102)] == [200, 200]
    assert site.get(8081, "/v1/keys", site.secret("admin_token"))[0] in (401, 503)
    site.start("valkey")
    _until(lambda: site.get(9101, "/healthz")[0] == site.get(9102, "/healthz")[0] == 200)
    _until(lambda: site.get(8081, "/v1/keys", site.secret("admin_token"))[0] == 200)
    assert site.chat("sk-5") == 200
    _until(lambda: len(site.admin("/v1/keys")["keys"]) == 6)
    for process in (gateway, worker, admin):
        assert process.stop() == 0
        assert "Traceback" not in process.said, process.said
    assert len(set(_archived(site))) == 6


def test_state_server_may_stop_first(site: Any) -> None:
    """A gateway that stops without its state server leaves its events on disk, and the next one appends them."""
    valkey = site.start("valkey")
    gateway = site.start("gateway")
    worker = site.start("worker", STILLWATCH_WORKER__LEASE_MS="1000")  # it cannot give its leases back; they end soon
    assert site.chat(WARM) == 200
    assert valkey.stop() == 0
    assert [site.chat(WARM) for _ in range(4)] == [200] * 4
    assert gateway.stop() == 0
    assert worker.stop() == 0
    assert any((Path(site.folder) / "volumes" / "spool").rglob("*"))
    site.start("valkey")
    site.start("gateway")
    worker = site.start("worker")
    with site.client("worker") as client:
        _until(lambda: client.execute_command("ZCARD", "sw:{wrk}:live"))
    _until(lambda: site.counted(9102, "stillwatch_events_applied_total") >= 4)
    assert worker.stop() == 0
    archived = _archived(site)
    assert len(archived) == len(set(archived)) == 5


@pytest.mark.parametrize("name", ["gateway", "worker", "admin"])
def test_sigterm_during_the_start_ends_it(site: Any, name: str) -> None:
    """At whatever moment the signal comes, the process ends soon, by it or by itself, and without a fault."""
    site.start("valkey")
    for pause in (0.4, 0.8, 1.2):
        process = site.start(name, wait=False)
        time.sleep(pause)
        process.ask_to_stop()
        assert process.ended(20) in (0, -signal.SIGTERM)
        assert "Traceback" not in process.said, process.said


def _until(holds: Any, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found
