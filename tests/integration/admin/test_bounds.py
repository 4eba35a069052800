"""What strangers and slips may send: bounded in size and time, answered with a problem, never a fault and never a hang."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.admin.api import MAX_BODY_BYTES, MAX_IMPORT_BYTES

KEY = "0123456789abcdef" * 2
PUT = f"/v1/accounts/{KEY}"


class Wire:
    """One raw connection to the admin port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Sends bytes; a server that has hung up is fine, it has answered."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """(status, headers, body) of the next answer."""
        async with asyncio.timeout(10):
            head = await self._reader.readuntil(b"\r\n\r\n")
            status, *lines = head[:-4].split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines)
            body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
        return int(status.split()[1]), headers, body

    async def closed(self) -> bool:
        """The server closes the connection within the test's time."""
        async with asyncio.timeout(10):
            try:
                return await self._reader.read(1) == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@pytest.fixture
async def wire(desk: Any) -> AsyncIterator[Wire]:
    """A raw connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(desk.server.url.rsplit(":", 1)[1]))
    made = Wire(reader, writer)
    yield made
    made.close()


def _head(token: str, target: str, *more: str, method: str = "PUT") -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "Host: a", f"Authorization: Bearer {token}", *more)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def test_a_declared_length_is_bounded(wire: Wire, token: str) -> None:
    """A body that says it is too long is refused before it was sent, and thrown away if it is sent all the same."""
    await wire.send(_head(token, PUT, f"Content-Length: {MAX_BODY_BYTES + 1}"))
    status, headers, body = await wire.answer()
    assert status == 413
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"cache-control"] == b"no-store"
    assert json.loads(body)["detail"] == "The body must not be larger than 65,536 bytes."
    await wire.send(b" " * (MAX_BODY_BYTES + 1) + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await wire.answer())[0] == 200


@pytest.mark.parametrize("length", ["9" * 19, "9" * 400, "0" * 30 + "1"])
async def test_an_absurd_length_is_refused(wire: Wire, token: str, length: str) -> None:
    """A length beyond any number is refused like one that is only too large, and costs nothing."""
    await wire.send(_head(token, PUT, f"Content-Length: {length}"))
    status, _, _ = await wire.answer()
    assert status in (400, 413)


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "1, 1", "+5", " "])
async def test_a_length_that_is_no_number_is_refused(wire: Wire, token: str, length: str) -> None:
    """A length that is no number ends the request with a 400 or, where it reads as none, without an effect."""
    await wire.send(_head(token, PUT, f"Content-Length: {length}"))
    status, _, _ = await wire.answer()
    assert status in (400, 422)


async def test_a_body_without_a_length_is_bounded(wire: Wire, token: str) -> None:
    """A chunked body is counted as it comes and refused when it grows beyond the limit."""
    await wire.send(_head(token, PUT, "Transfer-Encoding: chunked"))
    for _ in range(MAX_BODY_BYTES // 8192 + 1):
        await wire.send(b"2000\r\n" + b" " * 8192 + b"\r\n")
    status, _, body = await wire.answer()
    assert status == 413
    assert b"65,536" in body
    await wire.send(b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await wire.answer())[0] == 200


async def test_a_chunked_body_within_the_bound_is_read(wire: Wire, token: str) -> None:
    """A chunked body of an account works like one with a length."""
    await wire.send(_head(token, PUT, "Transfer-Encoding: chunked") + b'7\r\n{"plan"\r\n6\r\n:"p"} \r\n0\r\n\r\n')
    status, _, body = await wire.answer()
    assert status == 200
    assert json.loads(body)["plan"] == "p"


async def test_length_and_chunks_together_are_refused(wire: Wire, token: str) -> None:
    """A request with two lengths is one that two parsers may read differently: it is no HTTP here."""
    await wire.send(_head(token, PUT, "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
    status, _, _ = await wire.answer()
    assert status == 400


async def test_a_compressed_body_is_refused(desk: Any) -> None:
    """A few bytes that unpack to gigabytes are not unpacked: compressed bodies are not taken at all."""
    bomb = gzip.compress(b" " * 10_000_000)
    for encoding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "x"):
        answer = await desk.call("PUT", PUT, content=bomb, headers={"content-encoding": encoding})
        assert answer.status_code == 415
    answer = await desk.call("PUT", PUT, content=b"{}", headers={"content-encoding": "identity"})
    assert answer.status_code == 200


async def test_an_import_may_be_larger_than_other_bodies(desk: Any) -> None:
    """The import takes megabytes; nothing else does, and the import has its bound too."""
    lines = b"".join(b'{"key_id":"%032x","org_id":"%0100x"}\n' % (number, number) for number in range(5000))
    assert len(lines) > 10 * MAX_BODY_BYTES
    assert (await desk.call("POST", "/v1/accounts:import", content=lines)).json() == {
        "lines": 5000,
        "stored": 5000,
        "dry_run": False,
    }
    assert (await desk.call("PUT", PUT, content=lines)).status_code == 413
    assert (await desk.call("POST", "/v1/keys", content=lines)).status_code == 413


async def test_an_import_has_its_bound(wire: Wire, token: str) -> None:
    """Beyond 32 MiB an import is refused."""
    await wire.send(_head(token, "/v1/accounts:import", f"Content-Length: {MAX_IMPORT_BYTES + 1}", method="POST"))
    status, _, body = await wire.answer()
    assert status == 413
    assert b"33,554,432" in body


async def test_a_client_that_sends_before_it_reads_gets_the_answer(desk: Any) -> None:
    """An ordinary client sends its whole body first: a refusal reaches it, with a length and without."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_IMPORT_BYTES // 2**20 + 4):
            yield b" " * 2**20

    for body in (b" " * (MAX_IMPORT_BYTES + 2**22), pieces()):
        assert (await desk.call("POST", "/v1/accounts:import", content=body)).status_code == 413
    assert (await desk.call("PUT", PUT, content=b" " * 2**23)).status_code == 413
    assert (await desk.call("GET", "/v1/nothing", content=b" " * 2**15)).status_code == 404
    wrong = {"authorization": "Bearer wrong"}
    answer = await desk.call("POST", "/v1/accounts:import", content=b" " * 2**24, headers=wrong)
    assert answer.status_code == 401


