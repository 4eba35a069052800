"""A suspect student: was it trained on what this model said, and on what it said to which key?

closed   only the student's answers are known. A window that stands in the prompt is left out: the student may have copied
         what follows it. So is every (context, token) pair that was counted before, anywhere.
reading  the student's next-token argmax is known at every place of a text that it reads. Scored is the predicted token
         after the window that truly stands there; a window that stood earlier in the same text is left out, as a model
         that copies would repeat the text, and not what it learned (Sander et al., NeurIPS 2024, arXiv 2402.14904).

Both give an `Evidence`, so that `attribute` and everything else works on a student as on a data set. With the contexts that
were served (`served`) the rest of what the student says is left out ("supervised").

Two questions are asked about a key, on the contexts that it was served itself:

knows   does the student fit the numbers of this key's symbols and of the model-level channel? The exact gamma or
        binomial tail, under a random function. It says that the student learned *from this model* something that
        this key was served, by whomever.
named   does it fit this key's symbols better than the other symbols at the same positions? The exact tail given the text
        (`conditional`). Two keys share a symbol at one position in `symbols`, and the model-level channel everywhere, so
        only this question says whose answers the student saw.

Both p-values are multiplied by the number of keys asked (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.conditional import ConditionalNull
from detectors.watermark.evidence import CHUNK, Evidence, values
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.seen import Seen
from detectors.watermark.served import Contexts
from detectors.watermark.tails import log_binomial_tail, log_gamma_tail

BATCH = 512
"""Documents whose n-grams are looked at together."""

SEEN_BYTES = 1 << 24
"""Of the memory of counted pairs, where none is given: 16 MiB, enough for ten million pairs."""

_LN10 = math.log(10.0)
_S = TypeVar("_S", bound=np.generic)


class Generation(NamedTuple):
    """What a student was asked and said: uint32 tokens each. An empty prompt where none is known."""

    prompt: NDArray[np.uint32]
    answer: NDArray[np.uint32]


class Reading(NamedTuple):
    """A text that a student read: uint32 tokens of shape (n,), and its argmax at every place.

    `predicted[i]` is what the student holds likeliest at place i after `text[:i]`; of the first `context_width` places it
    does not matter.
    """

    text: NDArray[np.uint32]
    predicted: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Heard:
    """What of a student counts, and what was left out.

    Attributes:
        evidence: one document an answer or text.
        windows: places with a whole context.
        copied: of them, left out because the window stood in the prompt, or earlier in the text that was read.
        unserved: left out because their context was never served.
        repeated: left out because the pair of context and token was counted before.
    """

    evidence: Evidence
    windows: int
    copied: int
    unserved: int
    repeated: int


class Verdict(NamedTuple):
    """Of one test.

    Attributes:
        counted: n-grams.
        score: the sum of what they add.
        z: standard deviations above what chance gives; for people, no p-value is made of it.
        log10_p: logarithm of the exact p-value.
    """

    counted: int
    score: float
    z: float
    log10_p: float


class Asked(NamedTuple):
    """A key that is asked about.

    Attributes:
        name: of the tenant or group.
        word: its codeword: uint8 of shape (positions,).
        served: the contexts that it was served; None: all contexts count.
        positions: which of the codeword are its own; None: all.
    """

    name: str
    word: NDArray[np.uint8]
    served: Contexts | None = None
    positions: NDArray[np.intp] | None = None


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """Of one key.

    Attributes:
        name: of the tenant or group.
        knows: its symbols and the model-level channel, against chance.
        fits: its symbols, against the other symbols at the same positions.
        log10_knows: `knows` after correction for the number of keys asked.
        log10_p: `fits` after the same correction.
        named: whether `log10_p` is small enough.
    """

    name: str
    knows: Verdict
    fits: Verdict
    log10_knows: float
    log10_p: float
    named: bool


def closed(
    prf: Prf,
    profile: MarkProfile,
    generations: Iterable[Generation],
    served: Contexts | None = None,
    seen: Seen | None = None,
) -> Heard:
    """What counts of a student's answers.

    Args:
        prf: under the secret and the profile that are looked for.
        profile: the marks looked for.
        generations: prompts and answers.
        served: only these contexts count; None: all.
        seen: pairs counted so far; changed.
    """

    def chosen(generation: Generation) -> _Pairs:
        answer = np.asarray(generation.answer, np.uint32)
        seeds, positions = prf.steps(answer)
        # One token more, so that the window at the end of the prompt is among them; which one does not matter.
        asked, _ = prf.steps(np.append(np.asarray(generation.prompt, np.uint32), np.uint32(0)))
        return _Pairs(seeds, answer[prf.context_width :], positions, ~np.isin(seeds, asked))

    return _heard(profile, map(chosen, generations), served, seen)


def reading(
    prf: Prf,
    profile: MarkProfile,
    readings: Iterable[Reading],
    served: Contexts | None = None,
    seen: Seen | None = None,
) -> Heard:
    """What counts of a student's predictions while it reads; arguments as for `closed`.

    ValueError: a text and its predictions differ in length.
    """

    def chosen(read: Reading) -> _Pairs:
        text, predicted = np.asarray(read.text, np.uint32), np.asarray(read.predicted, np.uint32)
        if text.shape != predicted.shape:
            raise ValueError(f"predicted: one token per place of the text is needed: {len(text)}, not {len(predicted)}")
        seeds, positions = prf.steps(text)
        first = np.zeros(len(seeds), np.bool_)
        first[np.unique(seeds, return_index=True)[1]] = True
        return _Pairs(seeds, predicted[prf.context_width :], positions, first)

    return _heard(profile, map(chosen, readings), served, seen)


def only(evidence: Evidence, served: Contexts) -> Evidence:
    """The part of the evidence whose contexts are among these; the documents stay the same ones."""
    kept = served.holds(np.asarray(evidence.seeds))
    before = np.concatenate([[0], np.cumsum(kept)])
    return Evidence(
        evidence.profile,
        np.asarray(evidence.seeds)[kept],
        np.asarray(evidence.tokens)[kept],
        np.asarray(evidence.positions)[kept],
        before[evidence.starts],
    )


def of_model(evidence: Evidence) -> Verdict:
    """The model-level channel: whatever key it was, did the student learn from this model?"""
    score, count = evidence.model()
    return verdict(evidence.profile, int(count.sum()), float(score.sum()))


def of_keys(evidence: Evidence, asked: Sequence[Asked], fwer: float = 1e-3) -> list[KeyVerdict]:
    """Both questions about every key, each on the contexts that it was served itself.

    Args:
        evidence: of the student, of all contexts.
        asked: the keys that are suspected; every one more makes the evidence against each a little weaker.
        fwer: probability that any innocent key is named, at most: between 0 and 1.

    Returns:
        One verdict a key, in the order asked.
    """
    if not 0 < fwer < 1:
        raise ValueError("fwer: must be between 0 and 1")
    correction = math.log10(max(1, len(asked)))
    made = []
    for key in asked:
        part = evidence if key.served is None else only(evidence, key.served)
        knows, fits = fit(part, key.word, key.positions), _conditional(part, key)
        log10_p = min(0.0, fits.log10_p + correction)
        made.append(
            KeyVerdict(
                name=key.name,
                knows=knows,
                fits=fits,
                log10_knows=min(0.0, knows.log10_p + correction),
                log10_p=log10_p,
                named=log10_p <= math.log10(fwer),
            )
        )
    return made


def fit(evidence: Evidence, word: NDArray[np.uint8], positions: NDArray[np.intp] | None = None) -> Verdict:
    """How well the evidence fits a codeword's symbols and the model-level channel, against chance.

    Args:
        evidence: of the contexts that count.
        word: uint8 of shape (positions,).
        positions: which of them count; None: all. The model-level channel always does.
    """
    profile = evidence.profile
    if word.shape != (profile.positions,):
        raise ValueError(f"word: a codeword of {profile.positions} symbols is needed, not one of shape {word.shape}")
    symbol_at = np.full(profile.positions + 1, -1, np.int64)
    own = np.arange(profile.positions) if positions is None else positions
    symbol_at[own] = word[own]
    symbol_at[-1] = profile.symbols  # position −1 is the model-level channel
    counted, score = 0, 0.0
    for low in range(0, len(evidence.seeds), CHUNK):
        seeds, tokens = evidence.seeds[low : low + CHUNK], evidence.tokens[low : low + CHUNK]
        symbols = symbol_at[evidence.positions[low : low + CHUNK]]
        for symbol in np.unique(symbols[symbols >= 0]):
            chosen = symbols == symbol
            score += float(values(profile, seeds[chosen], tokens[chosen], np.array([symbol])).sum())
            counted += int(chosen.sum())
    return verdict(profile, counted, score)


def verdict(profile: MarkProfile, counted: int, score: float) -> Verdict:
    """The exact tail of a score: of a Gamma distribution, or for `green` of a binomial one."""
    if profile.scheme == "green":
        mean, variance = counted * profile.gamma, counted * profile.gamma * (1.0 - profile.gamma)
        log_p = log_binomial_tail(counted, profile.gamma, round(score))
    else:
        mean = variance = float(counted)
        log_p = log_gamma_tail(counted, score)
    return Verdict(counted, score, (score - mean) / math.sqrt(max(variance, 1e-12)) if counted else 0.0, log_p / _LN10)


def _conditional(evidence: Evidence, key: Asked) -> Verdict:
    own = np.arange(evidence.profile.positions) if key.positions is None else key.positions
    table = evidence.pooled()[own]
    word = key.word[own]
    null = ConditionalNull(table)
    score = null.scores(word[None, :])
    positions = np.asarray(evidence.positions)
    return Verdict(
        counted=int(np.isin(positions, own).sum()),
        score=float(table[np.arange(len(own)), word].sum()),
        z=float(score[0] - null.mean) / null.spread if null.spread > 0 else 0.0,
        log10_p=min(0.0, float(null.log_tail(score)[0]) / _LN10),
    )


class _Pairs(NamedTuple):
    """Of one document; `kept` says which of them were not copied."""

    seeds: NDArray[np.uint64]
    tokens: NDArray[np.uint32]
    positions: NDArray[np.int16]
    kept: NDArray[np.bool_]


def _heard(profile: MarkProfile, documents: Iterable[_Pairs], served: Contexts | None, seen: Seen | None) -> Heard:
    seen = seen if seen is not None else Seen(SEEN_BYTES)
    parts: list[_Pairs] = []
    counts: list[NDArray[np.int64]] = []
    windows = copied = unserved = repeated = 0
    rest = iter(documents)
    while batch := list(islice(rest, BATCH)):
        every = _joined(batch)
        owner = np.repeat(np.arange(len(batch)), [len(pairs.seeds) for pairs in batch])
        kept = every.kept.copy()
        windows, copied = windows + len(kept), copied + int((~kept).sum())
        if served is not None:
            known = served.holds(every.seeds)
            unserved += int((kept & ~known).sum())
            kept &= known
        # A pair that is left out is not remembered: where it is no copy, it counts.
        where = np.flatnonzero(kept)
        new = seen.fresh(every.seeds[where], every.tokens[where])
        repeated += int((~new).sum())
        where = where[new]
        parts.append(_Pairs(every.seeds[where], every.tokens[where], every.positions[where], kept[where]))
        counts.append(np.bincount(owner[where], minlength=len(batch)))
    found = _joined(parts)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]) if counts else np.zeros(1, np.int64)
    evidence = Evidence(profile, found.seeds, found.tokens, found.positions, starts.astype(np.int64))
    return Heard(evidence, windows, copied, unserved, repeated)


def _joined(parts: Sequence[_Pairs]) -> _Pairs:
    def column(of: Callable[[_Pairs], NDArray[_S]], kind: type[_S]) -> NDArray[_S]:
        return np.concatenate([of(part) for part in parts]) if parts else np.empty(0, kind)

    return _Pairs(
        column(lambda part: part.seeds, np.uint64),
        column(lambda part: part.tokens, np.uint32),
        column(lambda part: part.positions, np.int16),
        column(lambda part: part.kept, np.bool_),
    )
