"""What a client can send over a raw socket: every case is refused in time, and the upstream never hears of it."""

from __future__ import annotations

import gzip
import logging
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

Pieces = bytes | Sequence[bytes | float]

LIMITS = {
    "header_timeout_sec": 0.4,
    "body_timeout_sec": 0.4,
    "max_header_count": 50,
    "max_header_bytes": 8192,
    "max_body_bytes": 65_536,
    "max_json_depth": 16,
    "allowed_hosts": ("gw.test", "127.0.0.1"),
}

GOOD = b'{"model":"still-small-2","messages":[{"role":"user","content":"canary-7f3a"}],"max_tokens":4}'


def request(
    body: bytes = GOOD,
    *extra: bytes,
    method: bytes = b"POST",
    target: bytes = b"/v1/chat/completions",
    host: bytes | None = b"gw.test",
    version: bytes = b"HTTP/1.1",
    length: bytes | None = b"auto",
    end: bytes = b"\r\n",
) -> bytes:
    """A request, correct but for what the case changes."""
    lines = [method + b" " + target + b" " + version]
    lines += [b"Host: " + host] if host is not None else []
    lines += [b"Authorization: Bearer sk-hostile", *extra]
    if length is not None:
        lines.append(b"Content-Length: " + (b"%d" % len(body) if length == b"auto" else length))
    return end.join(lines) + end + end + body


def get(*extra: bytes, **changes: Any) -> bytes:
    """A GET of the models, correct but for what the case changes."""
    return request(b"", *extra, **{"method": b"GET", "target": b"/v1/models", "length": None, **changes})


def chunked(*chunks: bytes, extra: Sequence[bytes] = ()) -> bytes:
    """A chunked request whose chunk lines are as given."""
    return request(b"", b"Transfer-Encoding: chunked", *extra, length=None) + b"".join(chunks)


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    """A body that nests `depth` levels inside its outermost object."""
    return b'{"model":"m","x":' + opening * depth + b"1" + closing * depth + b"}"


