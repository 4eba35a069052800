"""Pools against the pools of peers: is the mean elsewhere, and is a part of the exchanges something else?

A pool is a line per scale of `sketch.pool`: how many exchanges it is worth, the mean of their random Fourier features, the
shares of the bins of their harvest ratio. Pools add up, so whatever is tested here may be a key, a customer, a campaign.

Mean test. The distance of two mean embeddings is the MMD (Gretton et al., JMLR 2012). Customers of one peer group differ,
and a narrow product lies far from their mean, so the plain distance finds products. Here a difference along a direction
counts in units of what peers differ by along it, plus what chance makes of so many exchanges: Σ (v·(m − μ))² / (λ + σ²/n) /
directions, about 1 for any honest pool of any size (a Hotelling statistic with random effects).

Mixture test. The harvest ratio says how much denser harvesters are than honest customers where an exchange lies, so a
harvester's histogram is a peer's, tilted by the ratio. A share ε of harvest among a peer's traffic changes the logarithm
of the likelihood by n Σ h log(1 − ε + ε e^{θr} / E e^{θr}), and the largest over ε and θ is a likelihood-ratio test; beside
it the largest standardised excess of a tail: higher criticism (Donoho and Jin, Annals of Statistics 2004) over the bins.
Beyond `SATURATION` exchanges it is differences between customers that decide, not chance, so n stops counting there.

Both are given in units of what peers of a similar number of exchanges show, so that a long pool is not odd for being long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.peers import kinds
from detectors.pooled.rff import FEATURES
from detectors.pooled.rows import BIN_CENTRES, BINS

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]

LEAST_SPREAD = 0.05
"""Of the mean spread: no direction is so quiet among peers that chance in it counts for more."""

LEAST_COUNT = 8.0
"""Exchanges of a scale below which it says nothing."""

LEAST_VOTES = 20
"""Customers a group needs for a mean of its own; one with fewer is compared with the next wider group."""

SATURATION = 100.0
EPSILONS = (0.02, 0.05, 0.1, 0.25, 0.6, 1.0)
TILTS = (0.5, 1.0)
SMOOTHING = 0.025
"""Weight of a histogram that is half everybody's and half even, beside a group's own: no bin is impossible."""

BANDS = 10
"""Pools are compared with such of a number of exchanges within the same power of two."""

EVERYBODY = ""
"""Name of the group that stands in for those that are not known."""

LEAST_BAND = 30
_CHUNK = 16384
_BLOCK = 64
"""Rows of a matrix product, so that a row's bits do not depend on who stands beside it."""


