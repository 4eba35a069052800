"""Text marked by SGLang (`--enable-watermark`): Gumbel-max over MurmurHash3, one key or two with a keyed coin.

After a context c of up to `context_window` tokens a token v gets u = (h + ½) / 2³² with h = murmur3(key, murmur3(c), v),
and the sampler takes the largest log(u) / p. With two keys a coin decides which: where murmur3(key A, key B, murmur3(c))
is below the threshold, key A. The detector can throw the same coin, so every token is scored under the one key that marked
it, and the tail is exactly a gamma's. Numbers lie at the middle of their cell, so p errs by a hair to the safe side.

Contexts include the prompt. Where it is not known, the first `context_window` tokens have no known context and are left
out. The engine marks a context once, by its 32-bit hash, and the first 4,096 of an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.compat.detection import (
    LN10,
    Detection,
    Ints,
    Part,
    Reported,
    contexts_before,
    demand,
    first_rows,
    key_of_64_bits,
)
from detectors.watermark.compat.murmur3 import coins, context_hashes, token_hashes
from detectors.watermark.tails import log_gamma_tail

MOST_CONTEXTS = 4096
WIDEST = 64
UNIT = 2.0**-32
HEX_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Sglang:
    """The mark of one key, or of two.

    Attributes:
        key: 64 bits: the server's, or the one a request brought.
        key_b: the second key; None: there is one only.
        mixing_probability: share of the contexts that key A marks, strictly between 0 and 1.
        context_window: tokens before, 1-64.
        max_contexts: how many different contexts of an answer are marked, 1-4,096.
    """

    key: int = field(repr=False)
    key_b: int | None = field(default=None, repr=False)
    mixing_probability: float = 0.5
    context_window: int = 4
    max_contexts: int = MOST_CONTEXTS

    def __post_init__(self) -> None:
        key_of_64_bits("key", self.key)
        if self.key_b is not None:
            key_of_64_bits("key_b", self.key_b)
        demand(0 < self.mixing_probability < 1, "mixing_probability", "strictly between 0 and 1")
        demand(1 <= self.context_window <= WIDEST, "context_window", f"from 1 to {WIDEST}")
        demand(1 <= self.max_contexts <= MOST_CONTEXTS, "max_contexts", f"from 1 to {MOST_CONTEXTS}")

    def inputs(self, tokens: Ints, prompt: Ints) -> Ints:
        """Rows of a context's hash and the token after it; of equal hashes the first, as generation does."""
        rows = self._hashed(tokens, prompt)
        return rows[first_rows(rows[:, :1])]

    def judged(self, inputs: Ints) -> Detection:
        """The sum of the scores, each under the key that the coin names: Gamma(n, 1) by chance."""
        hashes, tokens = inputs[:, 0].astype(np.uint64), inputs[:, 1].astype(np.uint64)
        scores = _scores(self.key, hashes, tokens)
        if self.key_b is None:
            return _summed(scores)
        of_a = coins(self.key, self.key_b, hashes) < np.uint64(int(self.mixing_probability * 2**32))
        scores = np.where(of_a, scores, _scores(self.key_b, hashes, tokens))
        whole = _summed(scores)
        parts = (_part("key_a", scores[of_a]), _part("key_b", scores[~of_a]))
        return Detection(whole.scored, whole.score, whole.log10_p, parts=parts)

    def reported(self, tokens: Ints, prompt: Ints) -> Reported:
        """SGLang's detector: the same test, but contexts differ by their tokens and not by their hash."""
        found = self.judged(self._hashed(tokens, prompt))
        return Reported(found.scored, found.score, found.log10_p)

    def _hashed(self, tokens: Ints, prompt: Ints) -> Ints:
        """Rows of hash and token of the first `max_contexts` different contexts."""
        width = self.context_window
        before = prompt[-width:]
        sequence = np.concatenate([before, tokens])
        start = len(before) if len(before) else min(width, len(tokens))
        contexts = contexts_before(sequence, width)[start:]
        first = first_rows(contexts)[: self.max_contexts]
        lengths = np.minimum(np.arange(start, len(sequence)), width)[first]
        hashes = context_hashes(contexts[first], lengths)
        return np.stack([hashes.astype(np.int64), sequence[start:][first]], axis=1)


def parse_key(digits: str) -> int:
    """A key as SGLang writes it, 1-16 hexadecimal digits with or without 0x; ValueError for anything else."""
    plain = digits[2:] if digits[:2] in ("0x", "0X") else digits
    if not 1 <= len(plain) <= HEX_DIGITS or not all(letter in "0123456789abcdefABCDEF" for letter in plain):
        raise ValueError("key: must be 1 to 16 hexadecimal digits, with or without 0x")
    return int(plain, 16)


def _scores(key: int, hashes: NDArray[np.uint64], tokens: NDArray[np.uint64]) -> NDArray[np.float64]:
    uniforms = (token_hashes(key, hashes, tokens).astype(np.float64) + 0.5) * UNIT
    return np.asarray(-np.log1p(-uniforms))


def _summed(scores: NDArray[np.float64]) -> Detection:
    score = float(scores.sum())
    return Detection(len(scores), score, log_gamma_tail(len(scores), score) / LN10)


def _part(name: str, scores: NDArray[np.float64]) -> Part:
    found = _summed(scores)
    return Part(name, found.scored, found.score, found.log10_p)
