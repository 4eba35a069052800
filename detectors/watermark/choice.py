"""The best of several finished answers, for an upstream that shows no logits.

Each candidate is scored as a search would score it: −ln(1 − u) of every distinct n-gram under the tenant's codeword, or
under the model-level channel where the coin says so. Of text that knows nothing of the key the sum over n n-grams is
Gamma(n, 1), so its tail probability is uniform whatever the length, and the smallest of m is at any candidate with
probability 1/m: over keys the choice leaves the distribution of answers as it was (Bahri and Wieting, arXiv:2410.02099).
Of m candidates the best is expected 0.56 (m = 2), 1.03 (4) or 1.42 (8) standard deviations above what is usual, and
evidence adds up as the square root of the number of choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.prf import Prf, scored
from detectors.watermark.tails import log_gamma_tail
from detectors.watermark.words import words


class Score(NamedTuple):
    """How well one candidate fits.

    Attributes:
        log_tail: natural logarithm of the probability that a text without the mark fits as well.
        excess: score above what such a text has on average, nats; may be negative.
        ngrams: distinct ones that were scored.
    """

    log_tail: float
    excess: float
    ngrams: int

    @property
    def standardised(self) -> float:
        """(S − n) / √n: about standard normal for text without the mark; 0 where nothing was scored."""
        return self.excess / self.ngrams**0.5 if self.ngrams else 0.0


class Chooser:
    """Scores candidates for one tenant."""

    __slots__ = ("_prf", "_symbols", "_word")

    def __init__(self, prf: Prf, word: NDArray[np.uint8]) -> None:
        """For a codeword.

        Args:
            prf: under the secret and a profile of the scheme choice.
            word: uint8 of shape (positions,).
        """
        self._prf = prf
        self._word = word
        self._symbols = np.arange(prf.model_symbol + 1)

    def score(self, tokens: NDArray[np.uint32], lot: float) -> Score:
        """Of one candidate.

        Args:
            tokens: from `detectors.watermark.words.words`: uint32 of shape (n,).
            lot: a random number in (0, 1] by which a candidate without a single n-gram takes part: were it always the
                worst, or the best, the distribution of answers would change.
        """
        seeds, positions = self._prf.steps(tokens)
        if not len(seeds):
            return Score(float(np.log(lot)), 0.0, 0)
        after = tokens[self._prf.context_width :]
        order = np.lexsort((after, seeds))
        seeds, positions, after = seeds[order], positions[order], after[order]
        new = np.append(True, (seeds[1:] != seeds[:-1]) | (after[1:] != after[:-1]))
        seeds, positions, after = seeds[new], positions[new], after[new]
        symbols = np.where(positions < 0, self._prf.model_symbol, self._word[positions])
        numbers = scored(seeds, after, self._symbols)[np.arange(len(seeds)), symbols]
        total = float(-np.log1p(-numbers).sum())
        return Score(log_gamma_tail(len(seeds), total), total - len(seeds), len(seeds))


def best(scores: Sequence[Score]) -> int:
    """Index of the candidate that fits best; the first of equals. ValueError without one."""
    if not scores:
        raise ValueError("scores: there is no candidate")
    return min(range(len(scores)), key=lambda at: scores[at].log_tail)


def beginning(text: str, most: int) -> NDArray[np.uint32]:
    """The first `most` words of a text as tokens, without its last one, which may not be whole yet."""
    return words(text)[:-1][:most]
