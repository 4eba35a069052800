"""Which of 512 cells of content space were visited: a bitmap, read by linear counting.

Whang et al., "A linear-time probabilistic counting algorithm", TODS 1990: with v of m cells visited, m·ln(m / (m − v)) items
fell in, if cells are equally likely. Content is not spread evenly, so the estimate is read as coverage, not as a count.
"""

from __future__ import annotations

from math import log

CELLS = 512


class CellMap:
    """Bitmap of visited cells; merges exactly by union."""

    __slots__ = ("bits",)

    def __init__(self, bits: int = 0) -> None:
        self.bits = bits

    def visit(self, cell: int) -> bool:
        """Note a cell; true when it is new."""
        mask = 1 << (cell % CELLS)
        fresh = not self.bits & mask
        self.bits |= mask
        return fresh

    def visited(self) -> int:
        """Number of different cells."""
        return self.bits.bit_count()

    def estimate(self) -> float:
        """Linear-counting estimate of how many items came; the full map reads as one cell short of full."""
        return CELLS * log(CELLS / max(1, CELLS - self.visited()))

    def merged(self, other: CellMap) -> CellMap:
        """Union."""
        return CellMap(self.bits | other.bits)

    def to_bytes(self) -> bytes:
        """The bitmap."""
        return self.bits.to_bytes(CELLS // 8, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> CellMap:
        """Inverse of `to_bytes`."""
        return cls(int.from_bytes(data, "little"))
