"""Text marked by another engine: one shape for every scheme.

A scheme is a frozen configuration that knows which inputs of its pseudo-random function a text shows, and how likely their
numbers are by chance. The p-value is over the key: under a wrong key the numbers of *different* inputs are independent
whatever the text says, and equal inputs have equal numbers, so every input counts once. That is the whole reason why
the test is exact, and why what an engine's own detector reports is given beside it and not instead of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = Sequence[int] | NDArray[Any]
Ints = NDArray[np.int64]

MOST_TOKEN = 2**31 - 1
LN10 = log(10)


@dataclass(frozen=True, slots=True)
class Reported:
    """What the engine's own detector says of the same tokens.

    Attributes:
        scored: tokens it counts.
        score: its statistic.
        log10_p: logarithm of its p-value, without its underflow; None where it gives none.
    """

    scored: int
    score: float
    log10_p: float | None


@dataclass(frozen=True, slots=True)
class Part:
    """A share of the evidence: the tokens of one of two keys."""

    name: str
    scored: int
    score: float
    log10_p: float


@dataclass(frozen=True, slots=True)
class Detection:
    """How a text looks under a key.

    Attributes:
        scored: different inputs of the pseudo-random function.
        score: their statistic: a sum of exponentials, or a count of green tokens or of bits.
        log10_p: decimal logarithm of the exact chance of such a score under a wrong key; 0 where nothing was scored.
        skipped: tokens that carry no evidence: repeats, and those whose context is not known.
        reported: the engine's own view; None for a corpus, of which it has none.
        parts: of two keys that share the tokens among them.
    """

    scored: int
    score: float
    log10_p: float
    skipped: int = 0
    reported: Reported | None = None
    parts: tuple[Part, ...] = ()


class Scheme(Protocol):
    """A configuration of an engine's watermark."""

    def inputs(self, tokens: Ints, prompt: Ints) -> Ints:
        """The different inputs that generation may have marked, one a row: whatever decides a number, then the token."""

    def judged(self, inputs: Ints) -> Detection:
        """The statistic of different inputs, and its chance."""

    def reported(self, tokens: Ints, prompt: Ints) -> Reported:
        """What the engine's own detector says."""


def detect(tokens: Tokens, scheme: Scheme, prompt: Tokens = ()) -> Detection:
    """Looks for a scheme's mark in the tokens of one answer.

    Args:
        tokens: whole numbers of shape (n,), from the engine's tokenizer, without the prompt.
        scheme: with the key to test.
        prompt: the tokens before, where they are known and the scheme makes use of them.

    Raises:
        ValueError: the tokens are none, or the scheme makes no use of a prompt.
    """
    answer, before = token_array("tokens", tokens), token_array("prompt", prompt)
    found = scheme.judged(scheme.inputs(answer, before))
    return replace(found, skipped=len(answer) - found.scored, reported=scheme.reported(answer, before))


def detect_corpus(documents: Iterable[Tokens], scheme: Scheme) -> Detection:
    """Looks for the mark in many answers together: an input that several of them show counts once.

    All inputs are held at once, about 220 bytes a token at four tokens of context.

    Args:
        documents: the tokens of each answer.
        scheme: with the key to test.

    Raises:
        ValueError: an answer is no list of tokens.
    """
    answers = [token_array("tokens", document) for document in documents]
    none = np.zeros(0, np.int64)
    rows = [scheme.inputs(answer, none) for answer in answers]
    if not rows:
        return Detection(0, 0.0, 0.0)
    together = np.concatenate(rows)
    found = scheme.judged(together[first_rows(together)])
    return replace(found, skipped=sum(map(len, answers)) - found.scored)


def token_array(field: str, tokens: Tokens) -> Ints:
    """Tokens as int64 of shape (n,); ValueError names the field."""
    given = np.asarray(tokens)
    if given.size == 0 and given.ndim == 1:
        return np.zeros(0, np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iu" or int(given.min()) < 0 or int(given.max()) > MOST_TOKEN:
        raise ValueError(f"{field}: must be a list of whole numbers from 0 to {MOST_TOKEN}")
    return given.astype(np.int64)


def contexts_before(tokens: Ints, width: int) -> Ints:
    """The `width` tokens before each token, shape (n, width); −1 where there are none yet."""
    padded = np.concatenate([np.full(width, -1, np.int64), tokens])
    return np.lib.stride_tricks.sliding_window_view(padded, width)[: len(tokens)]


def first_rows(rows: NDArray[Any]) -> NDArray[np.intp]:
    """Where each different row comes first, in order."""
    if len(rows) < 2:
        return np.arange(len(rows))
    plain = np.ascontiguousarray(rows)
    keys = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    return np.sort(np.unique(keys, return_index=True)[1])


def key_of_64_bits(field: str, key: int, bits: int = 64) -> None:
    """Demands a whole number of so many bits."""
    if type(key) is not int or not 0 <= key < 2**bits:
        raise ValueError(f"{field}: must be a whole number from 0 to 2^{bits} - 1")  # never the key itself


def demand(fits: bool, field: str, rule: str) -> None:
    """Raises the ValueError of a field that does not fit its rule."""
    if not fits:
        raise ValueError(f"{field}: must be {rule}")
