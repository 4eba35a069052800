"""How evenly an entity's exchanges fall on 64 regions of meaning: decayed counts, read as entropy and largest share."""

from __future__ import annotations

from math import log

import numpy as np

from detectors.sketch import sparse

REGIONS = 64


class Topics:
    """Decayed count of each region, at the landmark of the profile's week."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0.0] * REGIONS

    def add(self, region: int, weight: float) -> None:
        """Count an exchange; a region is a whole number, of which the low six bits count."""
        self.counts[region % REGIONS] += weight

    def scale(self, factor: float) -> None:
        """Multiply every count; exact when the factor is a power of two."""
        self.counts = [count * factor for count in self.counts]

    def evenness(self) -> float:
        """Entropy over its maximum; 0.0 for nothing."""
        total = sum(self.counts)
        if total <= 0.0:
            return 0.0
        return -sum(count / total * log(count / total) for count in self.counts if count > 0.0) / log(REGIONS)

    def largest(self) -> float:
        """Share of the most common region; 0.0 for nothing."""
        total = sum(self.counts)
        return max(self.counts) / total if total > 0.0 else 0.0

    def merged(self, other: Topics) -> Topics:
        """Both counts."""
        out = Topics()
        out.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        return out

    def to_bytes(self) -> bytes:
        """The counts that are not zero."""
        return sparse.pack(np.array(self.counts))

    @classmethod
    def from_bytes(cls, data: bytes) -> Topics:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no counts of this size.
        """
        out = cls()
        out.counts = sparse.unpack(REGIONS, data).tolist()
        return out
