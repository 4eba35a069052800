"""What the commands over shared files have in common: where a document comes from, and whose signature it bears."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.cli.acting import read_bytes
from app.errors import BadInput, PeerFault

if TYPE_CHECKING:
    from app.intel.documents import Document
    from app.intel.signing import PublicKey, Signed

_MAX_KEY_BYTES = 4096


class Opened(NamedTuple):
    """A document that was looked through.

    Attributes:
        raw: the bytes as they came, with the signature.
        document: what is in it.
        signed: its signature, checked; None where it bears none.
        trusted: it is by the key that was asked for, not only by one that it brings along.
    """

    raw: bytes
    document: Document
    signed: Signed | None
    trusted: bool


def fetched(source: str) -> bytes:
    """The bytes of a file, of standard input ("-") or of an https:// address.

    Raises:
        BadInput: it cannot be read, is too long, or no such address.
        PeerFault: the server does not give it.
    """
    from app.intel import documents
    from app.intel.taxii import http

    if "://" not in source:
        return read_bytes(Path(source), documents.MAX_BYTES)
    try:
        origin, path = http.parse_url(source)
    except ValueError as error:
        raise BadInput(f"address: {error}") from None
    caps = http.Caps(total_sec=300.0, body_bytes=documents.MAX_BYTES)
    context = http.tls_context() if origin.secure else None
    headers = {"Accept": "application/json", "User-Agent": "stillwatch"}
    answer = asyncio.run(http.ask(origin, "GET", path, headers, caps=caps, context=context))
    if answer.status != 200:
        more = "; a redirect is not followed" if 300 <= answer.status < 400 else ""
        raise PeerFault(f"the server answered {answer.status}{more}")
    return answer.body


def opened(raw: bytes, key: str) -> Opened:
    """A document with its signature checked.

    Args:
        raw: its bytes.
        key: file of a public key, or a fingerprint; "" for none.

    Raises:
        BadInput: it is no document, or what was asked of its signature does not hold.
        ConfigError: the extra `share` is not installed.
    """
    from app.intel import documents, signing

    if not signing.is_signed(raw):
        if key:
            raise BadInput("signature: the document bears none")
        return Opened(raw, documents.read(raw), None, False)
    signed = signing.opened(raw)
    payload = signing.verified(signed, _key(signed, key), time.time_ns() // 1000)
    return Opened(raw, documents.read(payload), signed, bool(key))


def _key(signed: Signed, key: str) -> PublicKey:
    """The key that a document must be signed with."""
    from app.intel import signing

    if key and not signing.is_fingerprint(key.lower()):
        if not Path(key).exists():
            raise BadInput("--key: must be the file of a public key, or a fingerprint of 64 hexadecimal digits")
        return signing.read_public(read_bytes(Path(key), _MAX_KEY_BYTES).decode("ascii", "replace"))
    found = signing.key_of(signed)
    if key and found.fingerprint != key.lower():
        raise BadInput("signature: is by another key than the one that was asked for")
    return found
