"""A language model made on the spot: an interpolated trigram of the English in the standard library, and marked text of it.

The text is `pydoc_data.topics`, the language reference that every Python carries: about 110,000 words and marks. The model
knows only the two tokens before the next one, and says more different things than a chat model does: its entropy is printed
beside every figure that rests on it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pydoc_data import topics
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.green import biased
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.registry import MarkProfile
from detectors.watermark.sampling import Marker, choose, plainly

VOCABULARY = 3000
"""Words; the rarer ones are all the token 0, which the teacher never says."""

WEIGHTS = (0.7, 0.2, 0.1)
"""Of trigram, bigram and unigram."""

Tokens = NDArray[np.uint32]
Shares = NDArray[np.float64]
Draw = Callable[[Shares, list[int]], int]
"""(Probabilities of the next word, answer so far) → the word."""

_WORD = re.compile(r"\w+|[^\w\s]")


class Mark(NamedTuple):
    """How an answer is marked, but for whom."""

    prf: Prf
    profile: MarkProfile


def corpus() -> Tokens:
    """The standard library's English as tokens below `VOCABULARY`: uint32 of shape (n,)."""
    words = [word for name in sorted(topics.topics) for word in _WORD.findall(topics.topics[name].casefold())]
    common = [word for word, _ in Counter(words).most_common(VOCABULARY - 1)]
    number = {word: at for at, word in enumerate(common, 1)}
    return np.array([number.get(word, 0) for word in words], np.uint32)


class Trigram:
    """An interpolated trigram model.

    Args:
        texts: what it is trained on.
    """

    def __init__(self, texts: Sequence[Tokens]) -> None:
        self.unigram = np.full(VOCABULARY, 1e-12)
        pairs: dict[int, Counter[int]] = defaultdict(Counter)
        triples: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
        for text in texts:
            tokens = text.tolist()
            for token in tokens:
                self.unigram[token] += 1.0
            for before, token in pairwise(tokens):
                pairs[before][token] += 1
            for first, second, token in zip(tokens, tokens[1:], tokens[2:], strict=False):
                triples[first, second][token] += 1
        self.unigram[0] = 1e-12
        self.unigram /= self.unigram.sum()
        self._pairs = _conditionals(pairs)
        self._triples = _conditionals(triples)

    def next(self, before: Sequence[int]) -> NDArray[np.float64]:
        """Probabilities of all words after these tokens, of which the last two count: float64 of shape (VOCABULARY,)."""
        three, two, one = WEIGHTS
        pair = self._pairs.get(before[-1])
        triple = self._triples.get((before[-2], before[-1]))
        if triple is None:
            two += three
        if pair is None:
            one += two
        made = self.unigram * one
        if pair is not None:
            made[pair[0]] += two * pair[1]
        if triple is not None:
            made[triple[0]] += three * triple[1]
        return made

    def predicted(self, text: Tokens) -> Tokens:
        """The likeliest word at every place of a text that it reads; 0 at the first two places."""
        tokens = text.tolist()
        made = np.zeros(len(tokens), np.uint32)
        for at in range(2, len(tokens)):
            made[at] = self.next(tokens[at - 2 : at]).argmax()
        return made

    def said(
        self, prompts: Sequence[Tokens], length: int, randomness: np.random.Generator, temperature: float = 1.0
    ) -> list[Tokens]:
        """One plainly drawn answer to each prompt, which has at least two tokens."""

        def draw(shares: Shares, _: list[int]) -> int:
            return plainly(shares if temperature == 1.0 else shares ** (1.0 / temperature), randomness)

        return [self._answer(prompt, length, draw) for prompt in prompts]

    def marked(
        self, prompts: Sequence[Tokens], length: int, mark: Mark, word: NDArray[np.uint8], randomness: np.random.Generator
    ) -> list[Tokens]:
        """One answer to each prompt, marked with a codeword."""
        offsets = offsets_of(np.arange(VOCABULARY))
        made = []
        for prompt in prompts:
            marker = Marker(mark.prf, mark.profile, word)

            def draw(shares: NDArray[np.float64], answer: list[int], marker: Marker = marker) -> int:
                by = marker.next(answer)
                if by is not None and mark.profile.scheme == "gumbel":
                    return choose(shares, offsets, by)
                if by is not None:
                    raised = np.exp(biased(np.log(shares), mark.profile, offsets, by))
                    shares = raised / raised.sum()
                return plainly(shares, randomness)

            made.append(self._answer(prompt, length, draw))
        return made

    def _answer(self, prompt: Tokens, length: int, draw: Draw) -> Tokens:
        before = prompt.tolist()
        answer: list[int] = []
        while len(answer) < length:
            token = draw(self.next(before), answer)
            before.append(token)
            answer.append(token)
        return np.array(answer, np.uint32)

    def entropy(self, texts: Sequence[Tokens]) -> float:
        """Mean entropy of the next word at the places of these texts, in bits."""
        bits = []
        for text in texts:
            tokens = text.tolist()
            for at in range(2, len(tokens)):
                shares = self.next(tokens[at - 2 : at])
                bits.append(-float((shares * np.log2(shares)).sum()))
        return float(np.mean(bits))


_K = TypeVar("_K")


def _conditionals(counted: dict[_K, Counter[int]]) -> dict[_K, tuple[NDArray[np.intp], Shares]]:
    """Context → words and their shares; without the rare ones."""
    made = {}
    for before, counts in counted.items():
        del counts[0]
        if counts:
            shares = np.fromiter(counts.values(), np.float64, len(counts))
            made[before] = np.fromiter(counts, np.intp, len(counts)), shares / shares.sum()
    return made
