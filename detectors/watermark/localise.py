"""Where in a document the evidence for a key lies.

Windows of the scored n-grams in lengths that double, each starting half a length after the one before (the geometric cover
of Pan et al., arXiv 2410.20670): any marked stretch is nearly one of them, and there are few. Each window has its exact
tail; Bonferroni's bound over all windows of the document keeps the probability that any is shown by chance below `alpha`.
Of overlapping windows the strongest is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.evidence import Evidence
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.seen import Seen
from detectors.watermark.single import log10_tails, scores

SHORTEST = 16
"""N-grams in the shortest windows: at two bits a token, enough for one chance in a million."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch that carries the key's mark.

    Attributes:
        start: number of its first token.
        end: number of the token after its last.
        ngrams: that were scored in it.
        log10_p: logarithm of its p-value, times the number of windows that were looked at.
    """

    start: int
    end: int
    ngrams: int
    log10_p: float


def spans(
    prf: Prf, profile: MarkProfile, tokens: NDArray[np.uint32], word: NDArray[np.uint8] | None, alpha: float = 1e-3
) -> list[Span]:
    """The marked stretches of one document, in its order.

    Args:
        prf: under the secret and profile.
        profile: the marks looked for.
        tokens: of the document: uint32 of shape (n,).
        word: the key's codeword; None: marks of the model, whoever asked.
        alpha: probability that any stretch is shown in a document without marks, at most.
    """
    steps, positions = prf.steps(tokens)
    following = np.asarray(tokens[prf.context_width :], np.uint32)
    new = Seen(1 << 16 if len(steps) < 1 << 14 else 1 << 22).fresh(steps, following)
    at = prf.context_width + np.flatnonzero(new)
    ends = np.array([0, len(at)])
    evidence = Evidence(profile, steps[new], following[new], positions[new], ends)
    score, where = scores(evidence, word)
    if word is not None:
        # Without the model-level channel: answers to any other key carry that, too.
        own = evidence.positions[where] >= 0
        score, where = score[own], where[own]
    at = at[where]
    starts, lengths = _cover(len(score))
    if not len(starts):
        return []
    sums = np.concatenate([[0.0], np.cumsum(score)])
    log10_p = log10_tails(profile, lengths, sums[starts + lengths] - sums[starts]) + math.log10(len(starts))
    kept: list[Span] = []
    taken = np.zeros(len(score), np.bool_)
    for number in np.argsort(log10_p, kind="stable").tolist():
        if log10_p[number] > math.log10(alpha):
            break
        low, high = int(starts[number]), int(starts[number] + lengths[number])
        if taken[low:high].any():
            continue
        taken[low:high] = True
        kept.append(Span(int(at[low]), int(at[high - 1]) + 1, high - low, float(log10_p[number])))
    return sorted(kept, key=lambda span: span.start)


def _cover(length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts: list[NDArray[np.int64]] = []
    sizes: list[NDArray[np.int64]] = []
    size = SHORTEST
    while size < length:
        begin = np.arange(0, length - size + 1, size // 2)
        starts.append(begin)
        sizes.append(np.full(len(begin), size))
        size *= 2
    if length >= SHORTEST:
        starts.append(np.zeros(1, np.int64))
        sizes.append(np.array([length]))
    if not starts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(starts), np.concatenate(sizes)
