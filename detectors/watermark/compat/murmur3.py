"""MurmurHash3_x86_32 (Appleby, public domain) over 32-bit words, seed 0: the hash of SGLang's watermark.

Contexts are hashed without a key, to 32 bits; the key comes in afterwards. Two contexts may therefore collide, and then
share their numbers under every key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.compat.detection import Ints

Words = NDArray[np.uint64]

MASK = np.uint64(0xFFFFFFFF)
_C1, _C2, _N = np.uint64(0xCC9E2D51), np.uint64(0x1B873593), np.uint64(0xE6546B64)
_F1, _F2 = np.uint64(0x85EBCA6B), np.uint64(0xC2B2AE35)
_5, _13, _15, _16, _32 = np.uint64(5), np.uint64(13), np.uint64(15), np.uint64(16), np.uint64(32)
BYTES = 4


def murmur3(words: Sequence[Words | np.uint64]) -> Words:
    """The hash of a sequence of words; each may be an array, all of one shape."""
    state = np.zeros(np.broadcast_shapes(*(np.shape(word) for word in words)), np.uint64)
    for word in words:
        mixed: Words = np.asarray((word & MASK) * _C1 & MASK, np.uint64)
        mixed = _rotated(mixed, _15) * _C2 & MASK
        state = (_rotated(state ^ mixed, _13) * _5 + _N) & MASK
    return _finished(state ^ np.uint64(BYTES * len(words)))


def context_hashes(contexts: Ints, lengths: Ints) -> Words:
    """The hash of the last `lengths` tokens of each row: uint64 below 2³², shape (n,)."""
    result = np.zeros(len(contexts), np.uint64)
    width = contexts.shape[1]
    words = contexts.astype(np.uint64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        result[rows] = murmur3([words[rows, column] for column in range(width - int(length), width)]) if length else _EMPTY
    return result


def token_hashes(key: int, hashes: Words, tokens: Words) -> Words:
    """The number of a token after a context, under a key of 64 bits: below 2³²."""
    return murmur3([*_halves(key), hashes, tokens])


def coins(key_a: int, key_b: int, hashes: Words) -> Words:
    """What decides between two keys after a context: below 2³²."""
    return murmur3([*_halves(key_a), *_halves(key_b), hashes])


def _halves(key: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)


def _rotated(words: Words, by: np.uint64) -> Words:
    return (words << by | words >> (_32 - by)) & MASK


def _finished(state: Words) -> Words:
    state = (state ^ state >> _16) * _F1 & MASK
    state = (state ^ state >> _13) * _F2 & MASK
    return state ^ state >> _16


_EMPTY = np.uint64(0)
"""The hash of no words at all."""