async def test_a_body_that_stalls_is_given_up(new_desk: Any, token: str) -> None:
    """A body that does not come in its time is answered with 408."""
    async with new_desk(STILLWATCH_GATEWAY__BODY_TIMEOUT_SEC="0.2") as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(desk.server.url.rsplit(":", 1)[1]))
        slow = Wire(reader, writer)
        await slow.send(_head(token, PUT, "Content-Length: 20") + b'{"plan":')
        status, headers, body = await slow.answer()
        assert status == 408
        assert headers[b"content-type"] == b"application/problem+json"
        assert json.loads(body)["detail"] == "The body did not arrive in time."
        slow.close()


async def test_a_head_that_stalls_is_given_up(new_desk: Any) -> None:
    """Headers that come a byte at a time have a deadline, as at the gateway."""
    async with new_desk(STILLWATCH_GATEWAY__HEADER_TIMEOUT_SEC="0.3") as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(desk.server.url.rsplit(":", 1)[1]))
        slow = Wire(reader, writer)
        await slow.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        status, _, _ = await slow.answer()
        assert status == 408
        assert await slow.closed()
        slow.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/keys HTTP/1.1\r\nHost: a\r\nHost\r\n\r\n",
        b"GET /v1/keys HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
        b"GET /v1/keys HTTP/1.1\r\nBad Name: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/keys\x7f\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/keys HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/keys HTTP/1.1\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
    ],
    ids=range(12),
)
async def test_bytes_that_are_no_request_do_no_harm(desk: Any, wire: Wire, data: bytes) -> None:
    """Malformed requests get a refusal or a closed connection, and the server goes on serving."""
    await wire.send(data)
    try:
        async with asyncio.timeout(2):
            status, _, _ = await wire.answer()
        assert 400 <= status < 500
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        wire.close()  # hung up without an answer, or it waits for the rest of what might become a request
    assert (await desk.get("/healthz")) == {"status": "ok"}
