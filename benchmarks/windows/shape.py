"""What a text looks like, whatever it is about and whatever its language: fifteen numbers beside the embedding."""

from __future__ import annotations

from math import log, log1p

import numpy as np
from numpy.typing import NDArray

NUMBERS = 15
BRACKETS = frozenset("{}[]()<>=;")
ENDS = frozenset(":=`}")


def shape(text: str) -> NDArray[np.float32]:
    """float32 of shape (NUMBERS,): lengths as logarithms, shares of kinds of characters, how it begins and ends."""
    chars, words, end = max(1, len(text)), text.split(), text.rstrip()[-1:]
    different = len({word.lower() for word in words})
    return np.array(
        [
            log1p(len(text)),
            log1p(len(words)),
            len(text) / max(1, len(words)),
            log1p(text.count("\n")),
            sum(map(str.isupper, text)) / chars,
            sum(map(str.isdigit, text)) / chars,
            sum(not char.isalnum() and not char.isspace() for char in text) / chars,
            sum(char > "\x7f" for char in text) / chars,
            log1p(text.count(",")),
            log1p(sum(char in BRACKETS for char in text)),
            log((1 + different) / (1 + len(words))),
            text[:1].isupper(),
            end in {"?", "？", "؟"},
            end in {".", "。", "।"},
            end in ENDS,
        ],
        np.float32,
    )
