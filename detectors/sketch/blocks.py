"""Blocks of reasoning that were given out: was this one, and for which conversation.

A client may bring back the reasoning that it was given; a block that it was never given comes from somebody else. Given
blocks are held in two Bloom filters (Bloom, CACM 1970), one for this generation of seven days and one for the one before,
and the last 64 also by the conversation they were given in. Both err on the side of trust: a full filter knows everything.
"""

from __future__ import annotations

import struct

from detectors.sketch.decay import DAY_US

BITS = 8192
"""A thousand blocks in two weeks with one in twenty unknown ones missed; ten thousand, and nearly all are."""

HASHES = 3
RECENT = 64
GENERATION_US = 7 * DAY_US
_HEAD = struct.Struct("<q")
_PAIR = struct.Struct("<II")


class Blocks:
    """Filters of given blocks, and block → conversation (32 bits each) for the latest. Empty for most entities."""

    __slots__ = ("before", "generation", "now", "recent")

    def __init__(self) -> None:
        self.generation = 0
        self.now = 0
        self.before = 0
        self.recent: dict[int, int] = {}

    def give(self, block: int, chain: int, at_us: int) -> None:
        """Note a block (64 bits) given in answer to a conversation (its chain digest)."""
        generation = at_us // GENERATION_US
        if generation > self.generation:
            self.before = self.now if generation == self.generation + 1 else 0
            self.now, self.generation = 0, generation
        self.now |= _mask(block)
        recent = self.recent
        recent.pop(block & 0xFFFFFFFF, None)
        if len(recent) >= RECENT:
            del recent[next(iter(recent))]
        recent[block & 0xFFFFFFFF] = chain & 0xFFFFFFFF

    def knows(self, block: int) -> bool:
        """Whether the block may have been given; certain when false, within two generations."""
        mask = _mask(block)
        return self.now & mask == mask or self.before & mask == mask

    def moved(self, block: int, chain: int) -> bool:
        """Whether the block is one of the latest, and was given in another conversation."""
        given = self.recent.get(block & 0xFFFFFFFF)
        return given is not None and given != chain & 0xFFFFFFFF

    def merged(self, other: Blocks) -> Blocks:
        """Blocks given to either."""
        out = Blocks()
        out.generation = max(self.generation, other.generation)
        for part in (self, other):
            behind = out.generation - part.generation
            if behind == 0:
                out.now |= part.now
                out.before |= part.before
            elif behind == 1:
                out.before |= part.now
        mine, theirs = (list(reversed(part.recent.items())) for part in (self, other))
        newest: dict[int, int] = {}
        for rank in range(max(len(mine), len(theirs))):
            for block, chain in sorted({*mine[rank : rank + 1], *theirs[rank : rank + 1]}):
                newest.setdefault(block, chain)
        out.recent = dict(reversed(list(newest.items())[:RECENT]))
        return out

    def to_bytes(self) -> bytes:
        """Nothing for an entity that was given none; else generation, both filters and the latest blocks."""
        if not (self.now or self.before):
            return b""
        size = BITS // 8
        filters = self.now.to_bytes(size, "little") + self.before.to_bytes(size, "little")
        return _HEAD.pack(self.generation) + filters + b"".join(_PAIR.pack(*pair) for pair in self.recent.items())

    @classmethod
    def from_bytes(cls, data: bytes) -> Blocks:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no blocks of this size.
        """
        out = cls()
        if not data:
            return out
        size = BITS // 8
        pairs = len(data) - _HEAD.size - 2 * size
        if pairs < 0 or pairs % _PAIR.size or pairs > RECENT * _PAIR.size:
            raise ValueError("blocks have the wrong length")
        out.generation = _HEAD.unpack_from(data)[0]
        at = _HEAD.size
        out.now = int.from_bytes(data[at : at + size], "little")
        out.before = int.from_bytes(data[at + size : at + 2 * size], "little")
        out.recent = dict(_PAIR.iter_unpack(data[at + 2 * size :]))
        return out


def _mask(block: int) -> int:
    out = 0
    for part in range(HASHES):
        out |= 1 << (block >> 20 * part) % BITS
    return out