CASES: dict[str, tuple[Pieces, set[int]]] = {
    # Slow
    "nothing_at_all": ([1.0], {408}),
    "head_drip": ([piece for byte in get()[:12] for piece in (bytes([byte]), 0.05)], {408}),
    "head_then_silence": ([get()[:-2], 1.0], {408}),
    "line_ends_only": ([piece for _ in range(12) for piece in (b"\r\n", 0.05)], {408}),
    "body_drip": ([request(length=b"500")[: -len(GOOD)]] + [x for _ in range(20) for x in (b" ", 0.05)], {408}),
    "body_then_silence": ([request(length=b"500"), 1.0], {408}),
    "chunk_then_silence": ([chunked(b'5\r\n{"mod'), 1.0], {408}),
    "trailers_without_end": (
        [chunked(b"%x\r\n%b\r\n0\r\n" % (len(GOOD), GOOD))] + [x for _ in range(20) for x in (b"X-T: 1\r\n", 0.05)],
        {408},
    ),
    # Large
    "too_many_headers": (get(*[b"X-A: 1"] * 60), {431}),
    "one_large_header": (get(b"X-A: " + b"a" * 9000), {431}),
    "many_headers_together_too_large": (get(*[b"X-A: " + b"a" * 400] * 30), {431}),
    "large_head_without_end": ([b"GET / HTTP/1.1\r\nX-A: " + b"a" * 100_000, 0.3], {431}),
    "large_head_in_pieces_without_end": ([b"GET / HTTP/1.1\r\nX: 1\r\n", 0.05, b"X-A: " + b"a" * 12_000, 0.3], {431}),
    "huge_target": (get(target=b"/v1/models?" + b"a" * 9000), {431}),
    "huge_target_without_end": ([b"GET /" + b"a" * 300_000, 0.3], {431, 400}),
    "body_declared_too_large": (request(b"", length=b"70000"), {413}),
    "body_grows_too_large": (
        chunked(b"10000\r\n" + b" " * 65_536 + b"\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        {413},
    ),
    "length_beyond_any_number": (request(length=b"9" * 30), {400, 413}),
    # Framing
    "length_and_chunked": (request(b"0\r\n\r\n", b"Transfer-Encoding: chunked", length=b"5"), {400}),
    "two_lengths": (request(GOOD, b"Content-Length: 1"), {400}),
    "two_equal_lengths": (request(GOOD, b"Content-Length: %d" % len(GOOD)), {400}),
    "length_with_sign": (request(length=b"+5"), {400}),
    "length_negative": (request(length=b"-5"), {400}),
    "length_hexadecimal": (request(length=b"0x5"), {400}),
    "length_list": (request(length=b"5, 5"), {400}),
    "length_with_space_inside": (request(length=b"5 5"), {400}),
    "unknown_transfer_coding": (request(b"", b"Transfer-Encoding: xchunked", length=None), {400}),
    "chunked_not_last": (request(b"", b"Transfer-Encoding: chunked, identity", length=None), {400}),
    "chunked_twice": (
        request(b"0\r\n\r\n", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", length=None),
        {400},
    ),
    "chunk_size_no_number": (chunked(b"zz\r\n"), {400}),
    "chunk_size_negative": (chunked(b"-5\r\nhello\r\n"), {400}),
    "chunk_size_overflows": (chunked(b"FFFFFFFFFFFFFFFFF\r\n"), {400}),
    "chunk_without_end": (chunked(b"5\r\nhelloXX\r\n0\r\n\r\n"), {400}),
    "chunk_size_with_bare_line_feed": (chunked(b"5\nhello\r\n0\r\n\r\n"), {400}),
    "bare_line_feeds": (request(end=b"\n"), {400}),
    "bare_carriage_return": (get(b"X-A: 1\rX-B: 2"), {400}),
    "folded_header": (get(b"X-A: 1\r\n 2"), {400}),
    "space_before_colon": (get(b"X-A : 1"), {400}),
    "space_before_first_header": (b"GET / HTTP/1.1\r\n Host: gw.test\r\n\r\n", {400}),
    "nul_in_value": (get(b"X-A: 1\x002"), {400}),
    "nul_in_name": (get(b"X\x00A: 1"), {400}),
    "control_character_in_value": (get(b"X-A: 1\x0b2"), {400}),
    "header_without_colon": (get(b"X-A"), {400}),
    "header_without_name": (get(b": 1"), {400}),
    "http_0_9": (b"GET /v1/models\r\n\r\n", {400}),
    "http_2_preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "unknown_version": (get(version=b"HTTP/3.7"), {400}),
    "no_version": (get(version=b"FTP"), {400}),
    "tls_client_hello": (bytes.fromhex("16030100a5010000a10303") + bytes(160), {400}),
    "noise": (bytes(range(256)) * 4, {400}),
    # Host
    "host_missing": (get(host=None), {400}),
    "host_missing_http_1_0": (get(host=None, version=b"HTTP/1.0"), {400}),
    "host_twice": (get(b"Host: gw.test"), {400}),
    "host_empty": (get(host=b""), {400}),
    "host_with_space": (get(host=b"gw.test evil"), {400}),
    "host_with_path": (get(host=b"gw.test/evil"), {400}),
    "host_with_user": (get(host=b"gw.test@evil"), {400}),
    "host_with_huge_port": (get(host=b"gw.test:999999999"), {400}),
    "host_not_served": (get(host=b"evil.test"), {400}),
    "host_only_ends_like_ours": (get(host=b"evilgw.test"), {400}),
    "target_absolute_host_not_served": (get(target=b"http://gw.test/v1/models", host=b"evil.test"), {400}),
    # Methods, targets, upgrades
    "trace": (get(method=b"TRACE"), {405}),
    "connect": (get(method=b"CONNECT", target=b"evil.test:443"), {400, 405}),
    "unknown_method": (get(method=b"FROBNICATE"), {400, 405}),
    "webdav_method": (get(method=b"PROPFIND"), {405}),
    "lower_case_method": (get(method=b"get"), {400, 405}),
    "asterisk": (get(method=b"OPTIONS", target=b"*"), {400}),
    "no_leading_slash": (get(target=b"v1/models"), {400}),
    "dot_segments": (get(target=b"/v1/../admin"), {400}),
    "dot_segment_single": (get(target=b"/v1/./models"), {400}),
    "dot_segments_encoded": (get(target=b"/v1/%2e%2e/admin"), {400}),
    "dot_segments_half_encoded": (get(target=b"/v1/.%2E/admin"), {400}),
    "dot_segments_with_encoded_slash": (get(target=b"/v1/..%2fadmin"), {400}),
    "dot_segments_with_backslash": (get(target=b"/v1/..%5cadmin"), {400}),
    "dot_segment_at_the_end": (get(target=b"/v1/.."), {400}),
    "bytes_above_ascii_in_target": (get(target=b"/v1/mod\xe9ls"), {400}),
    "nul_in_target": (get(target=b"/v1/mod\x00els"), {400}),
    "web_socket": (
        get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: AAAA", b"Sec-WebSocket-Version: 13"),
        {400},
    ),
    "h2c": (request(GOOD, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), {400}),
    # Bodies
    "empty_body": (request(b""), {400}),
    "no_body_declared": (request(b"", length=None), {400}),
    "array": (request(b"[1]"), {400}),
    "string": (request(b'"hi"'), {400}),
    "null": (request(b"null"), {400}),
    "number": (request(b"1"), {400}),
    "no_json": (request(b"model=still-small-2", b"Content-Type: application/x-www-form-urlencoded"), {400}),
    "form": (
        request(
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--',
            b"Content-Type: multipart/form-data; boundary=x",
        ),
        {400},
    ),
    "two_objects": (request(GOOD + GOOD), {400}),
    "bytes_behind_the_object": (request(GOOD + b"x"), {400}),
    "comment": (request(b'{"model":"m" /* no */}'), {400}),
    "single_quotes": (request(b"{'model':'m'}"), {400}),
    "trailing_comma": (request(b'{"model":"m",}'), {400}),
    "deep_arrays": (request(nested(b"[", b"]", 20)), {400}),
    "deep_objects": (request(nested(b'{"a":', b"}", 20)), {400}),
    "very_deep_arrays": (request(b'{"x":' + b"[" * 60_000), {400}),
    "very_deep_closed_arrays": (request(nested(b"[", b"]", 30_000)), {400}),
    "key_twice": (request(b'{"model":"a","model":"b"}'), {400}),
    "key_twice_inside": (request(b'{"model":"m","x":[{"a":1,"b":2,"a":3}]}'), {400}),
    "key_twice_escaped": (request(b'{"model":"a","mode\\u006c":"b"}'), {400}),
    "key_twice_with_space": (request(b'{"model" :"a","model"\t:"b"}'), {400}),
    "nan": (request(b'{"model":"m","temperature":NaN}'), {400}),
    "infinity": (request(b'{"model":"m","temperature":-Infinity}'), {400}),
    "number_overflows": (request(b'{"model":"m","temperature":1e999}'), {400}),
    "lone_surrogate": (request(b'{"model":"m","x":"\\ud800"}'), {400}),
    "lone_low_surrogate": (request(b'{"model":"m","x":"\\udc00"}'), {400}),
    "invalid_utf8": (request(b'{"model":"\xff\xfe"}'), {400}),
    "utf8_surrogate_bytes": (request(b'{"model":"\xed\xa0\x80"}'), {400}),
    "overlong_utf8": (request(b'{"model":"\xc0\xaf"}'), {400}),
    "byte_order_mark": (request(b"\xef\xbb\xbf" + GOOD), {400}),
    "utf16": (request(GOOD.decode().encode("utf-16"), b"Content-Type: application/json; charset=utf-16"), {400}),
    "control_character_in_string": (request(b'{"model":"a\x01b"}'), {400}),
    "nul_behind_the_object": (request(GOOD + b"\x00"), {400}),
    "gzip": (request(gzip.compress(GOOD), b"Content-Encoding: gzip"), {415}),
    "zstd": (request(GOOD, b"Content-Encoding: zstd"), {415}),
    "two_codings": (request(GOOD, b"Content-Encoding: identity, br"), {415}),
    "gzip_under_a_second_name": (request(GOOD, b"Content-Encoding: identity", b"Content-Encoding: deflate"), {415}),
    # Credentials
    "two_bearers": (request(GOOD, b"Authorization: Bearer sk-other"), {400}),
    "two_api_keys": (request(GOOD, b"X-Api-Key: a", b"X-Api-Key: b"), {400}),
    "credential_too_long": (
        request(GOOD, host=b"gw.test").replace(b"sk-hostile", b"k" * 4500),
        {401},
    ),
}


@pytest.fixture(scope="session")
def strict(rig: Any) -> Any:
    """A gateway with small limits."""
    return rig.gateway(sections={"gateway": LIMITS})


@pytest.mark.parametrize("name", CASES)
def test_hostile_request_is_refused_in_time(
    name: str, strict: Any, raw: Any, rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A hostile request gets our 4xx in time, in the form of an API error; neither upstream nor log hears of it."""
    pieces, expected = CASES[name]
    before = rig.api.served
    wire = raw(strict.url, pieces)
    assert wire.reply.status in expected
    assert wire.seconds < 2.0
    assert rig.api.served == before
    assert set(wire.reply.json["error"]) == {"message", "type", "param", "code"}
    assert b"sk-hostile" not in wire.raw
    assert b"canary-7f3a" not in wire.raw
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


def test_bad_chunk_behind_a_running_answer_ends_the_connection(strict: Any, raw: Any) -> None:
    """Nonsense behind a request that is being answered closes the connection; nothing is mixed into the answer."""
    slow = request(GOOD.replace(b'"max_tokens":4', b'"stream":true'), b"X-Sim-Chunk-Delay-Ms: 40")
    wire = raw(strict.url, [slow, 0.1, b"\x00\x01\x02 no HTTP\r\n\r\n"])
    assert wire.closed
    assert wire.raw.count(b"HTTP/1.1") == 1
    assert b"[DONE]" not in wire.raw


def test_many_connections_that_say_nothing_are_closed(strict: Any) -> None:
    """A hundred silent connections are all closed by the deadline, and a good request passes meanwhile."""
    address = urlsplit(strict.url)
    silent = [socket.create_connection((address.hostname, address.port), timeout=2) for _ in range(100)]
    with socket.create_connection((address.hostname, address.port), timeout=2) as good:
        good.sendall(get())
        assert good.recv(65536).startswith(b"HTTP/1.1 200")
    for sock in silent:
        assert sock.recv(65536).startswith(b"HTTP/1.1 408")
        sock.close()
