"""What a text is about, coarsely: a SimHash of its content words, whose low bits name one of 512 cells.

Charikar, STOC 2002: each bit is the side of a random hyperplane on which the bag of words lies, so texts with the same
words fall into the same cell, and how many cells a key visits says how widely it asks. It costs microseconds and knows no
language; it is a stand-in for embedding cells, not their equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detectors.fingerprint.hashing import digest

CELL_BITS = 9
LONG_TOKEN = 5
"""Latin words of fewer letters are mostly grammar; a single character of an unspaced script always counts."""


def content(tokens: Sequence[str]) -> int:
    """Hash of all masked tokens: equal for texts that differ only in numbers, quotes, links, case or spacing."""
    return digest(" ".join(tokens))


def simhash(words: Mapping[str, int]) -> int:
    """64-bit SimHash of the content words of a vocabulary; of all words when there are none; 0 for no text."""
    if not words:
        return 0
    wanted = [value for word, value in words.items() if len(word) >= LONG_TOKEN or (len(word) == 1 and not word.isascii())]
    chosen = np.array(wanted or list(words.values()), "<u8")
    bits = np.unpackbits(chosen.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    votes = 2 * bits.sum(axis=0, dtype=np.int64) > len(chosen)
    return int.from_bytes(np.packbits(votes, bitorder="little").tobytes(), "little")


def cell(value: int) -> int:
    """The coverage cell of a SimHash."""
    return value & ((1 << CELL_BITS) - 1)
