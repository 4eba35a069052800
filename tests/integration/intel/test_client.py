"""Our TAXII client and poller: against our own server, and against servers that are slow, broken and hostile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import ConfigError, PeerFault
from app.intel.taxii import client as client_module
from app.intel.taxii import http, poller
from app.intel.taxii.client import TaxiiClient
from app.intel.taxii.http import Caps
from app.intel.taxii.peers import Peer, load
from app.intel.taxii.poller import Poller, Polling
from app.state.intel_polls import Polls
from app.state.intel_received import ReceivedQueue

TAXII = b"application/taxii+json;version=2.1"
Respond = Callable[[bytes, asyncio.StreamWriter], Any]


async def _no_pause(_: float) -> None:
    """Attempts follow each other at once."""


@pytest.fixture
def peer(site: Any, tmp_path: Path) -> Peer:
    """Our own server, as another provider's."""
    (tmp_path / "secret").write_text(site.acme + "\n")
    return Peer("acme", "labs", f"{site.server.url}/taxii2/", str(tmp_path / "secret"), interval_sec=5)


@contextlib.asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[tuple[str, list[bytes]]]:
    """(address, heads of requests) of a raw server that answers each request with what `respond` writes."""
    heads: list[bytes] = []

    running: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            await respond(head, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client hung up, or the test is over
        finally:
            writer.transport.abort() if task.cancelling() else writer.close()
            running.discard(task)

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.gather(*running, return_exceptions=True)


def answer(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    """A whole answer."""
    lines = [b"HTTP/1.1 " + status, b"Content-Type: " + TAXII, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def says(*parts: bytes) -> Respond:
    """Writes the same at every request."""

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return respond


def shelf(pages: list[bytes], *headers: bytes) -> Respond:
    """Discovery, a root and a collection that can be read, whose pages follow one another; the last one stays."""
    given = list(pages)

    async def respond(head: bytes, writer: asyncio.StreamWriter) -> None:
        target = head.split()[1]
        if target == b"/taxii2/":
            body = b'{"title": "t", "api_roots": ["/root/"]}'
        elif target == b"/root/collections/":
            body = b'{"collections": [{"id": "c1", "alias": "feed", "can_read": true, "can_write": false}]}'
        else:
            writer.write(answer(given.pop(0) if len(given) > 1 else given[0], b"200 OK", *headers))
            return
        writer.write(answer(body))

    return respond


def at(url: str, tmp_path: Path, **more: Any) -> Peer:
    """A peer at this address."""
    (tmp_path / "secret").write_text("a secret of a peer")
    return Peer("peer", "labs", url, str(tmp_path / "secret"), **more)


def asking(peer: Peer, **caps: Any) -> TaxiiClient:
    """A client that does not wait between attempts."""
    return TaxiiClient(peer, Caps(**caps), _no_pause)


@pytest.mark.parametrize("username", ["acme", ""])
async def test_our_client_reads_and_writes_at_our_server(site: Any, peer: Peer, username: str) -> None:
    """Discovery, collections, every object over pages, adding and its status; with Basic and with a bearer token."""
    objects = [site.indicator(number) for number in range(1, 1251)]
    await site.share(*objects)
    client = asking(Peer(peer.name, peer.group, peer.url, peer.secret_file, username))
    (root,) = await client.roots()
    assert root.path == "/taxii2/labs/"
    feed, submit = await client.collections(root)
    assert (feed.id, feed.alias, feed.can_read, feed.can_write) == (site.group.feed_id, "feed", True, False)
    found: list[bytes] = []
    following = ""
    while True:
        page = await client.page(feed, following=following, limit=500)
        found += page.objects
        following = page.next
        if not page.more:
            break
    assert [orjson.loads(one) for one in found] == objects
    status = await client.add(submit, objects[:3])
    assert (status["success_count"], status["failure_count"]) == (3, 0)
    assert await client.status(root, status["id"]) == status
    with pytest.raises(PeerFault, match="answered 403"):
        await client.add(feed, objects[:1])
    assert await asking(Peer("a", "g", f"{site.root.rstrip('/')}/", peer.secret_file)).roots() == [root]


async def test_a_poller_goes_on_where_it_stopped(site: Any, peer: Peer) -> None:
    """Each poll takes what is new, also with another poller; a revoked version comes as a newer one."""
    polls, queue = Polls(site.state), ReceivedQueue(site.state)
    await site.share(*(site.indicator(number) for number in range(1, 2501)))
    (first,) = await Poller((), polls, queue).poll(peer)
    assert (first.objects, first.dropped, first.unfinished, first.fault) == (2500, 0, False, "")
    await site.share(site.indicator(1, "2026-11-22T00:00:00.000Z", revoked=True))
    (second,) = await Poller((), polls, queue).poll(peer)
    (third,) = await Poller((), polls, queue).poll(peer)
    assert (second.objects, third.objects) == (1, 0)
    (source,) = await queue.sources()
    assert (source.group, source.member, source.objects) == ("labs", "acme", 2501)
    poll = await polls.get("acme", site.group.feed_id)
    assert poll.objects == 2501
    listed = (await site.http.get("/v1/intel/peers", headers={"authorization": f"Bearer {site.token}"})).json()["peers"]
    assert [(one["peer"], one["collection"], one["objects"], one["fault"]) for one in listed] == [
        ("acme", "", 0, ""),
        ("acme", site.group.feed_id, 2501, ""),
    ]


async def test_a_full_queue_stops_a_poll_and_nothing_is_missed(site: Any, peer: Peer, monkeypatch: Any) -> None:
    """The place is not moved past what did not fit: when there is place again all of it comes."""
    monkeypatch.setattr("app.admin.routes_taxii.PAGE_BYTES", 30_000)  # some 80 objects
    objects = [site.indicator(number) for number in range(1, 301)]
    await site.share(*objects)
    polls, queue = Polls(site.state), ReceivedQueue(site.state, most=100)
    seen: dict[str, None] = {}
    for _ in range(20):
        (polled,) = await Poller((), polls, queue).poll(peer)
        waiting = await queue.read("labs", "acme", 1000)
        seen |= dict.fromkeys(orjson.loads(one.data)["id"] for one in waiting)
        await queue.done("labs", "acme", waiting[-1].entry_id)
        if not polled.fault:
            break
        assert polled.fault.startswith("its queue is full")
    assert list(seen) == [one["id"] for one in objects]


async def test_a_poller_runs_in_the_admin_process(site: Any, peer: Peer, admin_of: Any, tmp_path: Path) -> None:
    """With a file of peers an admin process reads them, one process at a time; what is shared is taken soon."""
    (tmp_path / "peers.toml").write_text(
        f'[[peer]]\nname = "hub"\ngroup = "labs"\nurl = "{peer.url}"\nsecret_file = "secret"\ninterval_sec = 5\n'
    )
    await site.share(site.indicator(1))
    async with admin_of(STILLWATCH_INTEL__PEERS_FILE=str(tmp_path / "peers.toml")):
        queue, polls = ReceivedQueue(site.state), Polls(site.state)

        async def read() -> list[tuple[str, int]]:
            return [(name, one.objects) for (name, collection), one in (await polls.all()).items() if collection]

        async with asyncio.timeout(20):
            while not await read():  # noqa: ASYNC110 - what was read may be digested before anybody sees it wait
                await asyncio.sleep(0.02)
        assert await read() == [("hub", 1)]
        standby = Polling(Poller([peer], Polls(site.state), queue))
        standby.start()
        await asyncio.sleep(0.2)
        await standby.stop()
        assert await read() == [("hub", 1)]
    with pytest.raises(ConfigError, match="peers_file: cannot be read"):
        async with admin_of(STILLWATCH_INTEL__PEERS_FILE=str(tmp_path / "none.toml")):
            pass


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ((b"",), "cannot be reached|broke the protocol"),
        ((b"\x16\x03\x01 this is no HTTP",), "broke the protocol"),
        ((b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * 300_000 + b"\r\n\r\n",), "broke the protocol|too large"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",), "broke the protocol"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",), "broke the protocol"),
        ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",), "broke the protocol"),
        ((answer(b"{}", b"200 OK", b"Content-Encoding: gzip"),), "compressed"),
        ((answer(b"x" * 200_000),), "larger than 100,000 bytes"),
        (
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n") * 1
            + (b"10000\r\n" + b"x" * 65536 + b"\r\n",) * 1000,
            "larger than 100,000 bytes",
        ),
        ((answer(b"not json"),), "no JSON"),
        ((answer(b"[]"),), "no JSON object"),
        ((answer(b"[" * 90_000),), "no JSON"),
        ((answer(b'{"api_roots": 5}'),), "no list of API roots"),
        ((answer(b'{"api_roots": [5]}'),), "no list of API roots"),
        ((answer(b'{"api_roots": [%s]}' % b",".join([b'"/a/"'] * 21)),), "more than 20"),
        ((answer(b'{"api_roots": ["https://evil.example/root/"]}'),), "on another host, which is not followed"),
        ((answer(b'{"api_roots": ["//evil.example/root/"]}'),), "another host|no address"),
        ((answer(b'{"api_roots": ["http://127.0.0.1:1/root/"]}'),), "on another host"),
        ((answer(b'{"api_roots": ["http://a:b@127.0.0.1/"]}'),), "no address"),
        ((answer(b'{"api_roots": ["/a b/\\r\\nX: y/"]}'),), "no address|cannot"),
        ((answer(b'{"api_roots": ["file:///etc/passwd"]}'),), "no address"),
        ((answer(b"{}", b"302 Found", b"Location: http://127.0.0.1:1/"),), "answered 302; a redirect is not followed"),
        ((answer(b"{}", b"401 Unauthorized"),), "answered 401$"),
        ((answer(b"{}", b"503 Service Unavailable", b"Retry-After: 999999"),), "answered 503$"),
        ((b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",), "not of the type"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",), "not of the type"),
    ],
    ids=range(26),
)
async def test_a_broken_server_is_a_fault_in_words(tmp_path: Path, sent: tuple[bytes, ...], why: str) -> None:
    """Whatever comes, it is one sentence of ours, without anything that the server sent and without our secret."""
    async with serving(says(*sent)) as (url, _):
        with pytest.raises(PeerFault, match=why) as caught:
            await asking(at(f"{url}/taxii2/", tmp_path), body_bytes=100_000).roots()
    assert "a secret" not in str(caught.value)
    assert "evil" not in str(caught.value)


