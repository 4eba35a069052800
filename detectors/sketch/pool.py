"""What an entity's exchanges are about, as means that can be pooled: of random Fourier features, and of harvest ratios.

Kept at several scales: the mean over about the last 100, 400 and 1,600 exchanges. Each begins as the plain mean and goes on
as an exponential one, so a scale that is not full yet says what the shorter ones say. Pooling two entities is the mean
weighted by their counts, exact while both are below the scale.

Stored at full precision: a state that comes back from its bytes must go on exactly as if it had stayed in memory.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

SCALES = (100, 400, 1600)
"""The windows of the published protocol are 100 to 1,500 queries; each is four times the one before."""

_COUNTS = struct.Struct(f"<{len(SCALES)}d")


class Pool:
    """Means of a fixed width at every scale.

    Attributes:
        counts: exchanges behind each mean, at most twice its scale: what an exponential mean is worth.
        means: float32 of shape (scales, width).
    """

    __slots__ = ("counts", "means")

    def __init__(self, width: int) -> None:
        self.counts = [0.0] * len(SCALES)
        self.means: NDArray[np.float32] = np.zeros((len(SCALES), width), np.float32)

    def add(self, row: NDArray[np.float32]) -> None:
        """One exchange, float32 of shape (width,)."""
        steps = []
        for at, scale in enumerate(SCALES):
            count = self.counts[at] = min(self.counts[at] + 1.0, 2.0 * scale)
            steps.append(max(1.0 / count, 1.0 / scale))
        self.means += (row - self.means) * np.array(steps, np.float32)[:, None]

    def merged(self, other: Pool) -> Pool:
        """Both entities' exchanges."""
        out = Pool(self.means.shape[1])
        for at, scale in enumerate(SCALES):
            total = self.counts[at] + other.counts[at]
            if total > 0.0:
                out.means[at] = (self.means[at] * self.counts[at] + other.means[at] * other.counts[at]) / np.float32(total)
            out.counts[at] = min(total, 2.0 * scale)
        return out

    def to_bytes(self) -> bytes:
        """Counts and means; a scale that is still what the shorter one is, bit for bit, is left out; so is everything of an
        entity that wrote nothing."""
        if not self.counts[0]:
            return b""
        rows = [row.tobytes() for row in self.means.astype("<f4")]
        own = [row for at, row in enumerate(rows) if not at or row != rows[at - 1]]
        held = sum(1 << at for at, row in enumerate(rows) if not at or row != rows[at - 1])
        return bytes((held,)) + _COUNTS.pack(*self.counts) + b"".join(own)

    @classmethod
    def from_bytes(cls, width: int, data: bytes) -> Pool:
        """Inverse of `to_bytes`.

        Raises:
            ValueError: the bytes are no pool of this width.
        """
        out = cls(width)
        if not data:
            return out
        held, head = data[0], 1 + _COUNTS.size
        if held >> len(SCALES) or not held & 1 or len(data) != head + 4 * width * held.bit_count():
            raise ValueError("a pool has the wrong length")
        out.counts = list(_COUNTS.unpack_from(data, 1))
        own = np.frombuffer(data, "<f4", offset=head).reshape(-1, width)
        means = own[[(held & (2 << at) - 1).bit_count() - 1 for at in range(len(SCALES))]].astype(np.float32)
        if not np.isfinite(means).all() or not all(
            0.0 < count <= 2.0 * scale for count, scale in zip(out.counts, SCALES, strict=True)
        ):
            raise ValueError("a pool holds impossible numbers")
        out.means = means
        return out
