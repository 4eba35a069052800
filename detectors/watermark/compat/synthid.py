"""Text marked by SynthID-Text (Dathathri et al., Nature 634:818, 2024), with the reference code's hash since June 2025.

A tournament of m layers chooses a token; each layer l has a bit g of (context, token, key l), and the winners of a layer
tend to have it set. By chance the bits are fair coins, so their number is Bin(n m, ½) exactly, and a weighted number, where
early layers count more, is a weighted sum of such: its tail is exact too (`lattice`). The reference code gives no p.

The hash is 64-bit congruential steps: from SHA-256 of the keys over the tokens of an n-gram and one key, then twelve more
with a shift, and bit 30. Older releases and the transformers library look bits up in a table and give other ones: their
text is not found here. A context that came within the last `context_history_size` is not marked again. Contexts of
generation begin with zeros in place of the prompt, and only whole n-grams of the answer are scored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.compat.detection import LN10, Detection, Ints, Reported, demand, first_rows
from detectors.watermark.compat.lattice import log_weighted_tail, whole_weights
from detectors.watermark.tails import log_binomial_tail

Weights = Literal["even", "linear"]

MULTIPLIER = np.int64(6364136223846793005)
ROUNDS = 12
SHIFT = 64 // ROUNDS
BIT = 30
LONGEST, MOST_KEYS = 64, 256
HEAVIEST, LIGHTEST = 10, 1
BLOCK = 16_384


@dataclass(frozen=True, slots=True)
class SynthId:
    """A set of keys.

    Attributes:
        keys: whole numbers of 64 bits with a sign, one a layer, 1-256 of them.
        ngram_len: tokens of an n-gram, 2-64: the context and the token itself.
        context_history_size: contexts that generation remembers, at least 1.
        weights: `even`, or `linear`: from 10 for the first layer down to 1 for the last, as in the reference code.
    """

    keys: tuple[int, ...] = field(repr=False)
    ngram_len: int = 5
    context_history_size: int = 1024
    weights: Weights = "even"

    def __post_init__(self) -> None:
        fits = all(type(key) is int and -(2**63) <= key < 2**63 for key in self.keys)
        demand(fits and 1 <= len(self.keys) <= MOST_KEYS, "keys", f"1-{MOST_KEYS} whole numbers of 64 bits")
        demand(2 <= self.ngram_len <= LONGEST, "ngram_len", f"from 2 to {LONGEST}")
        demand(self.context_history_size >= 1, "context_history_size", "at least 1")
        demand(self.weights in get_args(Weights), "weights", "even or linear")

    def inputs(self, tokens: Ints, prompt: Ints) -> Ints:
        """The different n-grams whose context generation had not in its memory."""
        grams = self._grams(tokens, prompt)
        grams = grams[self._fresh(grams)]
        return grams[first_rows(grams)]

    def judged(self, inputs: Ints) -> Detection:
        """The weighted number of set bits, with its exact chance."""
        whole = self.whole_weights
        score = int(self.layer_counts(inputs) @ np.array(whole))
        if self.weights == "even":
            log_p = log_binomial_tail(len(inputs) * len(self.keys), 0.5, score)
        else:
            log_p = log_weighted_tail(len(inputs), whole, score)
        return Detection(len(inputs), float(score), log_p / LN10)

    def reported(self, tokens: Ints, prompt: Ints) -> Reported:
        """The reference code's mean, or weighted mean, of the bits that it does not mask. It gives no p."""
        grams = self._grams(tokens, prompt)
        grams = grams[self._fresh(grams)]
        if not len(grams):
            return Reported(0, 0.0, None)
        whole = np.array(self.whole_weights)
        return Reported(len(grams), float(self.layer_counts(grams) @ whole) / (len(grams) * whole.sum()), None)

    @property
    def whole_weights(self) -> tuple[int, ...]:
        """Weights of the layers, as whole numbers: the test is the same for any multiple."""
        last = len(self.keys) - 1
        if self.weights == "even" or not last:
            return (1,) * len(self.keys)
        return whole_weights([HEAVIEST * last - (HEAVIEST - LIGHTEST) * layer for layer in range(last + 1)])

    def layer_counts(self, grams: Ints) -> Ints:
        """How many bits of each layer are set, shape (layers,)."""
        counts = np.zeros(len(self.keys), np.int64)
        for start in range(0, len(grams), BLOCK):
            counts += self.g_values(grams[start : start + BLOCK]).sum(axis=0)
        return counts

    def g_values(self, grams: Ints) -> NDArray[np.int64]:
        """The bits of n-grams, shape (n, layers)."""
        state = np.full(len(grams), self._start, np.int64)
        for column in range(self.ngram_len):
            state = _step(state, grams[:, column])
        layers = _step(state[:, None], np.array(self.keys, np.int64)[None, :])
        for _ in range(ROUNDS):
            layers = _step(layers, np.int64(1)) >> SHIFT
        return layers >> BIT & 1

    @property
    def _start(self) -> int:
        digest = hashlib.sha256(np.array(self.keys, "<i8").tobytes()).digest()
        return int.from_bytes(digest, "big") % (2**63 - 1)

    def _grams(self, tokens: Ints, prompt: Ints) -> Ints:
        if len(prompt):
            raise ValueError("prompt: must be empty; contexts begin with the answer")
        if len(tokens) < self.ngram_len:
            return np.zeros((0, self.ngram_len), np.int64)
        return np.lib.stride_tricks.sliding_window_view(tokens, self.ngram_len)

    def _fresh(self, grams: Ints) -> NDArray[np.bool_]:
        """Whether a context did not come within the last `context_history_size` ones."""
        if not len(grams):
            return np.zeros(0, bool)
        _, names = np.unique(grams[:, :-1], axis=0, return_inverse=True)
        order = np.argsort(names, kind="stable")
        again = np.flatnonzero(names[order][1:] == names[order][:-1])
        fresh = np.ones(len(grams), bool)
        distance = order[again + 1] - order[again]
        fresh[order[again + 1][distance <= self.context_history_size]] = False
        return fresh


def _step(state: Ints, data: Ints | np.int64) -> Ints:
    """One step of the generator of Knuth's MMIX constants over int64, which wraps."""
    return np.asarray((state + data) * MULTIPLIER + np.int64(1))
