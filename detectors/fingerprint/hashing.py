"""Token lists → arrays of 64-bit hashes, and shingles of them. Everything is exact integer arithmetic modulo 2^64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

SPAN_TOKENS = 5
"""Width of the shingles that passages are known by."""

# Odd multipliers from SplitMix64 and its relatives; a shingle is a polynomial in one of them, so order matters.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


def digest(text: str) -> int:
    """64-bit hash of a text; 0 is kept for "nothing"."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "replace")) or 1 if text else 0


def vocabulary(tokens: Sequence[str]) -> dict[str, int]:
    """Each different token with its hash, in order of first appearance."""
    hashed = xxhash.xxh3_64_intdigest
    return {token: hashed(token.encode()) for token in dict.fromkeys(tokens)}


def sequence(tokens: Sequence[str], words: Mapping[str, int]) -> Hashes:
    """One hash per token, in the order of the text."""
    return np.fromiter(map(words.__getitem__, tokens), np.uint64, len(tokens))


def mix(values: Hashes) -> Hashes:
    """A bijective scramble of each value."""
    values = values ^ (values >> _S30)
    values *= _MIX_A
    values ^= values >> _S27
    values *= _MIX_B
    values ^= values >> _S31
    return values


def shingles(hashes: Hashes, width: int) -> Hashes:
    """Scrambled hashes of every run of `width` tokens; empty when there are fewer tokens."""
    count = len(hashes) - width + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    total = hashes[:count].copy()
    for offset in range(1, width):
        total *= _STEP
        total += hashes[offset : offset + count]
    return mix(total)


def smallest(values: Hashes, size: int) -> Hashes:
    """The `size` smallest different values, sorted; fewer when there are not so many."""
    ordered = np.sort(values)
    first = ordered[:size]
    if (first[1:] == first[:-1]).any():
        return ordered[np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))[:size]]
    return first
