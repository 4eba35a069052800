"""Which of all issued codewords fit a corpus, with the probability that any innocent one is named kept below a bound.

Two tests of every codeword, each exact given the text (`conditional`):

pooled  all documents as one: the whole codeword's score in the pooled table. Best where much of the corpus is one key's.
split   one half of the positions *selects*, for each codeword, the documents that fit it; the other half *testifies* on
        these documents together. An innocent's symbols at the second half are independent of the selection, so its
        p-value is exact whatever was selected and whoever else is guilty. Finds a key that one document in a hundred
        went through, where pooling drowns it.

A codeword's p-value is twice the smaller of the two, and Holm's procedure (1979) over all codewords decides who is named.
The halves are the even and the odd positions. A tenant of a group is judged on its own half of the codeword, the group on
the other: else a group's evidence would fall on every member.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.conditional import LEAST, ConditionalNull
from detectors.watermark.evidence import Evidence

SELECTS = 6.0
"""Natural logarithm of the evidence by which a document is selected: fewer than one in 400 that are innocent."""

FEW = 4
"""Documents below which only the pooled test is made: there is nothing to select from."""

SCREEN = 4.0
"""Standard deviations above what an innocent scores on its own documents, from which its split test is computed exactly."""

EXACT = 4096
"""Codewords at most whose split test is computed exactly: the farthest above chance."""

_TILTS = np.geomspace(0.02, 20.0, 24)
_BLOCK = 4096
_PART = 1 << 17


@dataclass(frozen=True, slots=True)
class Roster:
    """Codewords that are judged on the same positions.

    Attributes:
        names: of tenants or groups.
        words: uint8 of shape (names, positions).
        positions: which of them count: ascending.
    """

    names: Sequence[str]
    words: NDArray[np.uint8]
    positions: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Fit:
    """How well one codeword fits.

    Attributes:
        name: of the tenant or group.
        roster: number of its roster.
        log10_pooled: logarithm of the pooled test's p-value.
        log10_split: of the split test's; 0 where it was not computed.
        log10_p: of the two together: of twice the smaller.
        named: whether Holm's procedure names it.
        documents: numbers of the documents that its first half selected.
    """

    name: str
    roster: int
    log10_pooled: float
    log10_split: float
    log10_p: float
    named: bool
    documents: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Of a corpus.

    Attributes:
        fits: the named and, after them, the next best, by ascending p-value.
        log10_p: of every codeword of every roster, in order: float64, one array a roster.
        tested: how many codewords were tested.
        fwer: probability that any innocent one is named, at most.
    """

    fits: Sequence[Fit]
    log10_p: Sequence[NDArray[np.float64]]
    tested: int
    fwer: float

    @property
    def named(self) -> Sequence[Fit]:
        """Who is named."""
        return [fit for fit in self.fits if fit.named]


def attribute(
    evidence: Evidence,
    rosters: Sequence[Roster],
    fwer: float = 1e-3,
    best: int = 20,
    progress: Callable[[int], None] | None = None,
) -> Attribution:
    """Score every codeword, pooled and split, and name those that no innocent would match.

    Args:
        evidence: of the corpus.
        rosters: of all issued codewords.
        fwer: probability that any innocent codeword is named, at most: between 0 and 1.
        best: how many that are not named are told, too.
        progress: called with how many pairs of a document and a codeword were compared since the last call; there are
            as many as documents times codewords, where there are at least `FEW` documents.
    """
    if not 0 < fwer < 1:
        raise ValueError("fwer: must be between 0 and 1")
    tested = sum(len(roster.names) for roster in rosters)
    pooled_table = evidence.pooled()
    split = len(evidence) >= FEW
    rows: list[_Row] = []
    for number, roster in enumerate(rosters):
        null = ConditionalNull(pooled_table[roster.positions])
        pooled = null.log_tail(null.scores(roster.words[:, roster.positions]))
        selected = _select(evidence, roster, progress) if split and len(roster.names) else _nothing()
        testified = np.zeros(len(pooled))
        for name, value in _testify(evidence, roster, selected).items():
            testified[name] = value
        rows.append(_Row(number, roster, pooled, testified, selected))
    return _decided(rows, tested, fwer, best, 2.0 if split else 1.0)


@dataclass(frozen=True, slots=True)
class _Selected:
    """Pairs of a codeword and a document that its first half fits, by codeword; how far the second half is above chance."""

    words: NDArray[np.int64]
    documents: NDArray[np.int64]
    excess: NDArray[np.float64]
    variance: NDArray[np.float64]

    def of(self, word: int) -> NDArray[np.int64]:
        low, high = np.searchsorted(self.words, [word, word + 1])
        return self.documents[low:high]


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    roster: Roster
    pooled: NDArray[np.float64]
    split: NDArray[np.float64]
    selected: _Selected


def _nothing() -> _Selected:
    none = np.empty(0, np.int64)
    return _Selected(none, none, np.empty(0), np.empty(0))


