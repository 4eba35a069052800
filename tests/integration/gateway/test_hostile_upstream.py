"""What a broken or hostile upstream can send: the client gets a valid answer, an error event, or a visible cut, in time."""

from __future__ import annotations

import logging
import re
import socketserver
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

Pieces = Sequence[bytes | float]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A correct answer with a length."""
    head = [b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


class Scripted(socketserver.ThreadingTCPServer):
    """Answers each request with the pieces that its X-Case header names, then closes unless told to stay."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Script)
        self.requests: list[tuple[str, int]] = []  # case, request number on its connection
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Script(socketserver.StreamRequestHandler):
    server: Scripted

    def handle(self) -> None:
        number = 0
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            if found := re.search(rb"content-length: (\d+)", head):
                self.rfile.read(int(found[1]))
            named = re.search(rb"x-case: (\w+)", head)
            name = named[1].decode() if named else ""
            number += 1
            self.server.requests.append((name, number))
            pieces = KEPT[name][min(number, len(KEPT[name])) - 1] if name in KEPT else CASES[name][0]
            try:
                for piece in pieces:
                    if isinstance(piece, bytes):
                        self.wfile.write(piece)
                    else:
                        time.sleep(piece)
            except OSError:
                return
            if name not in KEPT or not pieces:
                return


