"""What a text is about, coarsely: a SimHash of its content words, whose low bits name one of 512 cells.

Charikar, STOC 2002: each bit is the side of a random hyperplane on which the bag of words lies, so texts with the same words
fall into the same cell, and how many cells a key visits says how widely it asks. It costs microseconds and knows no language;
it is a stand-in for embedding cells, not their equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.fingerprint.hashing import Hashes, digest

CELL_BITS = 9
LONG_TOKEN = 5
"""Latin words of fewer letters are mostly grammar; a single character of an unspaced script always counts."""


def content(tokens: Sequence[str]) -> int:
    """Hash of all masked tokens: equal for texts that differ only in numbers, quotes, links, case or spacing."""
    return digest(" ".join(tokens))


def simhash(tokens: Sequence[str], hashes: Hashes) -> int:
    """64-bit SimHash of the distinct content words; of all words when there are none; 0 for no text."""
    if not len(hashes):
        return 0
    wanted = [len(token) >= LONG_TOKEN or (len(token) == 1 and not token.isascii()) for token in tokens]
    words = np.unique(hashes[np.array(wanted)]) if any(wanted) else np.unique(hashes)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    votes = 2 * bits.sum(axis=0, dtype=np.int64) > len(words)
    return int(np.packbits(votes, bitorder="little").view("<u8")[0])


def cell(value: int) -> int:
    """The coverage cell of a SimHash."""
    return value & ((1 << CELL_BITS) - 1)
