"""What a text is about, coarsely: bits that name one of 512 cells, of a direction of meaning or of the words themselves.

Charikar, STOC 2002: each bit is the side of a random hyperplane, so texts that are alike fall into the same cell, and how
many cells a key visits says how widely it asks. A text without words that an embedding knows falls into the cell of its
SimHash, the same over the bag of its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detectors.fingerprint.embedding import DIMENSIONS
from detectors.fingerprint.hashing import digest

CELL_BITS = 9
_PLANES = np.random.default_rng(0xCE11).standard_normal((DIMENSIONS, CELL_BITS)).astype(np.float32)
_PLACES = (1 << np.arange(CELL_BITS)).astype(np.float32)
LONG_TOKEN = 5
"""Latin words of fewer letters are mostly grammar; a single character of an unspaced script always counts."""


def content(tokens: Sequence[str]) -> int:
    """Hash of all masked tokens: equal for texts that differ only in numbers, quotes, links, case or spacing."""
    return digest(" ".join(tokens))


def simhash(words: Mapping[str, int]) -> int:
    """64-bit SimHash of the content words of a vocabulary; of all words when there are none; 0 for no text."""
    if not words:
        return 0
    chosen = np.fromiter(words.values(), "<u8", len(words))
    lengths = np.fromiter(map(len, words), np.intp, len(words))
    wanted = lengths >= LONG_TOKEN
    if not "".join(words).isascii():
        wanted |= (lengths == 1) & ~np.fromiter(map(str.isascii, words), np.bool_, len(words))
    if wanted.any():
        chosen = chosen[wanted]
    bits = np.unpackbits(chosen.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    # Sums of bytes need no wider type, which would be converted to first, while there are few enough to fit.
    votes = bits.sum(axis=0, dtype=np.uint8 if len(chosen) < 256 else np.int64) > len(chosen) // 2
    return int.from_bytes(np.packbits(votes, bitorder="little").tobytes(), "little")


def cell(value: int) -> int:
    """The coverage cell of a SimHash."""
    return value & ((1 << CELL_BITS) - 1)


def region(embedding: bytes) -> int:
    """The coverage cell of an embedding (64 signed bytes)."""
    return int((np.frombuffer(embedding, np.int8).astype(np.float32) @ _PLANES > 0.0) @ _PLACES)
