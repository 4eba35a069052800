"""The beat of an entity's traffic: how even its ten-minute counts are, how many overlap, how it waits when limited.

A program that keeps n requests in flight shows the same overlap at every arrival, whatever its gaps; a person does not.
Kept are the ten minutes that are being counted, the ends of the last exchanges, and the last refusal for a rate limit.
"""

from __future__ import annotations

import struct
from math import log

BIN_US = 600_000_000
IDLE_BINS = 6
"""Empty bins that count between two busy ones: an hour without traffic is a pause, not a rate of zero."""

ENDS = 16
FLOOR_S = 0.01
CEILING_S = 3_600.0
_HEAD = struct.Struct("<qqqq")
_MOST = 1 << 48


class Beat:
    """Bin being counted, last overlap, last refusal, and the latest ends of exchanges in unix µs, sorted."""

    __slots__ = ("bin", "count", "ends", "limited_at_us", "overlap")

    def __init__(self) -> None:
        self.bin = 0
        self.count = 0
        self.overlap = 0
        self.limited_at_us = 0
        self.ends: list[int] = []

    def close_bin(self, at_us: int) -> tuple[float, float, float]:
        """Count an exchange; (bins closed by it, Σ of their counts, Σ of their squares)."""
        now = at_us // BIN_US
        if now <= self.bin:  # a late one is counted where the clock stands
            self.count += 1
            return 0.0, 0.0, 0.0
        closed = (0.0, 0.0, 0.0)
        if self.count:
            empty = min(now - self.bin - 1, IDLE_BINS)
            closed = (1.0 + empty, float(self.count), float(self.count * self.count))
        self.bin, self.count = now, 1
        return closed

    def wait(self, at_us: int, limited: bool) -> float | None:
        """Logarithm of the seconds since a refusal for a rate limit, for the first exchange after one."""
        since = at_us - self.limited_at_us if self.limited_at_us else -1
        if since >= 0:
            self.limited_at_us = 0
        if limited:
            self.limited_at_us = max(self.limited_at_us, at_us)
        return log(min(max(since / 1e6, FLOOR_S), CEILING_S)) if since >= 0 else None

    def overlapping(self, at_us: int, latency_us: int) -> tuple[int, bool]:
        """How many of the last exchanges ended after this one began, and whether it is as many as before and not 0."""
        ends = self.ends
        found = sum(end > at_us for end in ends)
        same = found > 0 and found == self.overlap
        self.overlap = found
        ends.append(at_us + latency_us)
        if len(ends) > 1 and ends[-1] < ends[-2]:
            ends.sort()
        del ends[:-ENDS]
        return found, same

    def merged(self, other: Beat) -> Beat:
        """The later bin, the latest ends of both."""
        out = Beat()
        out.bin = max(self.bin, other.bin)
        out.count = sum(part.count for part in (self, other) if part.bin == out.bin)
        out.overlap = max(self.overlap, other.overlap)
        out.limited_at_us = max(self.limited_at_us, other.limited_at_us)
        out.ends = sorted([*self.ends, *other.ends])[-ENDS:]
        return out

    def to_bytes(self) -> bytes:
        """Bin, count, overlap and refusal, then the ends."""
        head = _HEAD.pack(self.bin, self.count, self.overlap, self.limited_at_us)
        return head + struct.pack(f"<{len(self.ends)}q", *self.ends)

    @classmethod
    def from_bytes(cls, data: bytes) -> Beat:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no beat of this size.
        """
        size = len(data) - _HEAD.size
        if size < 0 or size % 8 or size > 8 * ENDS:
            raise ValueError("a beat has the wrong length")
        out = cls()
        out.bin, out.count, out.overlap, out.limited_at_us = _HEAD.unpack_from(data)
        if not (0 <= out.count < _MOST and 0 <= out.overlap <= ENDS and 0 <= out.bin < _MOST):
            raise ValueError("a beat holds impossible numbers")
        out.ends = list(struct.unpack_from(f"<{size // 8}q", data, _HEAD.size))
        return out
