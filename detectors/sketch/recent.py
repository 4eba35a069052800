"""Windows over the most recent items: what was just seen, exactly, in bounded space.

`RecentSet` remembers the last few distinct hashes by their low 24 bits: of a hundred, a new one looks known once in
160,000. `SimilarWindow` holds the last few MinHash signatures, cut to
8 bits per position (Li & König, "b-bit minwise hashing", WWW 2010): two unrelated texts agree in a position with
probability 1/256, so the share of agreeing positions estimates Jaccard similarity with a bias below 0.004.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW24 = 0xFFFFFF
"""Bits of a hash that a recent set keeps."""

MIN_BACKGROUND = 8
"""Signatures from which on their median says something about a template."""


class RecentSet:
    """The last `capacity` distinct hashes, by LOW24, least recently seen forgotten first."""

    __slots__ = ("capacity", "items")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: dict[int, None] = {}

    def see(self, item: int) -> bool:
        """Remember the item; true when it was remembered already."""
        items = self.items
        item &= LOW24
        known = item in items
        if known:
            del items[item]
        elif len(items) >= self.capacity:
            del items[next(iter(items))]
        items[item] = None
        return known

    def merged(self, other: RecentSet) -> RecentSet:
        """The later halves of both, interleaved from the newest; order of the two matters only within a rank."""
        out = RecentSet(self.capacity)
        newest: dict[int, None] = {}
        mine, theirs = list(reversed(self.items)), list(reversed(other.items))
        for rank in range(max(len(mine), len(theirs))):
            for item in sorted({*mine[rank : rank + 1], *theirs[rank : rank + 1]}):
                newest.setdefault(item)
        out.items = dict.fromkeys(reversed(list(newest)[: self.capacity]))
        return out

    def to_bytes(self) -> bytes:
        """Hashes of three bytes, oldest first."""
        return b"".join([item.to_bytes(3, "little") for item in self.items])

    @classmethod
    def from_bytes(cls, capacity: int, data: bytes) -> RecentSet:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no set of this size.
        """
        if len(data) % 3 or len(data) > 3 * capacity:
            raise ValueError("recent set has the wrong length")
        out = cls(capacity)
        out.items = dict.fromkeys(int.from_bytes(data[at : at + 3], "little") for at in range(0, len(data), 3))
        return out


class SimilarWindow:
    """Ring of the last `capacity` signatures of 16 positions."""

    POSITIONS = 16

    __slots__ = ("_rows", "capacity", "filled", "next")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._rows: NDArray[np.uint8] = np.zeros((capacity, self.POSITIONS), np.uint8)
        self.filled = 0
        self.next = 0

    def excess(self, signature: bytes) -> float:
        """Similarity to the nearest held signature, in excess of the background; 0.0 when none is held.

        The background is the median similarity to the window: texts under one template all resemble each other by the
        template alone. (nearest − median) / (1 − median) is what the slots add; without a template the median is near 0
        and the excess is the similarity itself. Signatures that all agree (median 1) are copies of one text: excess 1.
        """
        if not self.filled:
            return 0.0
        agreeing = np.count_nonzero(self._rows[: self.filled] == np.frombuffer(signature, np.uint8), axis=1)
        ranked = sorted(agreeing.tolist())
        nearest, median = ranked[-1], ranked[(self.filled - 1) // 2] if self.filled >= MIN_BACKGROUND else 0
        return 1.0 if median == self.POSITIONS else (nearest - median) / (self.POSITIONS - median)

    def push(self, signature: bytes) -> None:
        """Hold a signature, replacing the oldest when full."""
        self._rows[self.next] = np.frombuffer(signature, np.uint8)
        self.next = (self.next + 1) % self.capacity
        self.filled = min(self.capacity, self.filled + 1)

    def merged(self, other: SimilarWindow) -> SimilarWindow:
        """The newest of both, alternating; signatures carry no time, so equal ranks count as equally old."""
        out = SimilarWindow(self.capacity)
        mine, theirs = self._newest_first(), other._newest_first()
        rows: list[bytes] = []
        for rank in range(max(len(mine), len(theirs))):
            rows.extend(sorted({*mine[rank : rank + 1], *theirs[rank : rank + 1]}))
        for row in reversed(rows[: self.capacity]):
            out.push(row)
        return out

    def _newest_first(self) -> list[bytes]:
        return [bytes(self._rows[(self.next - 1 - age) % self.capacity].tobytes()) for age in range(self.filled)]

    def to_bytes(self) -> bytes:
        """Position of the ring, then its rows as they lie."""
        return bytes((self.next,)) + self._rows[: self.filled].tobytes()

    @classmethod
    def from_bytes(cls, capacity: int, data: bytes) -> SimilarWindow:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no window of this size.
        """
        rows_bytes = len(data) - 1
        if rows_bytes < 0 or rows_bytes % cls.POSITIONS or rows_bytes > capacity * cls.POSITIONS or data[0] >= capacity:
            raise ValueError("similar window has the wrong length")
        out = cls(capacity)
        rows = np.frombuffer(data, np.uint8, offset=1).reshape(-1, cls.POSITIONS)
        out.next, out.filled = data[0], len(rows)
        out._rows[: out.filled] = rows
        return out
