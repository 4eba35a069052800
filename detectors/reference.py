"""What is normal: the distribution of every feature in every peer group of a history.

An organisation has one vote in a group, spread over its rows: a customer with a thousand keys does not decide what is
normal, and one that slipped in with a campaign moves a quantile by one vote.

Quantiles are kept on a fixed grid that is dense at both ends. A share that lies between two points of the grid is
rounded so that a value looks less suspicious, never more. Looking a value up compares it with numbers of the table and
does no arithmetic on it: a row gives the same bits in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from detectors.catalogue import CATALOGUE
from detectors.contract import FeatureMatrix
from detectors.peers import kinds

_TAIL = 2.0 ** -np.arange(12.0, 3.9, -0.25)
GRID: NDArray[np.float64] = np.concatenate([[0.0], _TAIL, np.linspace(0.0625, 0.9375, 57)[1:-1], 1.0 - _TAIL[::-1], [1.0]])
"""Probabilities of the quantiles kept: steps of 1/64 from 1/16 to 15/16, of a quarter octave beyond, to 1/4,096."""

MIN_VOTES = 50
"""Votes below which a group says nothing about a feature and the next wider one is asked. At 50 the standard error of a
percentile is at most 7 points."""

LEAST_VOTES = 20
"""The same for the widest group, which has no wider one."""

_SUSPICIOUS_LOW = np.array([feature.suspicious == "low" for feature in CATALOGUE])

_CHUNK = 1024
"""Rows looked up at once, so that what is in between stays in the cache of a core."""

_STEPS = tuple(1 << bit for bit in range(len(GRID).bit_length() - 1, -1, -1))
_NATS_HIGH = np.array([-log(1.0 - GRID[max(0, count - 1)]) if count < len(GRID) else inf for count in range(2 * _STEPS[0])])
_NATS_LOW = np.array([-log(GRID[min(count, len(GRID) - 1)]) if count else inf for count in range(2 * _STEPS[0])])
"""Surprise when so many quantiles lie below a value (or are equal to it, on the low side): rounded so that it is less."""


@dataclass(frozen=True)
class Reference:
    """Quantiles by peer group.

    Attributes:
        names: groups, sorted.
        quantiles: float64 of shape (groups, features, len(GRID)); row i of a feature nobody has is all NaN.
        votes: float64 of shape (groups, features): organisations whose values are in it; of the wider group where that
            one was taken instead.
        own: bool of shape (groups, features): the group speaks for itself.
    """

    names: tuple[str, ...]
    quantiles: NDArray[np.float64]
    votes: NDArray[np.float64]
    own: NDArray[np.bool_]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.names)}

    def place(self, groups: Sequence[str]) -> int:
        """Index of the most specific known group; −1 when none is known."""
        known = self._index
        return next((known[name] for name in groups if name in known), -1)

    def below(self, values: NDArray[np.float64], group: int) -> NDArray[np.float64]:
        """Share of the group's votes that lie strictly below each value.

        Args:
            values: float64 of shape (features,).
            group: index from `place`, not −1.

        Returns:
            float64 of shape (features,); NaN where the group says nothing about a feature.
        """
        table = self.quantiles[group]
        return np.where(self.votes[group] > 0, _at_least(table < values[:, None]), np.nan)

    def places(self, groups: Sequence[tuple[str, ...]]) -> NDArray[np.intp]:
        """`place` of every row."""
        known, codes = kinds(groups)
        return np.array([self.place(names) for names in known], np.intp)[codes]

    def surprises(
        self, values: NDArray[np.float64], present: NDArray[np.bool_], places: NDArray[np.intp], columns: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Minus the logarithm of the share of a group's votes at least as far on the suspicious side.

        Args:
            values: float64 of shape (n, len(columns)); present: bool, of the same shape.
            places: group of each row, from `places`, none of them −1.
            columns: catalogue columns of the values.

        Returns:
            float64 of shape (n, len(columns)), in nats, never above log(votes + 1); 0 where the value is absent or the
            group says nothing.
        """
        out = np.empty(values.shape)
        for low in (False, True):
            at = np.flatnonzero(_SUSPICIOUS_LOW[columns] == low)
            for start in range(0, len(values), _CHUNK):
                rows = slice(start, start + _CHUNK)
                cells = places[rows, None] * len(CATALOGUE) + columns[at]
                nats = (_NATS_LOW if low else _NATS_HIGH)[self._counts(values[rows, at], cells, low)]
                out[rows, at] = np.minimum(nats, self._ceilings[cells])
        out[~present] = 0.0
        return out

    @cached_property
    def _ceilings(self) -> NDArray[np.float64]:
        """Most surprising that a group can find a value; 0 where it says nothing."""
        return np.array([log(votes + 1.0) if votes > 0 else 0.0 for votes in self.votes.ravel().tolist()])

    @cached_property
    def _padded(self) -> NDArray[np.float64]:
        """Quantiles of every group and feature, one line each, up to a power of two less one."""
        lines = self.quantiles.reshape(-1, len(GRID))
        return np.concatenate([lines, np.full((len(lines), 2 * _STEPS[0] - 1 - len(GRID)), np.inf)], axis=1).ravel()

    def _counts(self, values: NDArray[np.float64], cells: NDArray[np.intp], equal: bool) -> NDArray[np.intp]:
        """How many quantiles of its cell lie below each value (or are equal to it), by halving."""
        start = cells * (2 * _STEPS[0] - 1) - 1
        count = np.zeros(values.shape, np.intp)
        for step in _STEPS:
            table = self._padded[start + count + step]
            count += step * (table <= values if equal else table < values)
        return count

    def percentile(self, column: int, value: float, groups: Sequence[str]) -> float | None:
        """Share of the peer group with a lower value of one feature, 0–100; None without peers."""
        group = self.place(groups)
        if group < 0 or self.votes[group, column] <= 0:
            return None
        return 100.0 * float(_at_least(self.quantiles[group, column] < value))


