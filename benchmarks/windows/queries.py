"""Texts beside what the methods see of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.embedding import teacher
from benchmarks.windows.shape import NUMBERS, shape
from detectors.fingerprint.embedding import DIMENSIONS, embedding, vector
from detectors.fingerprint.hashing import vocabulary
from detectors.fingerprint.normalise import HEAD_CHARS, TAIL_CHARS, fold, pieces, tokens
from detectors.pooled import style

CUT_TOKENS = 128
WIDTH = DIMENSIONS + NUMBERS + style.NUMBERS
FORM = slice(DIMENSIONS, DIMENSIONS + NUMBERS)
"""Where in a row the shape of the text is."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Texts in an order.

    Attributes:
        ours: float32 of shape (n, WIDTH): directions as the fingerprint keeps them, 64 signed bytes, then shapes
            and styles.
        minilm: float32 of shape (n, 384), of length 1; of shape (n, 0) where nobody asked for it.
    """

    texts: tuple[str, ...]
    ours: NDArray[np.float32]
    minilm: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: NDArray[np.intp]) -> Queries:
        """Those of some places, in their order."""
        return Queries(tuple(self.texts[at] for at in places), self.ours[places], self.minilm[places])

    def joined(self, other: Queries) -> Queries:
        """These, then the others."""
        return Queries(
            self.texts + other.texts,
            np.concatenate([self.ours, other.ours]),
            np.concatenate([self.minilm, other.minilm]),
        )


def queries(texts: Sequence[str], encoded: bool = True, told: Callable[[int, int], None] | None = None) -> Queries:
    """Our embedding of texts, and the sentence encoder's where it is needed.

    Raises:
        NoBench: a text is not in the cache of the sentence encoder, and the encoder is not installed.
    """
    minilm = teacher.embed(texts, CUT_TOKENS, told) if encoded else np.zeros((len(texts), 0), np.float32)
    return Queries(tuple(texts), rows(texts), minilm)


def rows(texts: Sequence[str]) -> NDArray[np.float32]:
    """Ours alone, float32 of shape (n, WIDTH)."""
    return np.stack(
        [np.concatenate([vector(embedding(vocabulary(_words(text)))), shape(text), style.style(text)]) for text in texts]
    )


def _words(text: str) -> list[str]:
    head, rest = (fold(part) for part in pieces(text[:HEAD_CHARS], text[-TAIL_CHARS:], len(text)))
    words = tokens(head)
    # Where the two parts were cut there may be half a token on either side.
    return words[:-1] + tokens(rest)[1:] if rest else words
