"""How much of a text is a key's, with its confidence interval.

A marked token scores more than an innocent one by an amount that depends on how uncertain the model was there, which
nobody knows from the text alone. But the model-level channel, sprinkled over the same answers by a coin, shows that amount:
the excess of the key's own symbols per n-gram, divided by the excess of the model-level channel per n-gram, is the share
of the marked text that is the key's, whatever the entropy. What an innocent symbol scores is read off the other symbols at
the same positions, so that other keys in the mixture cancel on average; their scatter over the positions is part of the
interval. The interval of the ratio is Fieller's (1954).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.evidence import Evidence
from detectors.watermark.single import scores

_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % confidence interval, each in 0..1.

    Attributes:
        of_marked: of the text that carries the model's mark; NaN where that mark is too weak to say.
        low: end of its interval; NaN likewise.
        high: the other end.
        of_all: of the whole text, where the expected evidence is known; else NaN.
    """

    of_marked: float
    low: float
    high: float
    of_all: float


@dataclass(frozen=True, slots=True)
class _Excess:
    total: float
    variance: float
    ngrams: int

    @property
    def rate(self) -> float:
        return self.total / max(1, self.ngrams)


class Shares:
    """Of one corpus: the pooled table and the model-level excess, made once.

    Args:
        evidence: of the corpus.
        expected_excess: per marked token, in nats, as the gateway's ledger knows it; None: not known.
    """

    def __init__(self, evidence: Evidence, expected_excess: float | None = None) -> None:
        self._expected = expected_excess
        self._table = evidence.pooled()
        self._counts = np.bincount(_coded(evidence), minlength=evidence.profile.positions)
        chance = evidence.profile.gamma if evidence.profile.scheme == "green" else 1.0
        score, where = scores(evidence, None)
        spread = float(np.var(score)) * len(score) if len(score) else 0.0
        self.model = _Excess(float(score.sum()) - chance * len(where), spread, len(where))

    def of(self, word: NDArray[np.uint8], positions: NDArray[np.intp]) -> Share:
        """Of one codeword, on the positions that are its own."""
        mine = self._excess(word, positions)
        everything = mine.rate / self._expected if self._expected else math.nan
        low, middle, high = _ratio(mine, self.model)
        return Share(_inside(middle), _inside(low), _inside(high), _inside(everything))

    def marked(self) -> float:
        """Share of the whole text that carries the model's mark, where the expected evidence is known; else NaN."""
        return _inside(self.model.rate / self._expected) if self._expected else math.nan

    def _excess(self, word: NDArray[np.uint8], positions: NDArray[np.intp]) -> _Excess:
        rows = self._table[positions]
        symbols = rows.shape[1]
        own = np.take_along_axis(rows, word[positions][:, None].astype(np.intp), axis=1)[:, 0]
        rest = rows.sum(axis=1) - own
        mean = rest / (symbols - 1)
        scatter = np.maximum((rows * rows).sum(axis=1) - own * own - (symbols - 1) * mean * mean, 0.0)
        variance = scatter / max(1, symbols - 2)
        total = float((own - mean).sum())
        # The key's own tokens scatter, too: at most as their excess, which is about that of an exponential number.
        return _Excess(
            total, float(variance.sum()) * (1 + 1 / (symbols - 1)) + max(0.0, total), int(self._counts[positions].sum())
        )


def _coded(evidence: Evidence) -> NDArray[np.int16]:
    positions = np.asarray(evidence.positions)
    return positions[positions >= 0]


def _ratio(above: _Excess, below: _Excess) -> tuple[float, float, float]:
    """Low end, middle and high end of above / below, per n-gram; NaN where `below` may be nothing at all."""
    if not above.ngrams or not below.ngrams or below.total <= 0:
        return math.nan, math.nan, math.nan
    x, y = above.rate, below.rate
    var_x, var_y = above.variance / above.ngrams**2, below.variance / below.ngrams**2
    g = _95**2 * var_y / y**2
    if g >= 1:
        return math.nan, math.nan, math.nan
    middle = x / y
    width = _95 / y * math.sqrt(max(0.0, var_x * (1 - g) + middle**2 * var_y)) / (1 - g)
    centre = middle / (1 - g)
    return centre - width, middle, centre + width


def _inside(value: float) -> float:
    return value if math.isnan(value) else min(1.0, max(0.0, value))
