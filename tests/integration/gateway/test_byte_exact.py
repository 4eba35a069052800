"""The bytes of an answer through the gateway are the upstream's, in the same pieces, as soon as they are there."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from app.simulate.model_api import ModelApi

ASK = [{"role": "user", "content": "Tell me about the harbour of Nidrun – naïvely, in 60 words. 🛥"}]
OPERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": "still-small-2", "messages": ASK, "n": 2, "logprobs": True}),
    "responses": ("/v1/responses", {"model": "still-small-2", "input": "What is a trellis?"}),
    "completions": ("/v1/completions", {"model": "still-small-2", "prompt": ["One", "Two"]}),
    "embeddings": ("/v1/embeddings", {"model": "text-embedding-still", "input": ["a"] * 30}),
    "messages": ("/v1/messages", {"model": "claude-still-4", "max_tokens": 300, "messages": ASK}),
    "count_tokens": ("/v1/messages/count_tokens", {"model": "claude-still-4", "messages": ASK}),
    "models": ("/v1/models", {}),
    "unknown": ("/v1/no/such/thing", {"a": 1}),
}


class Tape:
    """An upstream that notes the bytes it sends, by credential."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.sent: dict[bytes, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        key = dict(scope["headers"])[b"authorization"]

        async def noting(message: Any) -> None:
            if message["type"] == "http.response.body":
                self.sent[key] = self.sent.get(key, b"") + message.get("body", b"")
            await send(message)

        await self._app(scope, receive, noting)


