"""Which hours an entity was active: a ring of 168 bits, one per clock hour (UTC) of the last seven days.

Exact at the resolution of an hour, and merged exactly: the activity of a group is the union of its members'.
"""

from __future__ import annotations

import struct

HOURS = 168
_HEAD = struct.Struct("<q")
_FULL = (1 << HOURS) - 1


class HourRing:
    """Bit h is set when something happened h hours before the newest hour."""

    __slots__ = ("bits", "newest")

    def __init__(self) -> None:
        self.newest = 0  # hours since 1970
        self.bits = 0

    def mark(self, hour: int) -> None:
        """Note activity in a clock hour; one that is older than the ring is ignored."""
        if not self.bits:
            self.newest, self.bits = hour, 1
        elif hour > self.newest:
            self.bits = (self.bits << min(hour - self.newest, HOURS) | 1) & _FULL
            self.newest = hour
        elif self.newest - hour < HOURS:
            self.bits |= 1 << (self.newest - hour)

    def span(self) -> int:
        """Hours from the oldest active hour held to the newest, both included."""
        return self.bits.bit_length()

    def active(self) -> int:
        """Number of active hours."""
        return self.bits.bit_count()

    def longest_idle(self) -> int:
        """Longest run of whole clock hours without activity between two active ones."""
        return max((len(run) for run in f"{self.bits:b}".split("1")[1:-1]), default=0) if self.bits else 0

    def by_hour_of_day(self) -> list[int]:
        """Days of the last seven on which each hour of the day (UTC) was active."""
        out = [0] * 24
        bits, hour = self.bits, self.newest
        while bits:
            if bits & 1:
                out[hour % 24] += 1
            bits >>= 1
            hour -= 1
        return out

    def merged(self, other: HourRing) -> HourRing:
        """The union of both."""
        out = HourRing()
        late, early = (self, other) if (self.newest, self.bits) >= (other.newest, other.bits) else (other, self)
        out.newest = late.newest
        gap = late.newest - early.newest
        out.bits = late.bits | (early.bits << gap & _FULL if gap < HOURS else 0)
        return out

    def to_bytes(self) -> bytes:
        """Newest hour, then the bits."""
        return _HEAD.pack(self.newest) + self.bits.to_bytes(HOURS // 8, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> HourRing:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no ring of this size.
        """
        if len(data) != _HEAD.size + HOURS // 8:
            raise ValueError("hour ring has the wrong length")
        out = cls()
        out.newest = _HEAD.unpack_from(data)[0]
        out.bits = int.from_bytes(data[_HEAD.size :], "little")
        return out
