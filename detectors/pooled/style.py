"""How a text is written, whatever it is about: random projections of the shapes of its characters, of how it begins and
ends, and of its short words.

Fixed seeds and hashes, nothing learned, no list of words: the same numbers in any language. They are for the window test
alone, which sees whole texts; a fingerprint does not keep them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray

from detectors.fingerprint.normalise import fold, tokens

Floats = NDArray[np.float32]

READ_CHARS = 1536
SHAPES, EDGES, SHORT_WORDS = 48, 24, 32
NUMBERS = SHAPES + EDGES + SHORT_WORDS

GRAM = 4
SHORT = 4
"""Letters of a word up to which it is mostly grammar."""

_BUCKETS = 4096
_random = np.random.default_rng(0x57A7)
_TABLES: dict[int, Floats] = {
    width: _random.choice(np.array((-1.0, 1.0), np.float32), (_BUCKETS, width)) for width in (SHAPES, EDGES, SHORT_WORDS)
}
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
_RUNS = ((re.compile("a{8,}"), "aaaa"), (re.compile("a{4,7}"), "aaa"), (re.compile("a{2,3}(?!a)"), "aa"))


def style(text: str) -> Floats:
    """float32 of shape (NUMBERS,): three unit vectors, or zeros where there is nothing of the kind."""
    words = tokens(fold(text[:READ_CHARS]))
    shape = _LETTER.sub("a", _DIGIT.sub("0", text[:READ_CHARS]))
    for run, short in _RUNS:
        shape = run.sub(short, shape)
    grams = (shape[at : at + GRAM] for at in range(len(shape) - GRAM + 1))
    first, last = enumerate(words[:3]), enumerate(words[:-3:-1])
    edges = [*(f"h{at}{word}" for at, word in first), *(f"t{at}{word}" for at, word in last)]
    return np.concatenate(
        [
            _projected(grams, SHAPES),
            _projected(edges, EDGES),
            _projected((word for word in words if len(word) <= SHORT), SHORT_WORDS),
        ]
    )


def _projected(items: Iterable[str], width: int) -> Floats:
    """Direction of a bag: each different item counts as the root of how often it stands there."""
    bag = Counter(items)
    if not bag:
        return np.zeros(width, np.float32)
    at = [xxhash.xxh3_64_intdigest(item.encode("utf-8", "replace")) % _BUCKETS for item in bag]
    total: Floats = np.sqrt(np.fromiter(bag.values(), np.float32, len(bag))) @ _TABLES[width][at]
    length = float(np.sqrt(total @ total))
    return total / np.float32(length) if length > 0.0 else total
