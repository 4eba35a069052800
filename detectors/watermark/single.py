"""One text against one key that was suspected before the text was looked at: the exact test with all its n-grams.

The model-level channel and the key's own symbols are one sum of Exponential(1) numbers under the null, so the tail is a
Gamma's (a binomial's for `green`). It is exact over the secret: under a random function, distinct pairs of context and
token have independent numbers whatever the text is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.evidence import CHUNK, Evidence, values
from detectors.watermark.registry import MarkProfile
from detectors.watermark.tails import log_binomial_tails, log_gamma_tails


@dataclass(frozen=True, slots=True)
class Test:
    """The outcome.

    Attributes:
        ngrams: that were scored.
        score: their sum; an innocent's is `ngrams` on average (gamma times as much for `green`).
        log10_p: logarithm of the probability that an innocent's is as high.
    """

    ngrams: int
    score: float
    log10_p: float


def scores(
    evidence: Evidence, word: NDArray[np.uint8] | None, low: int = 0, high: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What n-grams add to the score of one key.

    Args:
        evidence: of the text.
        word: the key's codeword; None: only the model-level channel.
        low: first n-gram.
        high: the one after the last; None: all.

    Returns:
        float64 scores, and the numbers of the n-grams they are of, ascending.
    """
    profile = evidence.profile
    end = len(evidence.seeds) if high is None else high
    found: list[NDArray[np.float64]] = []
    where: list[NDArray[np.int64]] = []
    for at in range(low, end, CHUNK):
        until = min(at + CHUNK, end)
        positions = np.asarray(evidence.positions[at:until])
        seeds, tokens = np.asarray(evidence.seeds[at:until]), np.asarray(evidence.tokens[at:until])
        symbols = np.full(len(positions), profile.symbols) if word is None else _symbols(profile, word, positions)
        score = np.zeros(len(positions))
        counts = positions < 0 if word is None else np.ones(len(positions), np.bool_)
        for symbol in np.unique(symbols[counts]).tolist():
            mine = counts & (symbols == symbol)
            score[mine] = values(profile, seeds[mine], tokens[mine], np.array([symbol]))[:, 0]
        found.append(score[counts])
        where.append(at + np.flatnonzero(counts))
    if not found:
        return np.empty(0), np.empty(0, np.int64)
    return np.concatenate(found), np.concatenate(where)


def test(evidence: Evidence, word: NDArray[np.uint8] | None) -> Test:
    """All of a text against one key; with `word` None, whether it is the model's at all."""
    score, where = scores(evidence, word)
    total = float(score.sum())
    return Test(len(where), total, float(log10_tails(evidence.profile, np.array([len(where)]), np.array([total]))[0]))


def log10_tails(profile: MarkProfile, ngrams: NDArray[np.integer], score: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logarithms to base ten of the probabilities that this many innocent n-grams score as much; shape (n,)."""
    if profile.scheme == "green":
        tails = log_binomial_tails(ngrams, profile.gamma, np.rint(score))
    else:
        tails = log_gamma_tails(ngrams, score)
    return np.asarray(tails / math.log(10.0))


def _symbols(profile: MarkProfile, word: NDArray[np.uint8], positions: NDArray[np.int16]) -> NDArray[np.int64]:
    return np.where(positions < 0, profile.symbols, word[np.maximum(positions, 0)].astype(np.int64))
