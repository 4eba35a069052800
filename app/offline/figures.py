"""How well a model tells abusive keys from honest ones: figures with intervals, as values that JSON can hold.

Keys of one customer or campaign are not independent, so every interval is a bootstrap over those units and not over keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATES = (0.05, 0.01, 0.005, 0.001)
"""False-positive rates at which recall is told."""

REPLICATES = 400
CURVE_POINTS = 400
"""Points of a curve that are kept; a curve of a hundred thousand keys looks the same with them."""


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled key and what a model made of it.

    Attributes:
        unit: what is drawn again in a bootstrap: the campaign of an abusive key where one is told, else the organisation.
        group: what the key is counted under: the label's group, else its peer group.
        score: highest score in the judged part, in [0, 1].
        requests: exchanges in the judged part.
        requests_to_flag: those up to and including the one that flagged it; None: never flagged.
        hours_to_flag: from its first exchange of the judged part.
    """

    key_id: str
    unit: str
    group: str
    abusive: bool
    score: float
    flagged: bool
    requests: int
    requests_to_flag: int | None = None
    hours_to_flag: float | None = None


class Interval(msgspec.Struct, frozen=True):
    """A figure and its 95 % interval; a value of None could not be computed."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Recall(msgspec.Struct, frozen=True):
    """Share of the abusive keys above the score that a share of honest ones exceeds.

    Attributes:
        supported: there are enough honest keys for the rate to mean at least one of them.
    """

    rate: float
    threshold: float
    found: Interval
    supported: bool


class Group(msgspec.Struct, frozen=True):
    """Keys of one stratum or campaign.

    Attributes:
        flagged: at the policy's own level; false positives for honest keys, recall for abusive ones.
        above: share above the 1 % threshold of `Figures.recalls`.
    """

    name: str
    abusive: bool
    keys: int
    units: int
    flagged: Interval
    above: Interval


class Point(msgspec.Struct, frozen=True):
    """A point of a curve, with the interval of y where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    keys: int = 0


