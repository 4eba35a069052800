"""What one exchange adds to a pool: its random Fourier features, and the bin of its harvest ratio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.fingerprint.embedding import vector
from detectors.pooled.rff import FEATURES, features

BINS = 16
"""Of the harvest ratio, −128 … 127: sixteen wide each, a factor of e² in the density ratio."""

WIDTH = FEATURES + BINS
BIN_CENTRES: NDArray[np.float32] = (np.arange(BINS, dtype=np.float32) - (BINS - 1) / 2) * 2.0
"""Logarithm of the density ratio in the middle of each bin."""


def pool_row(embedding: bytes, harvest: int) -> NDArray[np.float32]:
    """float32 of shape (WIDTH,)."""
    row = np.zeros(WIDTH, np.float32)
    row[:FEATURES] = features(vector(embedding))
    row[FEATURES + ((harvest + 128) * BINS >> 8)] = 1.0
    return row
