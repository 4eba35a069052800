"""Which models an entity calls, since when, and how much of its last day each makes up. At most eight are remembered."""

from __future__ import annotations

import struct

import xxhash

CAPACITY = 8
_ENTRY = struct.Struct("<Iqd")


class ModelTable:
    """Model name hash → [first call in µs, decayed 24-hour count]; the least used is forgotten first."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[int, list[float | int]] = {}

    def add(self, model: str, at_us: int, weight: float) -> None:
        """Count a call."""
        item = xxhash.xxh3_64_intdigest(model.encode("utf-8", "replace")) & 0xFFFFFFFF
        entry = self.entries.get(item)
        if entry is not None:
            entry[0] = min(entry[0], at_us)
            entry[1] += weight
            return
        if len(self.entries) >= CAPACITY:
            del self.entries[min(self.entries, key=lambda known: self.entries[known][1])]
        self.entries[item] = [at_us, weight]

    def scale(self, factor: float) -> None:
        """Multiply every count; exact when the factor is a power of two."""
        for entry in self.entries.values():
            entry[1] *= factor

    def share_since(self, since_us: int) -> float:
        """Share of the decayed calls that went to models first called at or after a time."""
        total = sum(entry[1] for entry in self.entries.values())
        young = sum(entry[1] for entry in self.entries.values() if entry[0] >= since_us)
        return young / total if total > 0 else 0.0

    def merged(self, other: ModelTable) -> ModelTable:
        """First calls by minimum, counts by sum; the most used are kept."""
        out = ModelTable()
        both: dict[int, list[float | int]] = {item: list(entry) for item, entry in self.entries.items()}
        for item, (first, count) in other.entries.items():
            mine = both.setdefault(item, [first, 0.0])
            mine[0] = min(mine[0], first)
            mine[1] += count
        ranked = sorted(both.items(), key=lambda pair: (-pair[1][1], pair[0]))
        out.entries = dict(ranked[:CAPACITY])
        return out

    def to_bytes(self) -> bytes:
        """(hash, first call, count) per model, in order."""
        return b"".join(_ENTRY.pack(item, int(entry[0]), entry[1]) for item, entry in self.entries.items())

    @classmethod
    def from_bytes(cls, data: bytes) -> ModelTable:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no table of this size.
        """
        out = cls()
        if len(data) % _ENTRY.size or len(data) > CAPACITY * _ENTRY.size:
            raise ValueError("model table has the wrong length")
        out.entries = {item: [first, count] for item, first, count in _ENTRY.iter_unpack(data)}
        return out