async def test_a_redirect_is_not_followed_to_anywhere(tmp_path: Path) -> None:
    """The server that is named in it hears nothing, and so sees no credential."""
    async with serving(says(answer(b"{}"))) as (other, heads):
        redirect = answer(b"{}", b"307 Temporary Redirect", b"Location: " + other.encode() + b"/taxii2/")
        async with serving(says(redirect)) as (url, asked):
            with pytest.raises(PeerFault, match="a redirect is not followed"):
                await asking(at(f"{url}/taxii2/", tmp_path)).roots()
            assert len(asked) == 1
            assert b"Authorization: Bearer a secret of a peer\r\n" in asked[0]
        assert heads == []


async def test_a_server_that_drips_is_given_up(tmp_path: Path) -> None:
    """One deadline for the whole answer, whether the head or the body comes byte by byte."""

    def dripping(first: bytes) -> Respond:
        async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(first)
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

        return respond

    for first in (b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"):
        async with serving(dripping(first)) as (url, heads):
            began = time.monotonic()
            with pytest.raises(PeerFault, match="did not answer in time"):
                await asking(at(f"{url}/taxii2/", tmp_path), total_sec=0.2).roots()
            assert time.monotonic() - began < 30
            assert len(heads) == client_module.ATTEMPTS


async def test_attempts_are_repeated_with_growing_pauses(tmp_path: Path) -> None:
    """What may pass is asked for again, each time later, and not before the time that the server names, up to a bound."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    replies = [
        answer(b"", b"503 Service Unavailable"),
        answer(b"", b"429 Too Many Requests", b"Retry-After: 20"),
        answer(b"", b"429 Too Many Requests", b"Retry-After: 86400"),
        answer(b'{"title": "t", "versions": ["2.1"]}'),
    ]

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(replies.pop(0))

    async with serving(respond) as (url, _):
        client = TaxiiClient(at(f"{url}/taxii2", tmp_path), Caps(), pause)
        assert [root.path for root in await client.roots()] == ["/taxii2/"]
    assert 0.5 <= pauses[0] <= 1.0
    assert pauses[1:] == [20.0, client_module.MAX_WAIT_SEC]


LONG_AGO = b"X-TAXII-Date-Added-Last: 2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("page", "header", "fault"),
    [
        (b'{"more": true, "next": "1"}', b"A: b", "50 pages had no object"),
        (b'{"more": true}', b"A: b", "not how to get it"),
        (b'{"objects": 7}', b"A: b", "no list of objects"),
        (b'{"next": 7}', b"A: b", "no text"),
        (b'{"next": "%s"}' % (b"9" * 2000), b"A: b", "too long"),
        (b"{}", b"X-TAXII-Date-Added-Last: yesterday", "is no time"),
        (b"{}", b"X-TAXII-Date-Added-Last: 2200-01-01T00:00:00Z", "more than a day ahead"),
    ],
)
async def test_a_peer_that_lies_about_its_pages_is_noted(
    site: Any, tmp_path: Path, page: bytes, header: bytes, fault: str
) -> None:
    """The poll ends with a sentence and is not repeated at once; the place stays where it was."""
    polls, queue = Polls(site.state), ReceivedQueue(site.state)
    async with serving(shelf([page], header)) as (url, _):
        (polled,) = await Poller((), polls, queue, asking).poll(at(f"{url}/taxii2/", tmp_path))
    assert fault in polled.fault
    assert not polled.unfinished
    poll = await polls.get("peer", "c1")
    assert (poll.added_after, poll.fault) == ("", polled.fault)


async def test_a_page_that_comes_for_ever_is_not_read_for_ever(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same page with the same date, and always more: after a bound the poll ends, and does not go on at once."""
    monkeypatch.setattr(poller, "MAX_PAGES", 10)
    page = orjson.dumps({"more": True, "next": "1", "objects": [site.indicator(1)]})
    polls = Polls(site.state)
    async with serving(shelf([page], LONG_AGO)) as (url, heads):
        peer = at(f"{url}/taxii2/", tmp_path)
        first = (await Poller((), polls, ReceivedQueue(site.state), asking).poll(peer))[0]
        second = (await Poller((), polls, ReceivedQueue(site.state), asking).poll(peer))[0]
        assert len(heads) == 2 * (2 + 10)
    assert (first.objects, first.unfinished, second.unfinished) == (10, True, False)
    assert (await polls.get("peer", "c1")).added_after == "2025-12-31T23:59:59.999999Z"


async def test_what_is_no_object_is_dropped_and_the_rest_is_taken(site: Any, tmp_path: Path) -> None:
    """Entries without a well-formed id, too large or too deep are counted; objects of other versions come through."""
    good = [site.indicator(1), {**site.indicator(2), "spec_version": "2.2", "x_new": {}}, site.indicator(3, "bad time")]
    bad = [
        7,
        {},
        {"id": "indicator--x", "type": "indicator"},
        {**site.indicator(4), "type": "malware"},
        {**site.indicator(5), "description": "x" * 70_000},
        {**site.indicator(6), "x": json.loads("[" * 30 + "]" * 30)},
        {**site.indicator(7), "x": json.loads("[" * 400 + "]" * 400)},
    ]
    page = json.dumps({"objects": [bad[0], *good, *bad[1:]]}).encode()
    queue = ReceivedQueue(site.state)
    async with serving(shelf([page], LONG_AGO)) as (url, heads):
        (polled,) = await Poller((), Polls(site.state), queue, asking).poll(at(f"{url}/taxii2/", tmp_path))
        assert (polled.objects, polled.dropped, polled.fault) == (3, 7, "")
        assert [orjson.loads(one.data) for one in await queue.read("labs", "peer")] == good
        await Poller((), Polls(site.state), queue, asking).poll(at(f"{url}/taxii2/", tmp_path))
    assert b"added_after=2026-01-01T00%3A00%3A00.000000Z" in heads[-1]


async def test_without_next_the_last_date_leads_on(site: Any, tmp_path: Path) -> None:
    """A server that says more and gives no next is asked for what came after the last date, as the standard has it."""
    pages = [orjson.dumps({"more": True, "objects": [site.indicator(1)]}), orjson.dumps({"objects": [site.indicator(2)]})]
    async with serving(shelf(pages, LONG_AGO)) as (url, heads):
        (polled,) = await Poller((), Polls(site.state), ReceivedQueue(site.state), asking).poll(
            at(f"{url}/taxii2/", tmp_path)
        )
    assert (polled.objects, polled.fault) == (2, "")
    assert b"added_after=2026-01-01T00%3A00%3A00.000000Z" in heads[-1]


async def test_only_the_chosen_collections_are_read(site: Any, tmp_path: Path) -> None:
    """By id or alias; where none of them can be read, that is what is noted."""
    queue = ReceivedQueue(site.state)
    async with serving(shelf([orjson.dumps({"objects": [site.indicator(1)]})])) as (url, _):
        for chosen, found in ((("feed",), 1), (("c1",), 1), (("other",), 0)):
            peer = at(f"{url}/taxii2/", tmp_path, collections=chosen)
            polled = await Poller((), Polls(site.state), queue, asking).poll(peer)
            assert sum(one.objects for one in polled) == found
    assert polled[0].fault == "there is no collection that can be read"


async def test_one_peers_oddity_does_not_end_the_others(site: Any, peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that nobody foresaw is logged by its class, and the next peer is polled all the same."""
    await site.share(site.indicator(1))

    def client(of: Peer) -> TaxiiClient:
        if of.name == "peer":
            raise RuntimeError("words of a peer")
        return TaxiiClient(of)

    queue = ReceivedQueue(site.state)
    odd = Peer("peer", "labs", "http://127.0.0.1:1/", "")
    polling = Polling(Poller([odd, peer], Polls(site.state), queue, client))
    caplog.set_level(logging.WARNING)
    polling.start()
    async with asyncio.timeout(20):
        while not await queue.sources():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await polling.stop()
    assert "RuntimeError in the poll" in caplog.text
    assert "words of a peer" not in caplog.text


async def test_a_fault_that_lasts_is_logged_once(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A peer that is away for many polls is one line, and one more when it is read again."""
    caplog.set_level(logging.WARNING)
    replies = [answer(b"{}", b"401 Unauthorized")] * 3

    async def respond(head: bytes, writer: asyncio.StreamWriter) -> None:
        if replies:
            writer.write(replies.pop())
        else:
            await shelf([b"{}"])(head, writer)

    async with serving(respond) as (url, _):
        peer = at(f"{url}/taxii2/", tmp_path, interval_sec=0)
        polling = Polling(Poller([peer], Polls(site.state), ReceivedQueue(site.state), asking))
        polling.start()
        async with asyncio.timeout(20):
            while "is read again" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await polling.stop()
    assert [one.getMessage() for one in caplog.records if one.name == poller.__name__] == [
        "peer peer: the peer's server answered 401",
        "peer peer: is read again",
    ]


async def test_a_certificate_is_checked(tmp_path: Path) -> None:
    """A server behind TLS is asked when its certificate is in the peer's file, and refused when nobody vouches for it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    making = await asyncio.create_subprocess_exec(
        *command, "-keyout", "key.pem", "-out", "cert.pem", cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    assert await making.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(b'{"versions": []}'))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/taxii2/"
    try:
        trusted = asking(at(url, tmp_path, ca_file=str(tmp_path / "cert.pem")))
        assert [root.path for root in await trusted.roots()] == ["/taxii2/"]
        with pytest.raises(PeerFault, match="certificate of the peer's server is not one that is trusted"):
            await asking(at(url, tmp_path)).roots()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "is no TOML"),
        ("\n=", r"is no TOML \(line 2\)"),
        ("a = 1", "must hold tables"),
        ("peer = 1", "must hold tables"),
        ("[[peer]]", "peer 1: name must be given"),
        ('[[peer]]\nname = "A"\ngroup = "g"\nurl = "https://a/"\nsecret_file = "s"', "name must be 1 to 64"),
        ('[[peer]]\nname = "a"\ngroup = "{g}"\nurl = "https://a/"\nsecret_file = "s"', "group must be"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "http://a/"\nsecret_file = "s"', "url must be https://, except"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://u:p@a/"\nsecret_file = "s"', "url must not hold credentials"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "ftp://a/"\nsecret_file = "s"', "url must be an address"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://a:x/"\nsecret_file = "s"', "url must be an address"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://a/"\nsecret_file = "s"\nca_file = "no"', "ca_file must be"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://a/"\nsecret_file = "s"\nusername = "a:b"', "username must"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://a/"\nsecret_file = "s"\ncollections = [1]', "collections"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://a/"\nsecret_file = "s"\ninterval_sec = 1', "interval_sec"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://a/"\nsecret_file = "s"\ninterval_sec = true', "interval_sec"),
        ('[[peer]]\nname = "a"\npassword = "p"', "has a field that is none of"),
        ('[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://a/"\nsecret_file = "s"\n' * 2, "the same name"),
    ],
)
def test_a_file_of_peers_that_does_not_fit_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """The message names the peer, the field and the rule."""
    (tmp_path / "peers.toml").write_text(text)
    with pytest.raises(ConfigError, match=why):
        load(tmp_path / "peers.toml")


def test_a_file_of_peers_is_read_with_its_secrets_beside_it(tmp_path: Path) -> None:
    """Paths are those of the file's folder; a secret is read when it is asked for, and is none with a second line."""
    (tmp_path / "peers.toml").write_text(
        '[[peer]]\nname = "a"\ngroup = "g"\nurl = "https://taxii.example:8443/taxii2/"\nsecret_file = "s"\n'
        'username = "us"\ncollections = ["feed"]\ninterval_sec = 30\n'
    )
    (peer,) = load(tmp_path / "peers.toml")
    assert (peer.username, peer.collections, peer.interval_sec, peer.ca_file) == ("us", ("feed",), 30, "")
    with pytest.raises(ConfigError, match="secret_file cannot be read"):
        peer.secret()
    (tmp_path / "s").write_text("secret\n")
    assert peer.secret() == "secret"
    (tmp_path / "s").write_text("sec\nret\n")
    with pytest.raises(ConfigError, match="must hold one line"):
        peer.secret()
    assert http.parse_url(peer.url)[0].header == "taxii.example:8443"
    assert http.parse_url("https://[2001:db8::1]/x?y=1") == (http.Origin(True, "2001:db8::1", 443), "/x?y=1")


async def test_what_goes_between_providers_is_counted(site: Any, peer: Peer) -> None:
    """Objects taken, refused, served and polled, and polls by result, as the metrics of the process tell them."""

    async def told() -> dict[str, float]:
        lines = (await site.http.get("/metrics")).text.splitlines()
        found = [line.rsplit(" ", 1) for line in lines if line.startswith(("stillwatch_shared", "stillwatch_peer"))]
        return {name: float(value) for name, value in found if "_created" not in name}

    before = await told()
    await site.share(site.indicator(1), site.indicator(2))
    body = orjson.dumps({"objects": [site.indicator(3), {**site.indicator(4), "spec_version": "2.0"}]})
    await site.ask("POST", "/taxii2/labs/collections/submit/objects/", site.acme, content=body)
    await Poller((), Polls(site.state), ReceivedQueue(site.state)).poll(peer)
    after = await told()
    grown = {name.split('"')[1]: after[name] - before[name] for name in after if after[name] != before[name]}
    assert grown == {"taken": 1, "refused": 1, "served": 2, "polled": 2, "read": 2}
