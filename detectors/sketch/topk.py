"""Space-saving: the heaviest items of a weighted stream in k counters.

Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements", ICDT 2005; merge after Agarwal et al.,
"Mergeable summaries", PODS 2012. For every item, with N the total weight:

    count − error ≤ true weight ≤ count,   error ≤ N / k (also after merges),

and every item heavier than N / k is kept. `floor` (count − error) is what features use: in a stream of all-distinct items
it stays near one occurrence, where the count would pretend N / k.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_ITEM = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")
_SHORT = 6
"""Bytes of a weight: a double without the last sixteen of its 52 binary places, so rounded down by at most 2^−36 of itself
at each addition, and whole numbers up to 2^36 as they are."""

_ENTRY_BYTES = _ITEM.size + 2 * _SHORT
_TOTAL = struct.Struct("<d")


_CUT = bytes(_DOUBLE.size - _SHORT)


def _short(value: float) -> float:
    """The value as far as it is stored."""
    shortened: float = _DOUBLE.unpack(_CUT + _DOUBLE.pack(value)[-_SHORT:])[0]
    return shortened


class SpaceSaving:
    """Top-k of 32-bit item hashes. Weights are positive; ties are broken by order of arrival: it is deterministic."""

    __slots__ = ("capacity", "entries", "total")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.entries: dict[int, list[float]] = {}  # item → [count, error]
        self.total = 0.0

    def add(self, item: int, weight: float) -> None:
        """Count one occurrence of `item` (32 bits)."""
        self.total += weight
        entries = self.entries
        entry = entries.get(item)
        if entry is not None:
            entry[0] = _short(entry[0] + weight)
        elif len(entries) < self.capacity:
            entries[item] = [_short(weight), 0.0]
        else:
            lightest, least = 0, float("inf")
            for candidate, (count, _) in entries.items():
                if count < least:
                    lightest, least = candidate, count
            del entries[lightest]
            entries[item] = [_short(least + weight), least]

    def floor(self, item: int) -> float:
        """Weight the item certainly has; 0 when it is not kept."""
        entry = self.entries.get(item)
        return entry[0] - entry[1] if entry is not None else 0.0

    def top(self) -> tuple[int, float]:
        """The item with the largest certain weight, and that weight; (0, 0.0) when empty."""
        best, most = 0, 0.0
        for item, (count, error) in self.entries.items():
            if count - error > most:
                best, most = item, count - error
        return best, most

    def floors(self) -> Iterator[float]:
        """Certain weights of the kept items."""
        return (count - error for count, error in self.entries.values())

    def scale(self, factor: float) -> None:
        """Multiply every weight; exact when the factor is a power of two."""
        self.total *= factor
        if self.total <= 0.0:
            self.entries.clear()
            return
        for entry in self.entries.values():
            entry[0] = _short(entry[0] * factor)
            entry[1] = _short(entry[1] * factor)

    def merged(self, other: SpaceSaving) -> SpaceSaving:
        """The sketch of both streams; errors stay ≤ N / k of the joint stream."""
        out = SpaceSaving(self.capacity)
        out.total = self.total + other.total
        missing_here, missing_there = self._least(), other._least()
        rows: list[tuple[float, float, int]] = []
        for item in dict.fromkeys((*self.entries, *other.entries)):
            count_a, error_a = self.entries.get(item, (missing_here, missing_here))
            count_b, error_b = other.entries.get(item, (missing_there, missing_there))
            rows.append((_short(count_a + count_b), _short(error_a + error_b), item))
        # Sorted by weight, then item: the result must not depend on which of the two came first.
        rows.sort(key=lambda row: (-row[0], row[2]))
        out.entries = {item: [count, error] for count, error, item in rows[: self.capacity]}
        return out

    def _least(self) -> float:
        """The most an item that is not kept can weigh."""
        return min((entry[0] for entry in self.entries.values()), default=0.0) if self._full() else 0.0

    def _full(self) -> bool:
        return len(self.entries) >= self.capacity

    def to_bytes(self) -> bytes:
        """Total, then (item, count, error) per entry, in order."""
        parts = [_TOTAL.pack(self.total)]
        for item, (count, error) in self.entries.items():
            parts += (_ITEM.pack(item), _DOUBLE.pack(count)[-_SHORT:], _DOUBLE.pack(error)[-_SHORT:])
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, capacity: int, data: bytes) -> SpaceSaving:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no sketch of this size.
        """
        size = len(data) - _TOTAL.size
        if size < 0 or size % _ENTRY_BYTES or size > capacity * _ENTRY_BYTES:
            raise ValueError("top-k sketch has the wrong length")
        out = cls(capacity)
        out.total = _TOTAL.unpack_from(data)[0]
        for at in range(_TOTAL.size, len(data), _ENTRY_BYTES):
            count_at = at + _ITEM.size
            numbers = data[count_at : count_at + _SHORT], data[count_at + _SHORT : at + _ENTRY_BYTES]
            out.entries[_ITEM.unpack_from(data, at)[0]] = [_DOUBLE.unpack(_CUT + number)[0] for number in numbers]
        return out