class Ablation(msgspec.Struct, frozen=True):
    """The model without one of its scorers."""

    without: str
    recall: float | None  # at 1 % false positives
    own_recall: float | None
    own_false: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one model and one set of labelled keys. Shares are in [0, 1].

    Attributes:
        units: organisations and campaigns.
        own_recall, own_false: share of the abusive and of the honest keys that the policy's own level flags.
        roc: (false-positive rate, recall).
        reliability: (share of honest keys that a score promises, share that reached it).
        bins: (mean score, share of abusive keys) by tenths of the keys.
        detection: (requests, share of the abusive keys flagged within so many).
        to_flag, hours_to_flag: of the abusive keys that were flagged; median and quartiles.
        taken: exchanges of an abusive key until it was flagged, or all of them; median and quartiles.
    """

    honest: int
    abusive: int
    units: int
    auroc: Interval
    recalls: tuple[Recall, ...]
    own_recall: Interval
    own_false: Interval
    groups: tuple[Group, ...]
    roc: tuple[Point, ...]
    reliability: tuple[Point, ...]
    bins: tuple[Point, ...]
    detection: tuple[Point, ...]
    to_flag: Interval
    hours_to_flag: Interval
    taken: Interval
    ablation: tuple[Ablation, ...] = ()


def threshold(honest: Floats, rate: float) -> float:
    """Score that at most `rate` of the honest keys exceed; what lies strictly above it counts as found. −∞ without any."""
    if not len(honest):
        return float("-inf")
    order = np.sort(honest)[::-1]
    return float(order[min(len(order) - 1, int(rate * len(order) + 1e-9))])


def auroc(scores: Floats, abusive: NDArray[np.bool_], weights: Floats | None = None) -> float | None:
    """Chance that an abusive key scores above an honest one, ties counting half; None with only one kind."""
    weight = np.ones(len(scores)) if weights is None else weights
    bad, good = weight * abusive, weight * ~abusive
    if bad.sum() <= 0 or good.sum() <= 0:
        return None
    _, place = np.unique(scores, return_inverse=True)
    below = np.bincount(place, good)
    half = np.cumsum(below) - below / 2
    return float((bad * half[place]).sum() / (bad.sum() * good.sum()))


class _Bootstrap:
    """Draws units with replacement; the same seed draws the same."""

    def __init__(self, units: Sequence[str], seed: int) -> None:
        names, self._of = np.unique(np.array(units, np.str_), return_inverse=True)
        self._count = len(names)
        dice = np.random.default_rng(seed)
        even = np.full(max(1, self._count), 1.0 / max(1, self._count))
        self._draws = dice.multinomial(self._count, even, REPLICATES) if self._count else np.zeros((0, 1))

    def weights(self) -> list[Floats]:
        """Weight of every key in every replicate."""
        return [draw[self._of].astype(np.float64) for draw in self._draws]

    def mean(self, values: Floats, of: NDArray[np.bool_]) -> Interval:
        """Mean of a part of the keys. The interval is None where fewer than two units are in it."""
        if not of.any():
            return Interval(None)
        within = self._of[of]
        value = float(values[of].mean())
        if len(np.unique(within)) < 2:
            return Interval(value)
        sums = np.bincount(within, values[of], self._count)
        counts = np.bincount(within, minlength=self._count).astype(np.float64)
        totals = self._draws @ counts
        if value in (0.0, 1.0):
            # Drawing anew what is all the same says nothing: the exact bound for so many units of which none differs.
            far = 1.0 - 0.025 ** (1.0 / len(np.unique(within)))
            return Interval(value, 0.0, far) if value == 0.0 else Interval(value, 1.0 - far, 1.0)
        means = (self._draws @ sums)[totals > 0] / totals[totals > 0]
        return Interval(value, *(float(bound) for bound in np.quantile(means, (0.025, 0.975))))

    def over(self, value: float | None, figure: Callable[[Floats], float | None]) -> Interval:
        """Interval of a figure that is computed from weights."""
        found = [one for one in map(figure, self.weights()) if one is not None]
        if value is None or len(found) < REPLICATES // 2:
            return Interval(value)
        return Interval(value, *(float(bound) for bound in np.quantile(found, (0.025, 0.975))))


def figures(cases: Sequence[Case], seed: int = 0, ablation: Sequence[Ablation] = ()) -> Figures:
    """Figures of labelled keys; those of one kind alone, or of none at all, leave what needs both empty."""
    scores = np.array([case.score for case in cases], np.float64)
    bad = np.array([case.abusive for case in cases], np.bool_)
    flagged = np.array([case.flagged for case in cases], np.float64)
    boot = _Bootstrap([case.unit for case in cases], seed)
    honest = scores[~bad]
    recalls = []
    for rate in RATES:
        bar = threshold(honest, rate)
        found = boot.mean((scores > bar).astype(np.float64), bad) if len(honest) else Interval(None)
        recalls.append(Recall(rate, bar if len(honest) else 1.0, found, len(honest) * rate >= 1.0))
    bar = recalls[RATES.index(0.01)].threshold
    return Figures(
        honest=int((~bad).sum()),
        abusive=int(bad.sum()),
        units=len({case.unit for case in cases}),
        auroc=boot.over(auroc(scores, bad), lambda weights: auroc(scores, bad, weights)),
        recalls=tuple(recalls),
        own_recall=boot.mean(flagged, bad),
        own_false=boot.mean(flagged, ~bad),
        groups=_groups(cases, boot, (scores > bar).astype(np.float64)),
        roc=_roc(scores, bad),
        reliability=_reliability(scores, bad, boot),
        bins=_bins(scores, bad),
        detection=_detection(cases),
        to_flag=_median([case.requests_to_flag for case in cases if case.abusive and case.requests_to_flag is not None]),
        hours_to_flag=_median([case.hours_to_flag for case in cases if case.abusive and case.hours_to_flag is not None]),
        taken=_median([case.requests_to_flag or case.requests for case in cases if case.abusive]),
        ablation=tuple(ablation),
    )


def _groups(cases: Sequence[Case], boot: _Bootstrap, above: Floats) -> tuple[Group, ...]:
    flagged = np.array([case.flagged for case in cases], np.float64)
    found = []
    for name, abusive in sorted({(case.group, case.abusive) for case in cases}, key=lambda one: (one[1], one[0])):
        inside = np.array([case.group == name and case.abusive == abusive for case in cases], np.bool_)
        units = len({case.unit for case, here in zip(cases, inside, strict=True) if here})
        rates = boot.mean(flagged, inside), boot.mean(above, inside)
        found.append(Group(name, abusive, int(inside.sum()), units, *rates))
    return tuple(found)


def _roc(scores: Floats, bad: NDArray[np.bool_]) -> tuple[Point, ...]:
    """(false-positive rate, recall) from the highest score down; ties make one step."""
    if not bad.any() or bad.all():
        return ()
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    x = np.cumsum(~bad[order])[last] / (~bad).sum()
    y = np.cumsum(bad[order])[last] / bad.sum()
    kept = _thinned(len(last))
    return (Point(0.0, 0.0), *(Point(float(x[at]), float(y[at])) for at in kept))


def _thinned(count: int) -> list[int]:
    """Indices of at most CURVE_POINTS, dense at the beginning, where a log axis shows most; the last is among them."""
    if count <= CURVE_POINTS:
        return list(range(count))
    found = np.unique(np.geomspace(1, count, CURVE_POINTS).astype(np.int64) - 1)
    return [int(at) for at in found]


def _reliability(scores: Floats, bad: NDArray[np.bool_], boot: _Bootstrap) -> tuple[Point, ...]:
    """(share of honest keys that a score of 1 − x promises to be exceeded by, share that exceed it)."""
    if not (~bad).any():
        return ()
    points = []
    for promised in np.geomspace(0.001, 0.5, 19).tolist():
        got = boot.mean((scores >= 1.0 - promised).astype(np.float64), ~bad)
        assert got.value is not None
        points.append(Point(promised, got.value, got.low, got.high))
    return tuple(points)


def _bins(scores: Floats, bad: NDArray[np.bool_], count: int = 10) -> tuple[Point, ...]:
    """(mean score, share of abusive keys) of the keys in each tenth of the scores."""
    found = []
    for part in np.array_split(np.argsort(scores, kind="stable"), count):
        if len(part):
            found.append(Point(float(scores[part].mean()), float(bad[part].mean()), keys=len(part)))
    return tuple(found)


def _detection(cases: Sequence[Case]) -> tuple[Point, ...]:
    """(requests of an abusive key, share of the abusive keys that were flagged within so many)."""
    bad = [case for case in cases if case.abusive]
    if not bad:
        return ()
    needed = np.sort(np.array([case.requests_to_flag for case in bad if case.requests_to_flag is not None], np.float64))
    at, counts = np.unique(needed, return_counts=True)
    shares = np.cumsum(counts) / len(bad)
    return tuple(Point(float(at[i]), float(shares[i])) for i in _thinned(len(at)))


def _median(values: Sequence[float]) -> Interval:
    """Median with the quartiles as its bounds."""
    if not values:
        return Interval(None)
    low, middle, high = np.quantile(np.array(values, np.float64), (0.25, 0.5, 0.75))
    return Interval(float(middle), float(low), float(high))