class Lockstep:
    """An upstream that sends the next piece only when the last one was seen at the other end."""

    def __init__(self, pieces: Sequence[bytes], headers: list[tuple[bytes, bytes]]) -> None:
        self.pieces = pieces
        self.headers = headers
        self.loop: asyncio.AbstractEventLoop | None = None
        self.seen = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        self.loop = asyncio.get_running_loop()
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await self.seen.wait()
            self.seen.clear()
        await send({"type": "http.response.body", "body": b""})

    def release(self) -> None:
        """The piece was seen."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.seen.set)


def request(path: str, body: dict[str, Any], key: str) -> bytes:
    """A POST, or a GET where there is nothing to send."""
    data = orjson.dumps(body) if body else b""
    head = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {key}"]
    if body:
        head.append(f"Content-Length: {len(data)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


@pytest.fixture(scope="module")
def tape(rig: Any) -> Tape:
    """The simulated API, noted."""
    return Tape(ModelApi())


@pytest.fixture(scope="module")
def taped(rig: Any, tape: Tape) -> dict[bool, Any]:
    """Gateways in front of the tape, without and with injected include_usage."""
    url = rig.thread.serve(tape)
    return {
        inject: rig.gateway(upstream=url, sections={"gateway": {"upstream_accepts_include_usage": inject}})
        for inject in (False, True)
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_bytes_are_the_upstreams(name: str, stream: bool, taped: Any, tape: Tape, raw: Any, key: str) -> None:
    """Whole or streamed, the body that arrives is byte for byte what the upstream sent."""
    path, body = OPERATIONS[name]
    reply = raw(taped[False].url, request(path, {**body, "stream": True} if stream and body else body, key)).reply
    assert reply.body == tape.sent[f"Bearer {key}".encode()]
    assert reply.body


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("name", ["chat", "completions", "responses", "messages"])
def test_only_the_usage_chunk_that_we_asked_for_is_taken_out(
    name: str, asked: bool, taped: Any, tape: Tape, raw: Any, key: str
) -> None:
    """With injection, every event but the unasked usage chunk arrives byte for byte, and in order."""
    path, body = OPERATIONS[name]
    options = {"stream_options": {"include_usage": True}} if asked else {}
    reply = raw(taped[True].url, request(path, {**body, "stream": True, **options}, key)).reply
    sent = tape.sent[f"Bearer {key}".encode()].split(b"\n\n")
    unasked = [event for event in sent if b'"choices":[]' in event] if not asked else []
    assert len(unasked) == (1 if name in ("chat", "completions") and not asked else 0)
    assert reply.body.split(b"\n\n") == [event for event in sent if event not in unasked]


def payload(received: bytes) -> bytes:
    """The body in what has arrived so far, as far as it has."""
    head, _, rest = received.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head:
        return rest
    body = b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        rest = rest[length + 2 :]
    return body


EVENT = 'data: {"choices":[{"index":0,"delta":{"content":"é🛥"}}]}\n\n'.encode()
STREAM = [(b"content-type", b"text/event-stream")]
LONG = b"x" * 30_000


@pytest.mark.parametrize(
    ("pieces", "headers", "inject"),
    [
        ([EVENT] * 5, STREAM, False),
        ([EVENT] * 5, STREAM, True),
        ([b": keep-alive\n\n", EVENT, b": keep-alive\r\n\r\n", EVENT], STREAM, True),
        ([EVENT[:50], EVENT[50:53], EVENT[53:54], EVENT[54:]], STREAM, False),
        ([b"event: a\r\n", b"data: 1\r\n\r\n"], STREAM, False),
        ([EVENT] * 2, [*STREAM, (b"content-length", b"%d" % (2 * len(EVENT)))], True),
        ([LONG] * 4, [(b"content-length", b"120000"), (b"content-type", b"application/json")], False),
        ([b"a", b"b", LONG, b"c"], [(b"content-type", b"application/octet-stream")], False),
    ],
    ids=[
        "events",
        "events_filtered",
        "comments_filtered",
        "parts_of_an_event",
        "lines",
        "events_with_length",
        "long_body",
        "no_stream",
    ],
)
def test_each_piece_is_forwarded_before_the_next_is_sent(
    pieces: Any, headers: Any, inject: bool, rig: Any, key: str
) -> None:
    """No piece waits for the next: the upstream here sends one only after the last has arrived."""
    upstream = Lockstep(pieces, headers)
    sections = {"gateway": {"upstream_accepts_include_usage": inject}}
    through = rig.gateway(upstream=rig.thread.serve(upstream), sections=sections)
    address = urlsplit(through.url)
    path, body = OPERATIONS["chat"]
    with socket.create_connection((address.hostname, address.port), timeout=5) as sock:
        sock.sendall(request(path, {**body, "stream": True}, key))
        received = b""
        expected = b""
        for piece in pieces:
            expected += piece
            while len(payload(received)) < len(expected):
                data = sock.recv(65536)
                assert data, "the connection ended early"
                received += data
            assert payload(received) == expected
            upstream.release()
        if b"transfer-encoding: chunked" in received:
            while not received.endswith(b"0\r\n\r\n"):
                received += sock.recv(65536)


def test_slow_reader_slows_the_upstream(rig: Any, key: str) -> None:
    """A client that does not read holds the upstream back instead of filling memory, and then gets every byte."""
    sent = 0
    total = 400

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": STREAM})
        for _ in range(total):
            await send({"type": "http.response.body", "body": b":" + b" " * 99_997 + b"\n\n", "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    through = rig.gateway(upstream=rig.thread.serve(endless))
    address = urlsplit(through.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(request("/v1/chat/completions", {"model": "m", "stream": True}, key))
        stalled = 0
        while not sent or sent != stalled:
            stalled = sent
            threading.Event().wait(0.1)
        assert sent < total * 3 // 4
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received = received[-8:] + sock.recv(1 << 20)
    (event,) = through.events.of(through.key_id(key))
    assert event.outcome == "complete"
    assert sent == total


def test_client_that_does_not_read_is_let_go(rig: Any, key: str) -> None:
    """A client that leaves its answer unread for the send timeout loses its connection, and the model is stopped."""
    stopped = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": STREAM})
        gone = asyncio.create_task(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b":" + b" " * 99_997 + b"\n\n", "more_body": True})
            await asyncio.sleep(0)
        stopped.set()

    through = rig.gateway(upstream=rig.thread.serve(endless), sections={"gateway": {"send_timeout_sec": 0.3}})
    address = urlsplit(through.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(request("/v1/chat/completions", {"model": "m", "stream": True}, key))
        (event,) = through.events.of(through.key_id(key))
    assert event.outcome == "disconnected"
    assert stopped.wait(5)