@dataclass(frozen=True)
class Baseline:
    """What pools of peers look like.

    Attributes:
        names: peer groups; the last one is of everybody and stands in for those that are not known.
        means: float32 of shape (groups, FEATURES).
        directions: float32 of shape (FEATURES, FEATURES), along which peers differ independently.
        spread: λ, variance of peers along each, float64 of shape (FEATURES,).
        chance: σ², variance of one exchange along a direction.
        shares: float64 of shape (groups, BINS): histogram of the harvest ratio.
        bands: float64 of shape (2, BANDS, 2): of the mean and the mixture test, by the power of two of the exchanges:
            middle and width of the peers' statistics.
    """

    names: tuple[str, ...]
    means: Floats
    directions: Floats
    spread: Numbers
    chance: float
    shares: Numbers
    bands: Numbers

    def places(self, groups: Sequence[tuple[str, ...]]) -> NDArray[np.intp]:
        """Group of each row: its most specific known one, else that of everybody."""
        index = {name: at for at, name in enumerate(self.names)}
        known, codes = kinds(groups)
        last = len(self.names) - 1
        return np.array([next((index[name] for name in names if name in index), last) for names in known], np.intp)[codes]

    def means_test(self, pools: Floats, places: NDArray[np.intp]) -> Numbers:
        """Of every row, in units of peers of its size: the largest over the scales; NaN for a row that has none.

        Args:
            pools: float32 of shape (n, scales, 1 + FEATURES + BINS).
            places: group of each row.
        """
        return self._largest(pools, places, 0)

    def mixture_test(self, pools: Floats, places: NDArray[np.intp]) -> Numbers:
        """As `means_test`, of the histogram of the harvest ratio."""
        return self._largest(pools, places, 1)

    def _largest(self, pools: Floats, places: NDArray[np.intp], which: int) -> Numbers:
        raw = (self.means_raw, self.mixture_raw)[which]
        middle, width = self.bands[which].T
        out = np.full(len(pools), np.nan)
        for start in range(0, len(pools), _CHUNK):
            part = slice(start, start + _CHUNK)
            before = np.zeros(len(pools[part]), np.float32)
            for scale in range(pools.shape[1]):
                lines = pools[part, scale]
                # A scale that is not full says what the one before it said.
                rows = np.flatnonzero((lines[:, 0] >= LEAST_COUNT) & (lines[:, 0] != before))
                before = lines[:, 0]
                band = _band(before[rows])
                found = (raw(lines[rows], places[part][rows]) - middle[band]) / width[band]
                out[start + rows] = np.fmax(out[start + rows], found)
        return out

    def means_raw(self, lines: Floats, places: NDArray[np.intp]) -> Numbers:
        """Statistic of one scale of every row, float64 of shape (n,).

        Args:
            lines: float32 of shape (n, 1 + FEATURES + BINS).
            places: group of each row.
        """
        away = _product(lines[:, 1 : 1 + FEATURES], self.directions) - _product(self.means, self.directions)[places]
        chance = np.float32(self.chance) / np.maximum(lines[:, :1], np.float32(1.0))
        away *= away
        away /= self.spread.astype(np.float32) + chance
        return _product(away, np.full((away.shape[1], 1), 1.0 / away.shape[1], np.float32))[:, 0].astype(np.float64)

    def mixture_raw(self, lines: Floats, places: NDArray[np.intp]) -> Numbers:
        """As `means_raw`."""
        shares = lines[:, 1 + FEATURES :]
        counts = lines[:, 0]
        worth = counts * np.float32(SATURATION) / (counts + np.float32(SATURATION))
        found = np.zeros(len(shares))
        order = np.argsort(places, kind="stable")
        for group, members in zip(*_runs(places[order]), strict=True):
            at = order[members]
            table, expected, scale = self._tables[group]
            seen = _product(shares[at], table)
            parts = len(expected)
            likelihood = worth[at] * seen[:, parts:].max(axis=1)
            # A standardised excess z and a log likelihood z²/2 say the same; what is too little is no sign here.
            excess = np.maximum(((seen[:, :parts] - expected) * scale).max(axis=1), np.float32(0.0))
            found[at] = np.maximum(likelihood, worth[at] * excess * excess / np.float32(2.0))
        return found

    @cached_property
    def _tables(self) -> list[tuple[Floats, Floats, Floats]]:
        return [_tables(shares) for shares in self.shares]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays by name."""
        return {
            "names": np.array(self.names, np.str_),
            "means": self.means,
            "directions": self.directions,
            "spread": self.spread,
            "chance": np.array(self.chance),
            "shares": self.shares,
            "bands": self.bands,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Baseline:
        """Inverse of `arrays`.

        Raises:
            ValueError: an array is missing, or they do not fit together.
        """
        try:
            parts = {name: arrays[name] for name in ("means", "directions", "spread", "shares", "bands")}
            names = tuple(str(name) for name in arrays["names"])
            chance = float(arrays["chance"])
        except KeyError as error:
            raise ValueError(f"the pooled baseline has no array {error.args[0]}") from None
        groups = len(names)
        wanted = {
            "means": (groups, FEATURES),
            "directions": (FEATURES, FEATURES),
            "spread": (FEATURES,),
            "shares": (groups, BINS),
            "bands": (2, BANDS, 2),
        }
        fits = all(parts[name].shape == shape and np.isfinite(parts[name]).all() for name, shape in wanted.items())
        if not groups or not fits:
            raise ValueError("the pooled baseline's arrays do not fit together")
        positive = (parts["spread"], parts["shares"], parts["bands"][:, :, 1], np.array(chance))
        if not all((part > 0).all() for part in positive):
            raise ValueError("the pooled baseline holds a spread or a share that is not above 0")
        return cls(names, chance=chance, **parts)


def fit(pools: Floats, voters: Sequence[str], groups: Sequence[tuple[str, ...]]) -> Baseline | None:
    """Baseline of a history; None when fewer than LEAST_VOTES customers have a pool.

    Args:
        pools: float32 of shape (n, scales, 1 + FEATURES + BINS), at the moments at which entities were scored.
        voters: the customer behind each row; each has one vote in a group, spread over its rows.
        groups: peer groups of each row, most specific first.
    """
    used = np.flatnonzero(pools[:, -1, 0] >= LEAST_COUNT) if pools.size else np.zeros(0, np.intp)
    people, owner = np.unique(np.array(voters, np.str_)[used], return_inverse=True)
    if len(people) < LEAST_VOTES:
        return None
    longest = pools[used, -1, 1:].astype(np.float64)
    customers = _by_owner(longest, owner, len(people))
    everywhere = customers[:, FEATURES:].mean(axis=0)
    members: dict[str, list[int]] = {}
    for at, row in enumerate(used.tolist()):
        for name in groups[row]:
            members.setdefault(name, []).append(at)
    names, means, shares = [], [], []
    for name, rows in sorted(members.items()):
        voting, local = np.unique(owner[rows], return_inverse=True)
        if len(voting) >= LEAST_VOTES:
            own = _by_owner(longest[rows], local, len(voting)).mean(axis=0)
            names.append(name)
            means.append(own[:FEATURES])
            shares.append(_smoothed(own[FEATURES:], everywhere))
    middle = customers[:, :FEATURES].mean(axis=0)
    centred = customers[:, :FEATURES] - middle
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    baseline = Baseline(
        (*names, EVERYBODY),
        np.array([*means, middle], np.float32),
        vectors.astype(np.float32),
        np.maximum(values, LEAST_SPREAD * values.mean()),
        max(1e-4, 1.0 - float((customers[:, :FEATURES] ** 2).sum(axis=1).mean())) / FEATURES,
        np.array([*shares, _smoothed(everywhere, everywhere)]),
        np.tile(np.array([0.0, 1.0]), (2, BANDS, 1)),
    )
    places = baseline.places(groups)
    bands = []
    for raw in (baseline.means_raw, baseline.mixture_raw):
        statistics = np.stack([raw(pools[:, scale], places) for scale in range(pools.shape[1])], axis=1)
        bands.append(_bands(statistics, pools[:, :, 0], voters))
    return replace(baseline, bands=np.array(bands))


def _by_owner(rows: Numbers, owner: NDArray[np.intp], count: int) -> Numbers:
    """Mean of each owner's rows."""
    out = np.zeros((count, rows.shape[1]))
    np.add.at(out, owner, rows)
    return out / np.bincount(owner, minlength=count)[:, None]


