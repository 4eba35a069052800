"""A gateway at its bounds: what has begun goes on, idle connections give way, and the rest hears a quick no."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from app.gateway import overload
from app.gateway.overload import PER_TURN
from app.telemetry import metrics

ASK: Any = [{"role": "user", "content": "Tell me about the harbour of Nidrun."}]
SLOW = {"x-sim-chunk-delay-ms": "60", "x-sim-chunks": "20"}
BODY = b'{"model":"still-small-2","messages":[{"role":"user","content":"Hello."}]}'


def _shed(what: str) -> float:
    return float(metrics.REGISTRY.get_sample_value("stillwatch_shed_total", {"what": what}) or 0.0)


def _request(key: str, path: str = "/v1/chat/completions") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: gw.test\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    return head.encode() + BODY


def test_one_connection_too_many_hears_a_no_and_streams_go_on(rig: Any, key: str) -> None:
    """With every place taken by a running stream a new client gets its dialect's overload error; no stream is touched."""
    gateway = rig.gateway(sections={"gateway": {"max_connections": 2}})
    before = _shed("connection")
    with ExitStack() as stack:
        streams = []
        for _ in range(2):
            client = stack.enter_context(OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0))
            streams.append(
                client.chat.completions.create(model="still-small-2", messages=ASK, stream=True, extra_headers=SLOW)
            )
        with (
            OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0) as late,
            pytest.raises(openai.InternalServerError) as caught,
        ):
            late.chat.completions.create(model="still-small-2", messages=ASK)
        assert caught.value.code == "overloaded"
        with (
            Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as other,
            pytest.raises(anthropic.APIStatusError) as told,
        ):
            other.messages.create(model="claude-still-4", max_tokens=9, messages=ASK)
        assert told.value.status_code == 529
        assert 1 <= int(told.value.response.headers["retry-after"]) <= 3
        for stream in streams:
            assert list(stream)[-1].choices[0].finish_reason == "stop"
    assert _shed("connection") == before + 2
    with OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=5) as again:  # a place is free once theirs are gone
        assert again.chat.completions.create(model="still-small-2", messages=ASK).choices


def test_idle_connections_give_way_the_oldest_first(rig: Any, key: str, raw: Any) -> None:
    """A client that keeps a connection for later does not keep a new one out: the one idle longest is closed for it."""
    gateway = rig.gateway(sections={"gateway": {"max_connections": 2}})
    address = urlsplit(gateway.url)
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=5)) for _ in "ab"]
        for sock in idle:
            sock.sendall(_request(key))
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert raw(gateway.url, _request(key)).reply.status == 200
        assert idle[0].recv(1) == b""
        idle[1].sendall(_request(key))
        assert idle[1].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_burst_larger_than_a_turn_is_served_whole(rig: Any, key: str) -> None:
    """Many requests at once are begun a few at a time, and every one of them is answered."""
    gateway = rig.gateway(sections={"gateway": {"max_wait_ms": 60_000}})
    address = urlsplit(gateway.url)
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))
            for _ in range(4 * PER_TURN)
        ]
        for sock in socks:
            sock.sendall(_request(key))
        assert all(sock.recv(65536).startswith(b"HTTP/1.1 200 ") for sock in socks)
    assert len(gateway.events.of(gateway.key_id(key), 4 * PER_TURN)) == 4 * PER_TURN


def test_late_requests_are_refused_unread_and_their_connection_lives(
    rig: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who could not begin in time gets a 503 or 529 and is not charged; the next request on the connection is served."""
    monkeypatch.setattr(overload, "PER_TURN", 1)  # a slow machine, so to speak: the last of them waits many turns
    gateway = rig.gateway(sections={"gateway": {"max_wait_ms": 10}})
    address = urlsplit(gateway.url)
    before = _shed("request")
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=20)) for _ in range(200)
        ]
        for sock in socks:  # so that every connection is accepted before the burst
            sock.sendall(_request(key))
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")

        async def all_at_once() -> None:
            """On the gateway's own loop, which reads none of them before all are sent."""
            for sock in socks:
                sock.send(_request(key, "/v1/messages"))

        rig.thread.call(all_at_once())
        statuses = [int(sock.recv(65536)[9:12]) for sock in socks]
        refused = statuses.count(529)
        assert refused == _shed("request") - before > 0
        assert len(gateway.events.of(gateway.key_id(key), 400 - refused)) == 400 - refused
        sock = socks[statuses.index(529)]
        sock.sendall(_request(key))
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
