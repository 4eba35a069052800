"""Small samples of a text's shingles, drawn alike from whatever text holds them: whether an answer comes back as input.

Broder 1997: the smallest hashes of a set are a sample that two sets draw alike. When an answer stands within a later
request, the smallest shingles of its beginning are with high probability among the smallest of the request: of a request
three times as long, 24 of which are kept, about eight.
"""

from __future__ import annotations

import numpy as np

from detectors.fingerprint.hashing import Hashes

ASKED = 24
"""Kept of a request."""
ANSWERED = 6
"""Kept of an answer."""

ANSWER_CHARS = 512
"""Read of an answer: enough to know it again."""


def sample(spans: Hashes, size: int) -> bytes:
    """The smallest shingles of SPAN_TOKENS: at most `size` values of 32 bits, sorted, little-endian; empty for none."""
    if not len(spans):
        return b""
    ordered = np.sort((spans >> np.uint64(32)).astype("<u4"))
    first = ordered[:size]
    if (first[1:] == first[:-1]).any():
        first = np.unique(ordered)[:size]
    return first.tobytes()
