"""How often the very same request comes: a histogram of exact multiplicities.

Rejection sampling asks each question exactly k times; honest repetition has no such peak. The last few distinct requests
are kept with their counts; when one is pushed out, its occurrences enter the histogram at its final count. An item that
returns after it was pushed out counts as a new one, and a count stops at 255: that is the error, and it only ever hides
repetition.
"""

from __future__ import annotations

import struct

import numpy as np

from detectors.sketch import sparse

BINS = 17
"""Bins 1 … 16 hold exact multiplicities, the last one everything above."""


class Repeats:
    """Recent request hashes with counts, and the decayed histogram of occurrences by multiplicity."""

    __slots__ = ("capacity", "closed", "live")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.live: dict[int, int] = {}  # hash → occurrences, least recently seen first
        self.closed = [0.0] * BINS  # occurrences (not items), by final multiplicity − 1

    def see(self, item: int, weight: float) -> int:
        """Count an occurrence; `weight` is what an item pushed out now enters with. Returns its count so far."""
        count = min(255, self.live.pop(item, 0) + 1)
        self.live[item] = count
        if len(self.live) > self.capacity:
            self._close(next(iter(self.live)), weight)
        return count

    def _close(self, item: int, weight: float) -> None:
        count = self.live.pop(item)
        self.closed[min(count, BINS) - 1] += count * weight

    def histogram(self, decay: float) -> list[float]:
        """Occurrences by multiplicity: the closed ones times `decay`, and the live ones at their count so far."""
        out = [value * decay for value in self.closed]
        for count in self.live.values():
            out[min(count, BINS) - 1] += count
        return out

    def scale(self, factor: float) -> None:
        """Multiply the closed histogram; exact when the factor is a power of two."""
        self.closed = [value * factor for value in self.closed]

    def merged(self, other: Repeats, weight: float) -> Repeats:
        """Histograms add; the same live request on both sides becomes one with the sum of its counts."""
        out = Repeats(self.capacity)
        out.closed = [a + b for a, b in zip(self.closed, other.closed, strict=True)]
        counts = dict(self.live)
        for item, count in other.live.items():
            counts[item] = min(255, counts.get(item, 0) + count)
        # Least repeated first, so that what is closed early is what repeats least; independent of the order of the two.
        out.live = dict(sorted(counts.items(), key=lambda pair: (pair[1], pair[0])))
        while len(out.live) > out.capacity:
            out._close(next(iter(out.live)), weight)
        return out

    def to_bytes(self) -> bytes:
        """How many are live, their hashes, their counts; then what the histogram has."""
        n = len(self.live)
        return struct.pack(f"<B{n}I{n}B", n, *self.live, *self.live.values()) + sparse.pack(np.array(self.closed))

    @classmethod
    def from_bytes(cls, capacity: int, data: bytes) -> Repeats:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no histogram of this size.
        """
        out = cls(capacity)
        n = data[0] if data else 0
        if not data or n > capacity or len(data) < 1 + 5 * n:
            raise ValueError("repeats have the wrong length")
        values = struct.unpack_from(f"<{n}I{n}B", data, 1)
        out.closed = sparse.unpack(BINS, data[1 + 5 * n :]).tolist()
        out.live = dict(zip(values[:n], values[n:], strict=True))
        return out
