"""Token lists → arrays of 64-bit hashes, and shingles of them. Everything is exact integer arithmetic modulo 2^64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

SPAN_TOKENS = 5
"""Width of the shingles that passages are known by."""
NEAR_TOKENS = 3
"""Width of those that tell how near two texts are."""

# Odd multipliers from SplitMix64 and its relatives; a shingle is a polynomial in one of them, so order matters.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_STEP_SQUARED = np.uint64(0x9E3779B97F4A7C15**2 % 2**64)
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


def shingles(hashes: Hashes) -> tuple[Hashes, Hashes]:
    """Scrambled hashes of every run of NEAR_TOKENS and of SPAN_TOKENS tokens; empty where there are fewer tokens."""
    near, far = max(0, len(hashes) - NEAR_TOKENS + 1), max(0, len(hashes) - SPAN_TOKENS + 1)
    if not near:
        return hashes[:0], hashes[:0]
    # A polynomial: the longer runs are made of the shorter ones and of pairs.
    pairs = hashes[:-1] * _STEP
    pairs += hashes[1:]
    both = np.empty(near + far, np.uint64)
    np.multiply(pairs[:near], _STEP, out=both[:near])
    both[:near] += hashes[2:]
    if far:
        np.multiply(both[:far], _STEP_SQUARED, out=both[near:])
        both[near:] += pairs[3:]
    both = mix(both)
    return both[:near], both[near:]
