"""What stays constant from request to request: hashes of a text's two ends, and winnowed shingles between them.

The two ends catch a template whose slot is in the middle, or a fragment put before or after a foreign text. Winnowing
(Schleimer, Wilkerson, Aiken, SIGMOD 2003) catches what lies elsewhere: of every window of shingles the smallest hash is
chosen, so a shared passage chooses the same ones wherever it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.fingerprint.hashing import SPAN_TOKENS, Hashes, digest

END_TOKENS = 6
"""Shorter than nearly every instruction, long enough that two unrelated texts rarely agree."""

REACH_TOKENS = 64
WINDOW = 6  # three pairs, see `_winnow`
GRAMS_PER_END = 6


def ends(tokens: Sequence[str]) -> tuple[int, int]:
    """Hashes of the first and of the last END_TOKENS tokens; (0, 0) for no text."""
    return digest(" ".join(tokens[:END_TOKENS])), digest(" ".join(tokens[-END_TOKENS:]))


def grams(spans: Hashes) -> bytes:
    """Winnowed shingles of both ends, at most GRAMS_PER_END each: 32-bit values, sorted, little-endian.

    Args:
        spans: shingles of SPAN_TOKENS tokens.
    """
    if not len(spans):
        return b""
    reach = REACH_TOKENS - SPAN_TOKENS + 1
    chosen = _winnow(spans[:reach])
    if len(spans) > reach:
        chosen = chosen | _winnow(spans[-reach:])
    return np.array(sorted(chosen), "<u4").tobytes()


def _winnow(spans: Hashes) -> set[int]:
    # The smallest of the window minima, not all of them: a sample of fixed size that two texts draw alike.
    if len(spans) > WINDOW:
        pairs = np.minimum(spans[1:], spans[:-1])
        spans = np.minimum(np.minimum(pairs[:-4], pairs[2:-2]), pairs[4:])
    # Neighbouring windows share their smallest more often than not.
    different = list(dict.fromkeys(np.sort(spans).tolist()))
    return {value >> 32 for value in different[:GRAMS_PER_END]}
