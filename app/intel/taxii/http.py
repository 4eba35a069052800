"""One HTTP/1.1 request to a peer's server: bounded in bytes and in time, over TLS, and to no other host than its own.

The peer is another organisation, and its server may be slow, broken or hostile. So the whole exchange has one deadline, the
head and the body have bounds that hold while they arrive, nothing is decompressed, and a redirect is an answer like any
other. A general HTTP client has each of these only in part; this is the parser that the gateway uses already, and a socket.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from app.errors import PeerFault

MAX_HEAD_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Caps:
    """Bounds of one request.

    Attributes:
        connect_sec: until there is a connection, TLS included.
        total_sec: until the whole answer is there.
        body_bytes: of the answer.
    """

    connect_sec: float = 10.0
    total_sec: float = 30.0
    body_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a peer's server is.

    Attributes:
        secure: TLS; without it only on this machine.
        host: name or address.
        port: port.
    """

    secure: bool
    host: str
    port: int

    @property
    def header(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        status: of the answer.
        headers: names in lower case; of one that came twice, the last.
        body: whole.
    """

    status: int
    headers: dict[str, str]
    body: bytes


def parse_url(url: str) -> tuple[Origin, str]:
    """(where, path and query) of an address.

    Raises:
        ValueError: it is none, holds credentials, or is without TLS and not on this machine.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("must be an address such as https://taxii.example/taxii2/") from None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    plain = path.isascii() and path.isprintable() and " " not in path and host.isascii()
    if parts.scheme not in ("https", "http") or not host or parts.fragment or not plain:
        raise ValueError("must be an address such as https://taxii.example/taxii2/")
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials; they are in the file of the secret")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError("must be https://, except on this machine")
    secure = parts.scheme == "https"
    return Origin(secure, host, port or (443 if secure else 80)), path


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """How a peer's certificate is checked: by the system's authorities, or by those of a file alone.

    Raises:
        ValueError: the file holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError):
        raise ValueError("must be a readable file of certificates (PEM)") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


async def ask(
    origin: Origin,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes = b"",
    *,
    caps: Caps,
    context: ssl.SSLContext | None,
) -> Answer:
    """One request on a connection of its own.

    Raises:
        PeerFault: no answer within the bounds.
    """
    try:
        async with asyncio.timeout(caps.total_sec):
            return await _ask(origin, _head(origin, method, target, headers, len(body)) + body, caps, context)
    except TimeoutError:
        raise PeerFault("the peer's server did not answer in time") from None
    except ssl.SSLCertVerificationError:
        raise PeerFault("the certificate of the peer's server is not one that is trusted") from None
    except (OSError, EOFError, UnicodeError) as error:
        raise PeerFault(f"the peer's server cannot be reached ({type(error).__name__})") from None


async def _ask(origin: Origin, request: bytes, caps: Caps, context: ssl.SSLContext | None) -> Answer:
    async with asyncio.timeout(caps.connect_sec):
        reader, writer = await asyncio.open_connection(
            origin.host,
            origin.port,
            ssl=context if origin.secure else None,
            server_hostname=origin.host if origin.secure else None,
        )
    try:
        writer.write(request)
        await writer.drain()
        reply = _Reply(caps.body_bytes)
        while not reply.complete:
            data = await reader.read(_READ_BYTES)
            if data:
                reply.feed(data)
            else:
                reply.ended()
        return Answer(reply.status, reply.headers, b"".join(reply.parts))
    finally:
        writer.transport.abort()


def _head(origin: Origin, method: str, target: str, headers: dict[str, str], length: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {origin.header}", "Connection: close", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "POST":
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class _Reply:
    """An answer as it arrives; the parser calls back."""

    def __init__(self, most: int) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._most = most
        self._head_bytes = 0
        self._size = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.complete = False

    def feed(self, data: bytes) -> None:
        """Bytes have arrived.

        Raises:
            PeerFault: they are no answer, or too many.
        """
        if not self.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except PeerFault:
            raise
        except httptools.HttpParserCallbackError as error:
            # What a callback raises comes as the cause of this one.
            raise (error.__context__ if isinstance(error.__context__, PeerFault) else _broken()) from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:
                raise _broken() from None
        if not self.status and self._head_bytes > MAX_HEAD_BYTES:
            raise PeerFault("the head of the peer's answer is too large")

    def ended(self) -> None:
        """The server has closed the connection: the end of an answer that has no other, else a broken one."""
        if not self.status or "content-length" in self.headers or "transfer-encoding" in self.headers:
            raise _broken()
        self.complete = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if not self.status:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        status = self._parser.get_status_code()
        if status < 200:  # an informational one; the answer comes behind it
            self.headers = {}
            return
        self.status = status
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise PeerFault("the peer's answer is compressed, which nobody asked for")

    def on_body(self, data: bytes) -> None:
        """Body bytes."""
        self._size += len(data)
        if self._size > self._most:
            raise PeerFault(f"the peer's answer is larger than {self._most:,} bytes")
        self.parts.append(data)

    def on_message_complete(self) -> None:
        """The message is complete."""
        self.complete = bool(self.status)


def _broken() -> PeerFault:
    return PeerFault("the peer's server broke the protocol (HTTP)")
