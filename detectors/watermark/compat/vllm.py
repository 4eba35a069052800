"""Text marked by vLLM (`--watermark-config`): Gumbel-max with one key or two, SBW's green lists, SynthID's bits.

All ask the Philox generator. Contexts are the tokens generated before, −1 where there are none yet, never the prompt. With
`deduplicate_contexts` a context is marked once in an answer (`single_turn`), or once in prompt and answer and never the
first `context_width` tokens (`all`), or always (`none`).

`gumbel`           score −ln(1 − u), u = PRF(key, context, token); the sum is Gamma(n, 1).
`dual_key_gumbel`  ordinary chance decides which of two derived keys marks a token, so both are scored and the sums fused,
                   (1 − α) A + α B. The engine's detector takes a gamma of the same two moments for that; the tail here is
                   the exact one.
`sbw`              a token is green if its 31 bits lie below gamma (Ceppi and Sanchez, arXiv 2609.03844); binomial. The
                   engine's detector uses the normal approximation. And it counts contexts, while the seed of a token is
                   the least of several products: very different contexts share it, and with it the colour. Here a seed
                   and token count once.
`synthid`          bits of one word per token; binomial.

The numbers are of a grid of 2²⁴, whose largest score is 24 ln 2 = 16.6, so far sums are rarer than the gamma law says: p
errs to the safe side.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import special

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
from detectors.watermark.compat.philox import MASK, chosen_word, philox, prf_words, uniforms
from detectors.watermark.tails import log_binomial_tail, log_dual_tail, log_gamma_tail

Scope = Literal["none", "single_turn", "all"]
Seeding = Literal["selfhash", "lefthash"]
Floats = NDArray[np.float64]

WIDEST = 1024
MOST_DEPTH = 32
INT31 = 2**31 - 1
BLOCK = 16_384


@dataclass(frozen=True, slots=True)
class _Contexts:
    """What every scheme has: a key, and which contexts are marked.

    Attributes:
        key: 64 bits.
        context_width: tokens before, 1-1,024. The engine's own default is 4, for SBW's `lefthash` 1.
        deduplicate_contexts: as in the engine's configuration.
    """

    key: int = field(repr=False)
    context_width: int = 4
    deduplicate_contexts: Scope = "single_turn"

    def __post_init__(self) -> None:
        key_of_64_bits("key", self.key)
        demand(
            type(self.context_width) is int and 1 <= self.context_width <= WIDEST, "context_width", f"from 1 to {WIDEST}"
        )
        demand(self.deduplicate_contexts in get_args(Scope), "deduplicate_contexts", "one of none, single_turn, all")

    def inputs(self, tokens: Ints, prompt: Ints) -> Ints:
        """Rows of a context and the token after it, all different."""
        rows = self._marked(tokens, prompt)
        return rows[first_rows(rows)]

    def _marked(self, tokens: Ints, prompt: Ints) -> Ints:
        """Contexts and tokens that generation may have marked."""
        rows = self._rows(tokens, prompt)
        if self.deduplicate_contexts == "none":
            return rows[len(prompt) :]
        first = first_rows(rows[:, :-1])
        unmarked = len(prompt) + (self.context_width if self.deduplicate_contexts == "all" else 0)
        return rows[first[first >= unmarked]]

    def _counted(self, tokens: Ints, prompt: Ints) -> Ints:
        """Contexts and tokens that the engine's detector counts: with `all` the first ones too."""
        rows = self._rows(tokens, prompt)
        if self.deduplicate_contexts == "none":
            return rows
        first = first_rows(rows[:, :-1])
        return rows[first[first >= len(prompt)]]

    def _rows(self, tokens: Ints, prompt: Ints) -> Ints:
        if len(prompt) and self.deduplicate_contexts != "all":
            raise ValueError("prompt: must be empty unless deduplicate_contexts is all; contexts begin with the answer")
        sequence = np.concatenate([prompt, tokens])
        return np.concatenate([contexts_before(sequence, self.context_width), sequence[:, None]], axis=1)


@dataclass(frozen=True, slots=True)
class VllmGumbel(_Contexts):
    """`"algorithm": "gumbel"`."""

    def judged(self, inputs: Ints) -> Detection:
        """The sum of exponentials: exactly Gamma(n, 1) by chance."""
        score = float(_scores(self.key, inputs).sum())
        return Detection(len(inputs), score, log_gamma_tail(len(inputs), score) / LN10)

    def reported(self, tokens: Ints, prompt: Ints) -> Reported:
        """The same test; without deduplication of repeats as well, which are no independent evidence."""
        found = self.judged(self._counted(tokens, prompt))
        return Reported(found.scored, found.score, found.log10_p)


@dataclass(frozen=True, slots=True)
class VllmDualKey(_Contexts):
    """`"algorithm": "dual_key_gumbel"`.

    Attributes:
        alpha: share of the tokens that key B marks, and its weight in the score, 0-1.
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        super(VllmDualKey, self).__post_init__()  # slots make a class twice, and super() would find the first
        demand(0 <= self.alpha <= 1, "alpha", "from 0 to 1")

    def judged(self, inputs: Ints) -> Detection:
        """The fused score with its exact tail; the parts are the two keys' own tests."""
        of_a, of_b = (float(_scores(key, inputs).sum()) for key in derived_keys(self.key))
        fused, count = (1 - self.alpha) * of_a + self.alpha * of_b, len(inputs)
        parts = tuple(
            Part(name, count, score, log_gamma_tail(count, score) / LN10)
            for name, score in (("key_a", of_a), ("key_b", of_b))
        )
        return Detection(count, fused, log_dual_tail(count, fused, self.alpha) / LN10, parts=parts)

    def reported(self, tokens: Ints, prompt: Ints) -> Reported:
        """A gamma of the same mean and variance in place of the sum's law: its p is too small deep in the tail."""
        found = self.judged(self._counted(tokens, prompt))
        variance = (1 - self.alpha) ** 2 + self.alpha**2
        return Reported(found.scored, found.score, log_gamma_tail(found.scored / variance, found.score / variance) / LN10)