def _at_least(smaller: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share that surely lies below, when so many of the quantiles (last axis) do."""
    found: NDArray[np.float64] = GRID[np.maximum(smaller.sum(-1) - 1, 0)]
    return found


def fit(matrix: FeatureMatrix, orgs: Sequence[str], like: Reference | None = None) -> Reference:
    """Reference of a history.

    Args:
        matrix: rows of the history.
        orgs: the voter behind each row.
        like: reference of the whole history when this is a part of it: groups, votes and who speaks for itself are taken
            over, so that a statistic computed with either means the same.
    """
    members: dict[str, list[int]] = {}
    wider: dict[str, str] = {}
    for number, groups in enumerate(matrix.groups):
        for name, next_name in zip(groups, (*groups[1:], ""), strict=True):
            members.setdefault(name, []).append(number)
            wider[name] = next_name
    if like is None:
        voting = {name: len({orgs[row] for row in rows}) for name, rows in members.items()}
        names = tuple(sorted(name for name, count in voting.items() if count >= MIN_VOTES or not wider[name]))
    else:
        names = like.names
    shape = (len(names), len(CATALOGUE))
    quantiles, votes, own = np.full((*shape, len(GRID)), np.nan), np.zeros(shape), np.zeros(shape, np.bool_)
    # Widest first, so that a group can take from the wider one what it cannot say itself.
    done: dict[str, int] = {}
    for name in sorted(names, key=lambda name: (-len(members.get(name, ())), name)):
        at = names.index(name)
        parent = _known(wider, done, name)
        rows = np.array(members.get(name, []), np.intp)
        voters = np.array([orgs[row] for row in rows], np.str_)
        for column in range(len(CATALOGUE)):
            here = matrix.present[rows, column]
            count = len(np.unique(voters[here]))
            speaks = count >= (LEAST_VOTES if parent is None else MIN_VOTES)
            if like is not None:
                speaks = bool(like.own[at, column]) and count > 0
            if speaks:
                quantiles[at, column] = _quantiles(matrix.values[rows[here], column], voters[here])
                votes[at, column], own[at, column] = count, True
            elif parent is not None:
                quantiles[at, column], votes[at, column] = quantiles[parent, column], votes[parent, column]
        done[name] = at
    return Reference(names, quantiles, votes if like is None else np.where(votes > 0, like.votes, 0.0), own)


def _known(wider: dict[str, str], done: dict[str, int], name: str) -> int | None:
    name = wider.get(name, "")
    while name and name not in done:
        name = wider.get(name, "")
    return done.get(name)


def _quantiles(values: NDArray[np.float64], voters: NDArray[np.str_]) -> NDArray[np.float64]:
    _, owner, rows_of = np.unique(voters, return_inverse=True, return_counts=True)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(1.0 / rows_of[owner][order])
    at = np.searchsorted(cumulative / cumulative[-1], GRID, side="left")
    return values[order][np.minimum(at, len(values) - 1)]