def _smoothed(shares: Numbers, everywhere: Numbers) -> Numbers:
    even = 0.5 * everywhere + 0.5 / BINS
    return (shares + SMOOTHING * even) / (1.0 + SMOOTHING)


def _tables(shares: Numbers) -> tuple[Floats, Floats, Floats]:
    """For a group's histogram: by bin, tails and logarithms of likelihood ratios; shares of the tails; one over their
    deviations."""
    ratios = []
    for tilt in TILTS:
        tilted = np.exp(tilt * BIN_CENTRES.astype(np.float64))
        tilted /= float(shares @ tilted)
        ratios += [np.log(1.0 - share + share * np.maximum(tilted, 1e-9)) for share in EPSILONS]
    tails = np.triu(np.ones((BINS, BINS))).T[:, 1:]  # column b: bins from b + 1 on
    expected = np.clip(shares @ tails, 1e-4, 1.0 - 1e-4)
    deviation = 1.0 / np.sqrt(expected * (1.0 - expected))
    table = np.concatenate([tails, np.stack(ratios, axis=1)], axis=1)
    return table.astype(np.float32), expected.astype(np.float32), deviation.astype(np.float32)


def _band(counts: Floats) -> NDArray[np.intp]:
    return np.clip(np.log2(np.maximum(counts, 1.0)).astype(np.intp), 0, BANDS - 1)


def _bands(raw: Numbers, counts: Floats, voters: Sequence[str]) -> Numbers:
    """Middle and width of customers' statistics by size of the pool; a size that few have takes the next smaller one's."""
    out = np.zeros((BANDS, 2))
    names = np.array(voters, np.str_)
    band = np.where(counts >= LEAST_COUNT, _band(counts), -1)
    known: NDArray[np.float64] = np.array([0.0, 1.0])
    for number in range(BANDS):
        rows, scales = np.nonzero(band == number)
        people, owner = np.unique(names[rows], return_inverse=True)
        if len(people) >= LEAST_BAND:
            highest = np.full(len(people), -np.inf)
            np.maximum.at(highest, owner, raw[rows, scales])
            middle = float(np.median(highest))
            known = np.array([middle, max(float(np.quantile(highest, 0.9)) - middle, 0.05)])
        out[number] = known
    return out


def _runs(ordered: NDArray[np.intp]) -> tuple[list[int], list[slice]]:
    """Values that follow each other in a sorted array, and where each stands."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1)).tolist()
    slices = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(ordered)][: len(starts)], strict=True)]
    return ordered[starts].tolist(), slices


def _product(rows: Floats, table: Floats) -> Floats:
    """`rows @ table`, in blocks of one shape: a matrix product may add in another order for another number of rows."""
    padded = np.zeros((-(-len(rows) // _BLOCK) * _BLOCK, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    out: Floats = (padded.reshape(-1, _BLOCK, rows.shape[1]) @ table).reshape(len(padded), table.shape[1])[: len(rows)]
    return out