@dataclass(frozen=True, slots=True)
class VllmSbw(_Contexts):
    """`"algorithm": "sbw"`.

    Attributes:
        key: at most 63 bits: the engine cannot hold more here.
        seeding: `selfhash`: the least of key · h(context token) · h(token) over all context tokens but the oldest, and of
            key · h(token)²; `lefthash`: key times the sum of the context. (The engine's own detector hashes the tokens of
            a `lefthash` context before it sums them, unlike its generator, and so does not find that mark.)
        gamma: share of green tokens, strictly between 0 and 1.
    """

    seeding: Seeding = "selfhash"
    gamma: float = 0.5

    def __post_init__(self) -> None:
        super(VllmSbw, self).__post_init__()
        key_of_64_bits("key", self.key, 63)
        demand(self.seeding in get_args(Seeding), "seeding", "one of selfhash, lefthash")
        demand(0 < self.gamma < 1 and self._below >= 1, "gamma", "strictly between 0 and 1")

    @property
    def _below(self) -> int:
        return int(self.gamma * INT31)

    def inputs(self, tokens: Ints, prompt: Ints) -> Ints:
        """Rows of a seed and the token after it, all different."""
        rows = self._seeded(self._marked(tokens, prompt))
        return rows[first_rows(rows)]

    def judged(self, inputs: Ints) -> Detection:
        """The number of green tokens: binomial by chance."""
        green, count = int(self._green(inputs).sum()), len(inputs)
        return Detection(count, float(green), log_binomial_tail(count, self._below / 2**31, green) / LN10)

    def reported(self, tokens: Ints, prompt: Ints) -> Reported:
        """The z-test over different contexts."""
        rows = self._seeded(self._counted(tokens, prompt))
        count, green = len(rows), float(self._green(rows).sum())
        if not count:
            return Reported(0, 0.0, 0.0)
        z = (green - count * self.gamma) / np.sqrt(count * self.gamma * (1 - self.gamma))
        return Reported(count, green, float(special.log_ndtr(-z)) / LN10)

    def _seeded(self, rows: Ints) -> Ints:
        contexts, tokens = rows[:, :-1], rows[:, -1]
        if self.seeding == "lefthash":
            seeds = np.int64(self.key) * contexts.sum(axis=1)
        else:
            own = jenkins(tokens)
            factors = np.concatenate([jenkins(contexts[:, 1:]), own[:, None]], axis=1)
            seeds = (np.int64(self.key) * factors * own[:, None]).min(axis=1)
        return np.stack([seeds, tokens], axis=1)

    def _green(self, rows: Ints) -> NDArray[np.bool_]:
        seeds, asked = rows[:, 0].astype(np.uint64), rows[:, 1].astype(np.uint64)
        zero = np.zeros(len(rows), np.uint64)
        words = philox((asked >> np.uint64(2), zero, zero, zero), (seeds & MASK, seeds >> np.uint64(32)))
        return np.asarray((chosen_word(words, asked) & np.uint64(INT31)) < np.uint64(self._below))


@dataclass(frozen=True, slots=True)
class VllmSynthId(_Contexts):
    """`"algorithm": "synthid"`: a tournament on the lowest bits of the PRF's word.

    Attributes:
        depth: bits, 1-32.
    """

    depth: int = 32

    def __post_init__(self) -> None:
        super(VllmSynthId, self).__post_init__()
        demand(type(self.depth) is int and 1 <= self.depth <= MOST_DEPTH, "depth", f"from 1 to {MOST_DEPTH}")

    def judged(self, inputs: Ints) -> Detection:
        """The number of bits that are set, of scored · depth: binomial by chance."""
        words = prf_words(self.key, inputs[:, :-1], inputs[:, -1])
        hits = int(np.bitwise_count(words & np.uint64(2**self.depth - 1)).sum())
        return Detection(len(inputs), float(hits), log_binomial_tail(len(inputs) * self.depth, 0.5, hits) / LN10)

    def reported(self, tokens: Ints, prompt: Ints) -> Reported:
        """The same test; its score is the share of bits that are set."""
        found = self.judged(self._counted(tokens, prompt))
        return Reported(found.scored, found.score / max(1, found.scored * self.depth), found.log10_p)


def derived_keys(key: int) -> tuple[int, int]:
    """Keys A and B of a master key: the first 8 bytes, big-endian, of SHA-256 over a name and the key in 8 such bytes."""
    digests = (hashlib.sha256(name + key.to_bytes(8, "big")).digest() for name in (b"key_a", b"key_b"))
    first, second = (int.from_bytes(digest[:8], "big") for digest in digests)
    return first, second


def jenkins(tokens: Ints) -> Ints:
    """An integer hash by Bob Jenkins, of 32-bit words with a sign; of token + 1, so that only "no token" hashes to 0."""
    x = (tokens + 1).astype(np.int32)
    x = x - (x << 6)
    x = x ^ (x >> 17)
    x = x - (x << 9)
    x = x ^ (x << 4)
    x = x - (x << 3)
    x = x ^ (x << 10)
    x = x ^ (x >> 15)
    return x.astype(np.int64)


def _scores(key: int, rows: Ints) -> Floats:
    """−ln(1 − u) of each context and token."""
    scores = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        scores[start : start + BLOCK] = -np.log1p(-uniforms(prf_words(key, some[:, :-1], some[:, -1])).astype(np.float64))
    return scores
