"""Trace: what the linker knows of one key. At most a kilobyte, made from the key's profile, without any text."""

from __future__ import annotations

import msgspec

TRACE_MAX_BYTES = 1024


class Trace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One key as of one exchange.

    Attributes:
        key_id: keyed hash of the key.
        org: its organisation, or the key itself where it belongs to none.
        at_us: event time of the newest exchange it knows of; grows from trace to trace of a key.
    """

    key_id: str
    org: str
    at_us: int


def encode(trace: Trace) -> bytes:
    """At most TRACE_MAX_BYTES."""
    return msgspec.msgpack.encode(trace)


def decode(data: bytes) -> Trace | None:
    """Inverse of `encode`; None where the bytes are no trace of this release."""
    try:
        return msgspec.msgpack.decode(data, type=Trace)
    except msgspec.DecodeError:
        return None
