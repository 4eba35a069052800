"""Which (context, token) pairs have been counted, over a whole corpus, in bounded memory.

A pair's score is one draw however often the pair stands in the text: counted twice, a templated corpus would be evidence
of its own repetition. A Bloom filter (Bloom 1970) never forgets a pair. Sometimes it takes a new one for an old one; that
pair is left out, for a reason that has nothing to do with its score, so no test's null is touched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.prf import mixed, offsets_of

HASHES = 4
DEFAULT_BYTES = 1 << 28
"""256 MiB: with 250 million pairs in it, 2 % of new ones are left out; with 25 million, 1 in 200,000."""


class Seen:
    """The pairs counted so far.

    Args:
        size_bytes: of the filter; a power of two from 64 up.
    """

    def __init__(self, size_bytes: int = DEFAULT_BYTES) -> None:
        if size_bytes < 64 or size_bytes & (size_bytes - 1):
            raise ValueError("size_bytes: a power of two, at least 64")
        self.bits: NDArray[np.uint64] = np.zeros(size_bytes // 8, np.uint64)
        self._mask = np.uint64(size_bytes * 8 - 1)

    def fresh(self, seeds: NDArray[np.uint64], tokens: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of these pairs were never given before, here or in an earlier call; all of them are remembered.

        Args:
            seeds: of the contexts; shape (n,).
            tokens: shape (n,).

        Returns:
            bool of shape (n,): of equal pairs in one call, the first.
        """
        pairs = mixed(seeds ^ mixed(offsets_of(tokens)))
        _, first = np.unique(pairs, return_index=True)
        new = np.zeros(len(pairs), np.bool_)
        new[first] = ~self._held(pairs[first])
        self._hold(pairs[new])
        return new

    def _held(self, pairs: NDArray[np.uint64]) -> NDArray[np.bool_]:
        held = np.ones(len(pairs), np.bool_)
        for word, bit in self._places(pairs):
            held &= (self.bits[word] & bit) != 0
        return held

    def _hold(self, pairs: NDArray[np.uint64]) -> None:
        for word, bit in self._places(pairs):
            np.bitwise_or.at(self.bits, word, bit)

    def _places(self, pairs: NDArray[np.uint64]) -> list[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
        step = mixed(pairs + np.uint64(1)) | np.uint64(1)
        places = []
        for number in range(HASHES):
            at = (pairs + np.uint64(number) * step) & self._mask
            places.append(((at >> np.uint64(6)).astype(np.int64), np.uint64(1) << (at & np.uint64(63))))
        return places
