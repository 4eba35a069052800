"""MinHash of a text: how much two texts share, from 32 bytes each.

Broder 1997. 16 positions over the set of 3-token shingles: the share of equal positions estimates Jaccard similarity with a
standard error of √(J(1 − J) / 16) ≤ 0.125. Enough to tell a near-duplicate (J ≥ 0.7) from an unrelated text.
"""

from __future__ import annotations

import numpy as np

from detectors.fingerprint.hashing import Hashes, mix

POSITIONS = 16

_SEEDS = (mix(np.arange(1, POSITIONS + 1, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95)) | np.uint64(1))[:, None]


def minhash(spans: Hashes) -> bytes:
    """Signature of 16 positions of 16 bits, little-endian, of shingles of NEAR_TOKENS; empty for none."""
    if not len(spans):
        return b""
    # Multiply-shift per position: the high bits of odd-multiplier products are a universal family.
    smallest = (_SEEDS * spans).min(axis=1)
    return (mix(smallest) & np.uint64(0xFFFF)).astype("<u2").tobytes()


def low_bytes(signature: bytes) -> bytes:
    """The signature cut to 8 bits per position, as windows hold it."""
    return signature[::2]


def similarity(a: bytes, b: bytes) -> float:
    """Estimated Jaccard similarity of two signatures of 16-bit positions; 0.0 when one is empty."""
    if not a or not b:
        return 0.0
    return float(np.count_nonzero(np.frombuffer(a, "<u2") == np.frombuffer(b, "<u2"))) / POSITIONS