def _halves(roster: Roster) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The positions that select and the ones that testify."""
    return roster.positions[0::2], roster.positions[1::2]


def _select(evidence: Evidence, roster: Roster, progress: Callable[[int], None] | None) -> _Selected:
    first, second = _halves(roster)
    symbols = evidence.profile.symbols
    least = max(SELECTS, math.log(max(1, len(evidence))))
    found: list[tuple[NDArray[np.int64], ...]] = []
    scores: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for part in range(0, len(roster.names), _PART):
        words = roster.words[part : part + _PART]
        marks = [_one_hot(words[low : low + _BLOCK][:, first], symbols) for low in range(0, len(words), _BLOCK)]
        for start, tables in evidence.blocks():
            chooses, testifies = tables[:, first], tables[:, second]
            centred = chooses - chooses.mean(axis=2, keepdims=True)
            flat = centred.reshape(len(tables), -1)
            limit = _limits(centred, least)[:, None]
            mean, variance = testifies.mean(axis=2).sum(axis=1), testifies.var(axis=2).sum(axis=1)
            for number, mark in enumerate(marks):
                document, word = np.nonzero(flat @ mark >= limit)
                if not len(word):
                    continue
                word = word + number * _BLOCK
                chosen = words[word][:, second].astype(np.intp)
                score = np.take_along_axis(testifies[document], chosen[:, :, None], axis=2)[:, :, 0].sum(axis=1)
                found.append((word + part, document + start))
                scores.append((score - mean[document], variance[document]))
            if progress is not None:
                progress(len(tables) * len(words))
    if not found:
        return _nothing()
    who = np.concatenate([pair[0] for pair in found])
    order = np.argsort(who, kind="stable")
    return _Selected(
        who[order],
        np.concatenate([pair[1] for pair in found])[order],
        np.concatenate([score[0] for score in scores])[order],
        np.concatenate([score[1] for score in scores])[order],
    )


def _limits(centred: NDArray[np.float32], least: float) -> NDArray[np.float32]:
    """Scores from which Chernoff's bound on a random codeword's is below exp(−least); float32 of shape (documents,).

    Chernoff: P[S ≥ t] ≤ exp(K(λ) − λt) for every λ, so t = min over λ of (K(λ) + least) / λ suffices.
    """
    documents, positions, symbols = centred.shape
    limit = np.full(documents, np.inf, np.float32)
    # The largest entry is taken out first, so that no power overflows.
    top = centred.max(axis=2, keepdims=True)
    below = (centred - top).reshape(-1, symbols)
    tops = top.sum(axis=(1, 2))
    powers = np.empty_like(below)
    # A product with ones is the mean of short rows in a tenth of the time of `mean`.
    ones = np.full(symbols, 1.0 / symbols, np.float32)
    for tilt in (_TILTS / max(float(centred.std()) * 10.0, 1e-9)).astype(np.float32):
        np.exp(np.multiply(below, tilt, out=powers), out=powers)
        cumulant = np.log(powers @ ones).reshape(documents, positions).sum(axis=1) + tilt * tops
        np.minimum(limit, (cumulant + least) / tilt, out=limit)
    return limit


def _one_hot(words: NDArray[np.uint8], symbols: int) -> NDArray[np.float32]:
    """Codewords as columns to multiply flat tables with: float32 of shape (positions × symbols, words)."""
    count, positions = words.shape
    made = np.zeros((count, positions * symbols), np.float32)
    np.put_along_axis(made, words.astype(np.intp) + np.arange(positions) * symbols, 1.0, axis=1)
    return made.T


def _testify(evidence: Evidence, roster: Roster, selected: _Selected) -> dict[int, float]:
    """Natural logarithms of the split test's p-values, of the codewords that are far above chance on what they selected."""
    if not len(selected.words):
        return {}
    count = len(roster.names)
    excess = np.bincount(selected.words, selected.excess, count)
    spread = np.sqrt(np.maximum(np.bincount(selected.words, selected.variance, count), 1e-12))
    far = excess / spread
    candidates = np.flatnonzero(far >= SCREEN)
    candidates = candidates[np.argsort(-far[candidates], kind="stable")[:EXACT]]
    _, second = _halves(roster)
    found: dict[int, float] = {}
    for word in candidates.tolist():
        table = evidence.summed(selected.of(word))[second]
        null = ConditionalNull(table)
        found[word] = float(null.log_tail(null.scores(roster.words[word : word + 1, second]))[0])
    return found


def _decided(rows: Sequence[_Row], tested: int, fwer: float, best: int, tests: float) -> Attribution:
    ln10 = math.log(10.0)
    p_values = [np.minimum(0.0, np.minimum(row.pooled, row.split) + math.log(tests)) for row in rows]
    everyone = np.concatenate(p_values) if p_values else np.empty(0)
    order = np.argsort(everyone, kind="stable")
    limits = math.log(fwer) - np.log(tested - np.arange(len(order)))
    passed = everyone[order] <= limits
    named = len(order) if passed.all() else int(np.argmin(passed))
    fits: list[Fit] = []
    offsets = np.cumsum([0] + [len(p) for p in p_values])
    for rank, place in enumerate(order[: named + best].tolist()):
        number = int(np.searchsorted(offsets, place, "right")) - 1
        row, at = rows[number], place - int(offsets[number])
        fits.append(
            Fit(
                name=row.roster.names[at],
                roster=number,
                log10_pooled=float(row.pooled[at]) / ln10,
                log10_split=float(row.split[at]) / ln10,
                log10_p=float(everyone[place]) / ln10,
                named=rank < named,
                documents=row.selected.of(at),
            )
        )
    return Attribution(fits, [values / ln10 for values in p_values], tested, fwer)


__all__ = ["LEAST", "Attribution", "Fit", "Roster", "attribute"]
