"""Document by document: which named key it carries the mark of, and how strongly, for the list and the picture.

Nobody is named here. A document's evidence under a key that is named is Chernoff's bound on the tail given the text: at
least as large as the exact p-value, and made for all documents and keys in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.offline.progress import Meter
from app.watermark.findings import Cell
from app.watermark.store import Stored
from detectors.watermark.evidence import BLOCK
from detectors.watermark.single import log10_tails

CARRIES = -3.0
"""Logarithm of the p-value from which a document is said to carry a mark; among more than a thousand documents it is so
much lower that less than one seems to by chance."""

CELLS = 2_000
"""In the picture."""

TRACED = 1_000
"""Documents in the list."""

_SCREEN = 2.5
"""Standard deviations above chance below which no bound can reach `CARRIES`; it is not computed there."""

_TILTS = np.geomspace(0.02, 20.0, 24)
_LN10 = float(np.log(10.0))

Mark = tuple[NDArray[np.uint8], NDArray[np.intp]]
"""A codeword, and the positions on which it is judged."""


@dataclass(frozen=True, slots=True)
class Traces:
    """Of a corpus under the named keys.

    Attributes:
        carry: per key, how many documents carry its mark.
        strongest: (document, key, log10 p), the strongest first.
        cells: of the picture.
    """

    carry: list[int]
    strongest: list[tuple[int, int, float]]
    cells: list[Cell]


def trace(stored: Stored, marks: Sequence[Mark], meter: Meter) -> Traces:
    """Every document under every mark."""
    evidence = stored.evidence
    documents = len(evidence)
    best = np.zeros(documents, np.float32)
    owner = np.full(documents, -1, np.int32)
    carry = np.zeros(len(marks), np.int64)
    least = min(CARRIES, -float(np.log10(max(1, documents))))
    if marks:
        meter.stage("documents of the named keys")
        for first, tables in evidence.blocks(BLOCK):
            for number, (word, positions) in enumerate(marks):
                value = _log10_p(tables[:, positions], word[positions])
                carry[number] += int((value <= least).sum())
                part = slice(first, first + len(tables))
                better = (value <= least) & (value < best[part])
                best[part][better] = value[better]
                owner[part][better] = number
            meter.at((first + len(tables)) / documents, first + len(tables))
    score, count = evidence.model()
    model = np.asarray(log10_tails(evidence.profile, count, score))
    strongest = np.flatnonzero(owner >= 0)
    strongest = strongest[np.argsort(best[strongest], kind="stable")][:TRACED]
    return Traces(
        carry=carry.tolist(),
        strongest=[(int(at), int(owner[at]), round(float(best[at]), 2)) for at in strongest],
        cells=_cells(best, owner, model),
    )


def _log10_p(tables: NDArray[np.float32], word: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bounds on the logarithms of the p-values of one codeword on some documents; 0 where it is near chance.

    Chernoff: P[S ≥ t] ≤ exp(K(λ) − λt) for every λ ≥ 0, K the cumulant of the sum of one entry a row.
    """
    centred = tables - tables.mean(axis=2, keepdims=True)
    score = np.take_along_axis(centred, word.astype(np.intp)[None, :, None], axis=2)[:, :, 0].sum(axis=1)
    spread = np.sqrt(np.maximum(centred.var(axis=2).sum(axis=1), 1e-12))
    value = np.zeros(len(tables), np.float32)
    far = np.flatnonzero(score > _SCREEN * spread)
    if not len(far):
        return value
    rows, reached = centred[far].astype(np.float64), score[far].astype(np.float64)
    least = np.zeros(len(far))
    top = rows.max(axis=2, keepdims=True)
    for tilt in _TILTS / max(float(rows.std()) * 10.0, 1e-9):
        cumulant = (np.log(np.exp(tilt * (rows - top)).mean(axis=2)) + tilt * top[:, :, 0]).sum(axis=1)
        np.minimum(least, cumulant - tilt * reached, out=least)
    value[far] = least / _LN10
    return value


def _cells(best: NDArray[np.float32], owner: NDArray[np.int32], model: NDArray[np.float64]) -> list[Cell]:
    documents = len(best)
    size = max(1, -(-documents // CELLS))
    made = []
    for first in range(0, documents, size):
        part = slice(first, min(first + size, documents))
        named = owner[part] >= 0
        if named.any():
            at = first + int(np.argmin(np.where(named, best[part], 0.0)))
            key, value = int(owner[at]), float(best[at])
        else:
            # The strongest of several is strong by chance: the bound for that many.
            value = min(0.0, float(model[part].min()) + float(np.log10(part.stop - first)))
            key = -1
        made.append(Cell(first=first, documents=part.stop - first, key=key, log10_p=round(value, 2)))
    return made
