"""Signed feeds at an address: read by the poller from servers that are honest, late, broken and hostile."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import ConfigError
from app.intel import feed_reader, signing
from app.intel.feed_reader import FEED, FeedReader
from app.intel.signing import SigningKey
from app.intel.taxii.peers import Peer, load
from app.intel.taxii.poller import Poller
from app.state.intel_polls import Polls
from app.state.intel_received import ReceivedQueue
from app.state.intel_signers import Signers

KEY = SigningKey.made()


class Server:
    """Answers every request with what `answer` holds, or with 304 to who knows its ETag.

    Attributes:
        body: of the answer.
        status: of it.
        headers: more of it.
        heads: of requests.
    """

    def __init__(self) -> None:
        self.body = b""
        self.status = "200 OK"
        self.headers = ""
        self.heads: list[str] = []
        self.endless = False
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            etag = next((line[6:] for line in self.headers.split("\r\n") if line.startswith("ETag: ")), None)
            if etag and f"If-None-Match: {etag}" in head:
                writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
            elif self.endless:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
                for _ in range(1024):
                    writer.write(b" " * (1 << 20))
                    await writer.drain()
            else:
                length = f"Content-Length: {len(self.body)}\r\n"
                writer.write(f"HTTP/1.1 {self.status}\r\n{length}{self.headers}\r\n".encode() + self.body)
            await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server of feeds."""
    made = Server()
    running = await asyncio.start_server(made, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/feed.json"
    try:
        yield made
    finally:
        running.close()


def _now_us() -> int:
    return time.time_ns() // 1000


def _feed(objects: list[dict[str, Any]], key: SigningKey = KEY, issued_us: int = 0) -> bytes:
    payload = orjson.dumps({"type": "bundle", "id": f"bundle{objects[0]['id'][9:]}", "objects": objects})
    return signing.signed(payload, key, issued_us or _now_us(), 3600)


def _file(folder: Path, url: str, **more: Any) -> Path:
    (folder / "acme.pem").write_text(KEY.public.pem)
    fields = {"name": "acme", "group": "labs", "kind": "feed", "url": url, "public_key_file": "acme.pem", **more}
    file = folder / "peers.toml"
    file.write_text("[[peer]]\n" + "".join(f"{name} = {orjson.dumps(value).decode()}\n" for name, value in fields.items()))
    return file


@pytest.fixture
async def reading(site: Any, server: Server, tmp_path: Path) -> tuple[Poller, Peer, ReceivedQueue]:
    """(poller, peer, the queue that it fills); nobody empties it."""
    await site.server.app.state.taking.stop()
    (peer,) = load(_file(tmp_path, server.url))
    queue = ReceivedQueue(site.state)
    return Poller([peer], Polls(site.state), queue, feeds=FeedReader(queue, Signers(site.state))), peer, queue


async def _objects(queue: ReceivedQueue) -> int:
    return sum(source.objects for source in await queue.sources())


async def test_feed_read(site: Any, server: Server, reading: Any) -> None:
    """A feed's objects come as the peer's; the same again is not taken, nor sent where the server knows ETags."""
    poller, peer, queue = reading
    server.body, server.headers = _feed([site.indicator(number) for number in range(1, 1501)]), 'ETag: "one"\r\n'
    (polled,) = await poller.poll(peer)
    assert (polled.objects, polled.dropped, polled.fault) == (1500, 0, "")
    assert [(one.member, one.objects) for one in await queue.sources()] == [("acme", 1500)]
    for _ in range(2):
        assert (await poller.poll(peer))[0].fault == ""
    assert 'If-None-Match: "one"' in server.heads[-1]
    server.headers = ""
    assert (await poller.poll(peer))[0].objects == 0
    assert await _objects(queue) == 1500
    answer = await site.http.get("/v1/intel/peers", headers={"authorization": f"Bearer {site.token}"})
    (told,) = answer.json()["peers"]
    assert (told["collection"], told["objects"], told["fault"]) == (FEED, 1500, "")


async def test_feed_replayed(site: Any, server: Server, reading: Any) -> None:
    """An older feed that is served again, and another one under the same number, are faults that are shown."""
    poller, peer, queue = reading
    now = _now_us()
    old = _feed([site.indicator(1)], issued_us=now - 5)
    server.body = _feed([site.indicator(1), site.indicator(2)], issued_us=now)
    assert (await poller.poll(peer))[0].objects == 2
    server.body = old
    assert "an old one" in (await poller.poll(peer))[0].fault
    server.body = _feed([site.indicator(3)], issued_us=now)
    assert "same seq" in (await poller.poll(peer))[0].fault
    assert await _objects(queue) == 2
    server.body = _feed([site.indicator(3)], issued_us=now + 1)
    assert (await poller.poll(peer))[0].objects == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"status": "302 Found", "headers": "Location: http://127.0.0.1:1/\r\n"}, "redirect is not followed"),
        ({"status": "404 Not Found"}, "answered 404"),
        ({"status": "304 Not Modified"}, "answered 304"),
        ({"headers": "Content-Encoding: gzip\r\n"}, "compressed"),
        ({"body": b'{"type": "bundle", "objects": [{"a": 1}]}'}, "bears none"),
        ({"body": b"CANARY"}, "bears none"),
        ({"other": True}, "another key"),
        ({"cut": True}, "flattened JWS"),
    ],
)
async def test_feed_refused(site: Any, server: Server, reading: Any, change: dict[str, Any], fault: str) -> None:
    """What is no feed signed by the peer's key is a fault in our own words, and nothing is taken of it."""
    poller, peer, queue = reading
    server.body = _feed([site.indicator(1)], SigningKey.made() if change.pop("other", False) else KEY)
    if change.pop("cut", False):
        server.body = server.body[:-30]
    for name, value in change.items():
        setattr(server, name, value)
    (polled,) = await poller.poll(peer)
    assert fault in polled.fault
    assert "CANARY" not in polled.fault
    assert await _objects(queue) == 0