CASES: dict[str, tuple[Pieces, int]] = {
    # No answer at all, or none that is HTTP: our 502
    "closes_at_once": ([], 502),
    "says_nothing": ([3.0], 504),
    "half_a_head": ([OK], 502),
    "head_then_silence": ([OK, 3.0], 504),
    "no_http": ([b"hello, I am a model\r\n\r\n"], 502),
    "unknown_version": ([b"HTTP/9.9 200 OK\r\n\r\n"], 502),
    "status_no_number": ([b"HTTP/1.1 abc OK\r\n\r\n"], 502),
    "status_too_large": ([b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"], 502),
    "status_too_small": ([b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"], 502),
    "status_four_digits": ([b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"], 502),
    "split_by_carriage_return": ([whole(b"{}", b"X-A: a\rSet-Cookie: b=c")], 502),
    "split_by_folding": ([whole(b"{}", b"X-A: a\r\n Set-Cookie: b=c")], 502),
    "nul_in_header": ([whole(b"{}", b"X-A: a\x00b")], 502),
    "control_character_in_header": ([whole(b"{}", b"X-A: a\x08b")], 502),
    "space_in_header_name": ([whole(b"{}", b"X A: b")], 502),
    "two_lengths": ([whole(b"{}", b"Content-Length: 3")], 502),
    "length_and_chunked": ([whole(b"{}", b"Transfer-Encoding: chunked")], 502),
    "length_no_number": ([OK + b"Content-Length: two\r\n\r\n{}"], 502),
    "upgrade_nobody_asked_for": ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], 502),
    "huge_head": ([OK + b"X-A: " + b"a" * 400_000 + b"\r\n\r\n"], 502),
    "head_without_end": ([OK, *[b"X-A: " + b"a" * 8000 + b"\r\n"] * 80], 502),
    "endless_informational_answers": ([b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 9000], 502),
    "short_body_cut": ([OK + b"Content-Length: 100\r\n\r\n{", 0.05], 502),
    # Odd but whole: passed on
    "early_hints": ([b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0.02, whole(b'{"a":1}')], 200),
    "continue": ([b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b'{"a":1}')], 200),
    "ends_with_the_connection": ([OK + b"\r\n" + b'{"a":1}'], 200),
    "http_1_0": ([b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + b'{"a":1}'], 200),
    "body_longer_than_declared": ([whole(b'{"a":1}') + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX"], 200),
    "noise_behind_the_body": ([whole(b'{"a":1}') + b"\x00\x01\x02"], 200),
    "redirect": ([whole(b"{}", b"Location: http://127.0.0.1:1/elsewhere", status=b"302 Found")], 302),
    "not_modified_with_length": ([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"], 304),
    "no_content_with_length": ([b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n"], 204),
    "listed_header": ([whole(b'{"a":1}', b"Connection: X-Hop", b"X-Hop: 1", b"Keep-Alive: timeout=1")], 200),
    "its_own_error": ([whole(b'{"error":{"message":"no","type":"server_error"}}', status=b"500 Oops")], 500),
    "trailers": ([OK + b"Trailer: X-Late\r\n" + CHUNKED + chunk(b'{"a":1}') + b"0\r\nX-Late: 1\r\n\r\n"], 200),
}

KEPT: dict[str, Sequence[Pieces]] = {
    # By request number on the connection. An empty one closes without an answer.
    "closes_when_idle": ([whole(b'{"n":1}')], []),
    "answers_twice": ([whole(b'{"n":1}'), 0.05, whole(b'{"n":"stolen"}')], [whole(b'{"n":2}')]),
}

CUTS: dict[str, Pieces] = {
    "long_body": [OK + b"Content-Length: 100000\r\n\r\n" + b" " * 80_000],
    "chunks": [OK + CHUNKED + chunk(b'{"a":')],
    "chunks_with_nonsense": [OK + CHUNKED + chunk(b'{"a":') + b"zz\r\n"],
}

STREAM_CUTS: dict[str, Pieces] = {
    "stream_cut": [SSE + CHUNKED + chunk(EVENT) + chunk(EVENT), 0.05],
    "stream_cut_inside_an_event": [SSE + CHUNKED + chunk(EVENT) + chunk(EVENT[:20]), 0.05],
    "stream_cut_inside_a_chunk": [SSE + CHUNKED + chunk(EVENT) + chunk(EVENT)[:20], 0.05],
    "stream_with_nonsense": [SSE + CHUNKED + chunk(EVENT) + b"zz\r\n", 0.05],
    "stream_without_frame_or_end": [SSE + b"\r\n" + EVENT + EVENT],
    "stream_with_length_cut": [SSE + b"Content-Length: 5000\r\n\r\n" + EVENT, 0.05],
    "stream_goes_silent": [SSE + CHUNKED + chunk(EVENT), 3.0],
}

for _name, _pieces in (CUTS | STREAM_CUTS).items():
    CASES[_name] = (_pieces, 0)
CASES["stream_ends_with_the_connection"] = ([SSE + b"\r\n" + EVENT + b"data: [DONE]\n\n"], 200)


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    """The scripted upstream."""
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def fronted(rig: Any, scripted: Scripted) -> Any:
    """A gateway in front of it that loses patience soon."""
    return rig.gateway(upstream=scripted.url, sections={"gateway": {"upstream_read_timeout_sec": 0.4}})


def ask(key: str, case: str, *, path: bytes = b"/v1/chat/completions", stream: bool = False) -> bytes:
    """A chat request that names its case."""
    body = b'{"model":"m","stream":%b,"messages":[]}' % (b"true" if stream else b"false")
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nX-Case: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (path, key.encode(), case.encode(), len(body)) + body


@pytest.mark.parametrize("name", [name for name, (_, status) in CASES.items() if status])
def test_odd_answer_becomes_a_valid_one(name: str, fronted: Any, raw: Any, key: str, scripted: Scripted) -> None:
    """Whatever the upstream sends, the client gets one valid answer, in time, and nothing that was smuggled into it."""
    status = CASES[name][1]
    wire = raw(fronted.url, ask(key, name))
    assert wire.reply.status == status
    assert wire.seconds < 2.0
    names = {header for header, _ in wire.reply.headers}
    assert not {"set-cookie", "x-hop", "keep-alive", "link", "x-late", "trailer"} & names
    if status in (502, 504):
        assert wire.reply.json["error"]["type"] == "server_error"
        assert not wire.closed
    if status == 200 and "stream" not in name:
        assert wire.reply.body == b'{"a":1}'
    assert [case for case, _ in scripted.requests].count(name) == 1
    (event,) = fronted.events.of(fronted.key_id(key))
    assert event.status == status
    assert event.outcome == ("complete" if status < 500 else "upstream_error")


@pytest.mark.parametrize("name", CUTS)
def test_cut_answer_looks_cut(name: str, fronted: Any, raw: Any, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that breaks off after its head ends in a closed connection, not in a complete answer, nor in a log line."""
    wire = raw(fronted.url, ask(key, name))
    assert wire.closed
    assert wire.raw.startswith(b"HTTP/1.1 200")
    with pytest.raises((AssertionError, ValueError)):
        _ = wire.replies
    (event,) = fronted.events.of(fronted.key_id(key))
    assert (event.status, event.outcome, event.error) == (200, "upstream_cut", "upstream_cut")
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


@pytest.mark.parametrize(
    ("path", "mark"),
    [
        (b"/v1/chat/completions", b'data: {"error":'),
        (b"/v1/responses", b"event: error\ndata: "),
        (b"/v1/messages", b"event: error\ndata: "),
    ],
)
@pytest.mark.parametrize("name", STREAM_CUTS)
def test_cut_stream_ends_in_an_error_event(name: str, path: bytes, mark: bytes, fronted: Any, raw: Any, key: str) -> None:
    """A stream that breaks off ends in the dialect's error event, on a line of its own, and is logged as cut."""
    reply = raw(fronted.url, ask(key, name, path=path, stream=True)).reply
    assert reply.body.startswith(EVENT)
    last = reply.body.rstrip().rsplit(b"\n\n", 1)[1]
    assert last.startswith(mark)
    assert reply.body.endswith(b"\n\n")
    assert b"[DONE]" not in reply.body
    (event,) = fronted.events.of(fronted.key_id(key))
    assert (event.status, event.outcome, event.error) == (200, "upstream_cut", "upstream_cut")


def test_closed_idle_connection_is_not_noticed_by_the_client(rig: Any, raw: Any, key: str, scripted: Scripted) -> None:
    """A kept connection that the upstream closes on the next request costs a second try, not an error."""
    first = ask(key, "closes_when_idle")
    wire = raw(rig.gateway(upstream=scripted.url).url, [first, 0.1, first], replies=2)
    assert [reply.json for reply in wire.replies] == [{"n": 1}, {"n": 1}]
    assert [number for case, number in scripted.requests if case == "closes_when_idle"] == [1, 2, 1]


def test_answer_that_nobody_asked_for_is_given_to_nobody(rig: Any, raw: Any, key: str, scripted: Scripted) -> None:
    """Bytes on an idle connection are never the answer to the next request."""
    first = ask(key, "answers_twice")
    wire = raw(rig.gateway(upstream=scripted.url).url, [first, 0.2, first], replies=2)
    assert [reply.json for reply in wire.replies] == [{"n": 1}, {"n": 1}]


def test_unreachable_upstream_is_our_502(rig: Any, raw: Any, key: str) -> None:
    """An upstream that refuses connections gets the client a 502 in its dialect, at once."""
    lonely = rig.gateway(upstream="http://127.0.0.1:1")
    wire = raw(lonely.url, ask(key, "", path=b"/v1/messages"))
    assert wire.reply.status == 502
    assert wire.reply.json["type"] == "error"
    assert wire.reply.json["error"]["type"] == "api_error"
    assert wire.seconds < 1.0


def test_all_connections_in_use_is_our_503(rig: Any, raw: Any, key: str, scripted: Scripted) -> None:
    """When every allowed connection stays busy for the connect timeout, the client hears that we are busy."""
    sections = {"gateway": {"upstream_max_connections": 1, "upstream_connect_timeout_sec": 0.2}}
    narrow = rig.gateway(upstream=scripted.url, sections=sections)
    busy = threading.Thread(target=raw, args=(narrow.url, ask(key, "says_nothing")), kwargs={"timeout_sec": 0.8})
    busy.start()
    time.sleep(0.1)
    assert raw(narrow.url, ask(key, "early_hints")).reply.status == 503
    busy.join()
    assert raw(narrow.url, ask(key, "early_hints")).reply.status == 200
