"""Looks for planted secrets in everything that came out of somewhere, in the forms in which something slips out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterator, Mapping


def forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """(name of a form, what to look for): as it is, hexadecimal, base64 wherever it begins, SHA-256 in both."""
    yield "plain", secret
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    digest = hashlib.sha256(secret)
    yield "sha256", digest.hexdigest().encode()
    yield "sha256 raw", digest.digest()
    for shift in range(3):
        # The first and last letters depend on what stands beside it.
        whole = base64.b64encode(b"\x00" * shift + secret)
        inner = whole[(shift * 8 + 5) // 6 : len(whole) - 4]
        yield f"base64/{shift}", inner
        yield f"base64url/{shift}", inner.translate(bytes.maketrans(b"+/", b"-_"))


def found(
    places: Mapping[str, bytes], secrets: Mapping[str, bytes], but: Collection[str] = ()
) -> set[tuple[str, str, str]]:
    """(place, secret, form) of all that is found.

    Args:
        places: name → what came out there.
        secrets: name → the secret, of at least 9 bytes.
        but: "secret form" pairs that are documented to be there.
    """
    assert all(len(secret) >= 9 for secret in secrets.values())
    return {
        (place, name, form)
        for name, secret in secrets.items()
        for form, needle in forms(secret)
        if f"{name} {form}" not in but
        for place, data in places.items()
        if needle in data
    }