async def test_gigabyte_feed(server: Server, reading: Any) -> None:
    """Of a body of 1 GB no more is read than a document may have."""
    poller, peer, _ = reading
    server.endless = True
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (polled,) = await poller.poll(peer)
    assert polled.fault == "the peer's answer is larger than 67,108,864 bytes"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


async def test_full_queue_waited_for(site: Any, server: Server, reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the queue is full the reader waits for place; what does not fit in time is a fault, and is read again."""
    _, peer, _ = reading
    queue = ReceivedQueue(site.state, most=1000)

    async def taken(_: float) -> None:
        (*_, last) = await queue.read("labs", "acme", 1000)
        await queue.done("labs", "acme", last.entry_id)

    server.body = _feed([site.indicator(number) for number in range(1, 2501)])
    monkeypatch.setattr(feed_reader, "FILL_SEC", 0.0)
    read = await FeedReader(queue, Signers(site.state), taken).read(peer, "")
    assert (read.objects, read.fault[:17]) == (1000, "its queue is full")
    monkeypatch.setattr(feed_reader, "FILL_SEC", 60.0)
    read = await FeedReader(queue, Signers(site.state), taken).read(peer, "")
    assert (read.objects, read.fault) == (2500, "")


async def test_secret_shown_to_peer_alone(site: Any, server: Server, reading: Any, tmp_path: Path) -> None:
    """A feed behind a password is read with it; what the file holds is in no fault."""
    poller, _, _ = reading
    server.body = _feed([site.indicator(1)])
    (tmp_path / "secret").write_text("CANARY-SECRET\n")
    (peer,) = load(_file(tmp_path, server.url, secret_file="secret", username="us"))
    assert (await poller.poll(peer))[0].fault == ""
    assert "Authorization: Basic " in server.heads[-1]
    (tmp_path / "secret").write_text("CANARY\nSECRET\n")
    assert "CANARY" not in (await poller.poll(peer))[0].fault


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"public_key_file": "none.pem"}, "public_key_file must be a readable Ed25519"),
        ({"public_key_file": "peers.toml"}, "public_key_file must be a readable Ed25519"),
        ({"public_key_file": ""}, "public_key_file must be given"),
        ({"collections": ["feed"]}, "collections is not for"),
        ({"kind": "rss"}, "kind must be taxii or feed"),
        ({"kind": "taxii"}, "secret_file must be given"),
        ({"kind": "taxii", "secret_file": "s"}, "public_key_file is not for"),
        ({"url": "http://feeds.example/x"}, "url must be https"),
    ],
)
def test_feed_peers_checked(tmp_path: Path, more: dict[str, Any], rule: str) -> None:
    """A peer whose fields do not fit its kind is refused at the start, with the field."""
    with pytest.raises(ConfigError, match=rule):
        load(_file(tmp_path, **{"url": "https://feeds.example/x", **more}))


async def test_feed_read_by_admin_process(site: Any, server: Server, admin_of: Any, tmp_path: Path) -> None:
    """The admin process reads the feeds of its file of peers by itself."""
    folder = tmp_path / "p"
    folder.mkdir()
    server.body = _feed([site.indicator(1)])
    await site.server.app.state.polling.stop()
    async with admin_of(STILLWATCH_INTEL__PEERS_FILE=str(_file(folder, server.url, interval_sec=5))):
        async with asyncio.timeout(15):
            while (await Polls(site.state).get("acme", FEED)).objects < 1:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
    assert len(server.heads) == 1
