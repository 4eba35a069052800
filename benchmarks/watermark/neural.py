"""A small neural student: the next word from embeddings of the last four, one hidden layer, trained by Adam in numpy.

After Bengio et al. (A Neural Probabilistic Language Model, JMLR 3, 2003), with a narrow layer before the vocabulary, whose
product costs the most. It sees two words more than its teacher did, and has no table of counts: what it repeats of a mark,
it learned by gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from benchmarks.watermark.teacher import VOCABULARY, Tokens

SEES = 4
EMBEDDING, HIDDEN, NARROW = 64, 256, 128
BATCH = 256
RATE = 5e-3
BETA1, BETA2, TINY = 0.9, 0.99, 1e-8
"""Of Adam (Kingma and Ba, 2015)."""

Floats = NDArray[np.float32]


class Neural:
    """A feed-forward language model.

    Args:
        texts: what it is trained on.
        epochs: how often it sees them.
        seed: of its first weights and the order of batches.
    """

    def __init__(self, texts: Sequence[Tokens], epochs: int, seed: int) -> None:
        randomness = np.random.default_rng(seed)

        def layer(*shape: int) -> Floats:
            made: Floats = (randomness.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
            return made

        self._weights: list[Floats] = [
            (0.1 * randomness.standard_normal((VOCABULARY, EMBEDDING))).astype(np.float32),
            layer(SEES * EMBEDDING, HIDDEN),
            np.zeros(HIDDEN, np.float32),
            layer(HIDDEN, NARROW),
            np.zeros(NARROW, np.float32),
            layer(NARROW, VOCABULARY),
            np.zeros(VOCABULARY, np.float32),
        ]
        self.loss = 0.0
        self._train(*_examples(texts), epochs, randomness)

    def shares(self, before: NDArray[np.integer]) -> Floats:
        """Probabilities of the next word: of contexts (n, SEES), float32 of shape (n, VOCABULARY)."""
        return self._forward(before)[-1]

    def said(
        self, prompts: Sequence[Tokens], length: int, randomness: np.random.Generator, temperature: float = 1.0
    ) -> list[Tokens]:
        """One plainly drawn answer to each prompt, which has at least SEES tokens."""
        text = np.stack([prompt[-SEES:] for prompt in prompts]).astype(np.int64)
        for _ in range(length):
            shares = self.shares(text[:, -SEES:]).astype(np.float64)
            sums = np.cumsum(shares ** (1.0 / temperature), axis=1)
            drawn = randomness.random(len(text)) * sums[:, -1]
            token = np.minimum((sums < drawn[:, None]).sum(axis=1), VOCABULARY - 1)
            text = np.concatenate([text, token[:, None]], axis=1)
        return list(text[:, SEES:].astype(np.uint32))

    def predicted(self, text: Tokens) -> Tokens:
        """The likeliest word at every place of a text that it reads; 0 at the first SEES places."""
        made = np.zeros(len(text), np.uint32)
        before, _ = _examples([text])
        for low in range(0, len(before), BATCH):
            made[SEES + low : SEES + low + BATCH] = self.shares(before[low : low + BATCH]).argmax(axis=1)
        return made

    def _forward(self, before: NDArray[np.integer]) -> tuple[Floats, Floats, Floats, Floats]:
        embedding, first, first_bias, second, second_bias, third, third_bias = self._weights
        seen = embedding[before].reshape(len(before), -1)
        hidden = np.maximum(seen @ first + first_bias, 0.0)
        narrow = np.tanh(hidden @ second + second_bias)
        logits = narrow @ third + third_bias
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return seen, hidden, narrow, logits

    def _train(
        self, before: NDArray[np.int64], after: NDArray[np.int64], epochs: int, randomness: np.random.Generator
    ) -> None:
        mean = [np.zeros_like(weight) for weight in self._weights]
        square = [np.zeros_like(weight) for weight in self._weights]
        steps, step = epochs * -(-len(after) // BATCH), 0
        for _ in range(epochs):
            order = randomness.permutation(len(after))
            losses = []
            for low in range(0, len(order), BATCH):
                chosen = order[low : low + BATCH]
                loss, slopes = self._slopes(before[chosen], after[chosen])
                losses.append(loss)
                step += 1
                # The rate falls in a straight line to a twentieth of itself.
                rate = RATE * (1.0 - 0.95 * step / steps) * np.sqrt(1.0 - BETA2**step) / (1.0 - BETA1**step)
                for weight, slope, first, second in zip(self._weights, slopes, mean, square, strict=True):
                    first += np.float32(1.0 - BETA1) * (slope - first)
                    second += np.float32(1.0 - BETA2) * (slope * slope - second)
                    weight -= np.float32(rate) * first / (np.sqrt(second) + np.float32(TINY))
            self.loss = float(np.mean(losses))

    def _slopes(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> tuple[float, list[Floats]]:
        seen, hidden, narrow, shares = self._forward(before)
        _, first, _, second, _, third, _ = self._weights
        rows = np.arange(len(after))
        loss = -float(np.log(np.maximum(shares[rows, after], 1e-30)).mean())
        shares[rows, after] -= 1.0
        shares /= np.float32(len(after))
        to_narrow = (shares @ third.T) * (1.0 - narrow * narrow)
        to_hidden = (to_narrow @ second.T) * (hidden > 0)
        to_seen = (to_hidden @ first.T).reshape(-1, EMBEDDING)
        places = before.ravel()
        mark = csr_matrix((np.ones(len(places), np.float32), (places, np.arange(len(places)))), (VOCABULARY, len(places)))
        return loss, [
            np.asarray(mark @ to_seen),
            seen.T @ to_hidden,
            to_hidden.sum(axis=0),
            hidden.T @ to_narrow,
            to_narrow.sum(axis=0),
            narrow.T @ shares,
            shares.sum(axis=0),
        ]


def _examples(texts: Sequence[Tokens]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Contexts (n, SEES) and the words after them (n,)."""
    windows = [
        np.lib.stride_tricks.sliding_window_view(text.astype(np.int64), SEES + 1) for text in texts if len(text) > SEES
    ]
    every = np.concatenate(windows) if windows else np.empty((0, SEES + 1), np.int64)
    return every[:, :SEES], every[:, SEES]
