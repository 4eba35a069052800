"""Which of 512 cells of content space were visited lately: two bitmaps, read by linear counting.

Whang et al., "A linear-time probabilistic counting algorithm", TODS 1990: with v of m cells visited, m·ln(m / (m − v))
items fell in, if cells are equally likely. Content is not spread evenly, so the estimate is read as coverage, not as a
count.

A bitmap cannot decay. There is one for the present generation of seven days and one for the generation before, so what is
read covers the last 7 to 14 days, and a long life does not fill it.
"""

from __future__ import annotations

import struct
from math import log

from detectors.sketch.decay import DAY_US

CELLS = 512
GENERATION_US = 7 * DAY_US
_HEAD = struct.Struct("<q")


class CellMap:
    """Bitmaps of the cells visited in this generation and in the last; merges exactly by union."""

    __slots__ = ("before", "generation", "now")

    def __init__(self) -> None:
        self.generation = 0
        self.now = 0
        self.before = 0

    def visit(self, cell: int, at_us: int) -> bool:
        """Note a cell; true when it was not held. What is older than both generations is ignored."""
        generation = at_us // GENERATION_US
        if generation > self.generation:
            self._turn(generation)
        mask = 1 << (cell % CELLS)
        fresh = not (self.now | self.before) & mask
        if generation == self.generation:
            self.now |= mask
        elif generation == self.generation - 1:
            self.before |= mask
        return fresh

    def _turn(self, generation: int) -> None:
        self.before = self.now if generation == self.generation + 1 else 0
        self.now = 0
        self.generation = generation

    def visited(self) -> int:
        """Number of different cells."""
        return (self.now | self.before).bit_count()

    def estimate(self) -> float:
        """Linear-counting estimate of how many items came; the full map reads as one cell short of full."""
        return CELLS * log(CELLS / max(1, CELLS - self.visited()))

    def merged(self, other: CellMap) -> CellMap:
        """Union, generation by generation."""
        out = CellMap()
        out.generation = max(self.generation, other.generation)
        for part in (self, other):
            behind = out.generation - part.generation
            if behind == 0:
                out.now |= part.now
                out.before |= part.before
            elif behind == 1:
                out.before |= part.now
        return out

    def to_bytes(self) -> bytes:
        """Generation, then both bitmaps."""
        return (
            _HEAD.pack(self.generation)
            + self.now.to_bytes(CELLS // 8, "little")
            + self.before.to_bytes(CELLS // 8, "little")
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> CellMap:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no map of this size.
        """
        if len(data) != _HEAD.size + CELLS // 4:
            raise ValueError("cell map has the wrong length")
        out = cls()
        out.generation = _HEAD.unpack_from(data)[0]
        body = data[_HEAD.size :]
        out.now = int.from_bytes(body[: CELLS // 8], "little")
        out.before = int.from_bytes(body[CELLS // 8 :], "little")
        return out
