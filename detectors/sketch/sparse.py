"""Rows of numbers that are mostly zero, as bytes: which are not, and those."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def pack(values: Numbers) -> bytes:
    """A bit for each number, then the eight bytes of each that is not zero, little-endian."""
    held = values != 0.0
    bits: bytes = np.packbits(held, bitorder="little").tobytes()
    numbers: bytes = values[held].astype("<f8").tobytes()
    return bits + numbers


def unpack(size: int, data: bytes) -> Numbers:
    """Inverse of `pack`, float64 of shape (size,).

    Raises:
        ValueError: the bytes are no row of this size.
    """
    head = (size + 7) // 8
    held = np.unpackbits(np.frombuffer(data[:head], np.uint8), bitorder="little").astype(np.bool_)
    if len(data) < head or held[size:].any() or len(data) - head != 8 * int(np.count_nonzero(held)):
        raise ValueError("sparse numbers have the wrong length")
    out = np.zeros(size)
    out[held[:size]] = np.frombuffer(data, "<f8", offset=head)
    return out
