"""Conversations in progress: which chains an entity may go on with, and how many go on at the same time.

A conversation is known by the digest of its latest request; the request that goes on with it names that digest as its
prefix. Many conversations that each went on within ten minutes are many people behind one key: a product, or a relay.
"""

from __future__ import annotations

import struct

CAPACITY = 32
OPEN_US = 600_000_000
_ENTRY = struct.Struct("<IqB")


class Chains:
    """Chain digest (32 bits) → [last exchange in unix µs, requests so far, at most 255], least recent first."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[int, tuple[int, int]] = {}

    def see(self, chain: int, prefix: int, at_us: int) -> bool:
        """Note a request; true when it goes on with a chain that is held. A prefix of 0 is none."""
        entries = self.entries
        before = entries.pop(prefix, None) if prefix else None
        entries.pop(chain, None)
        if len(entries) >= CAPACITY:
            del entries[next(iter(entries))]
        entries[chain] = (at_us, min(255, before[1] + 1) if before else 1)
        return before is not None

    def open(self, at_us: int) -> int:
        """How many conversations went on within the last ten minutes."""
        since = at_us - OPEN_US
        return sum(count > 1 and last > since for last, count in self.entries.values())

    def merged(self, other: Chains) -> Chains:
        """The most recent of both."""
        out = Chains()
        both = dict(self.entries)
        for chain, (last, count) in other.entries.items():
            mine = both.get(chain, (0, 0))
            both[chain] = max(mine, (last, count))
        newest = sorted(both.items(), key=lambda pair: (pair[1], pair[0]))
        out.entries = dict(newest[-CAPACITY:])
        return out

    def to_bytes(self) -> bytes:
        """(digest, time, requests) each, least recent first."""
        return b"".join(_ENTRY.pack(chain, last, count) for chain, (last, count) in self.entries.items())

    @classmethod
    def from_bytes(cls, data: bytes) -> Chains:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no chains of this size.
        """
        if len(data) % _ENTRY.size or len(data) > CAPACITY * _ENTRY.size:
            raise ValueError("chains have the wrong length")
        out = cls()
        out.entries = {chain: (last, count) for chain, last, count in _ENTRY.iter_unpack(data)}
        return out
