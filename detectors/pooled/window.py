"""Is a small share of a window of exchanges something else than the traffic it is compared with?

The difference of means that MMD tests grows with the square of the share of foreign exchanges, so it needs a thousand of
them to see one in twenty. A few foreign exchanges do not move a mean; they stand out one by one. So each exchange gets
scores of its own — how much more likely it is under traffic of other kinds than under the reference (a density ratio, by
logistic regression against a background of peer traffic), and how lonely it is in the reference (distance to its nearest
neighbours, in units of its spread) — and the question is put to their ranks among held-out reference exchanges, at both
ends. Where harvests of other kinds are known, a second density ratio is learned against them; it has a sign, for a harvest
is like other harvests, so its ranks are looked at from above alone:

- a likelihood ratio for a mixture (Donoho and Jin, Annals of Statistics 2004, say why extremes tell before means do): the
  mean over shares of the product over exchanges of 1 − ε + ε·LR, where LR is the density of ranks that a shift to one end
  has, by how steep a shift;
- and, for dense mixtures, the squared difference of means in units of the reference's spread (Hotelling): MMD's question,
  put so that a direction in which the reference is quiet counts. Once of all numbers of a row, and once more of the few
  that say what form a text has, whose own shift is lost among many others.

Further statistics (higher criticism, MMD by random features, Mahalanobis distance, means of ranks) were measured and left
out: each costs the others power when the rarest decides.

Every statistic compares a window with the reference, and the null is windows of the same size drawn from the reference
against what is left of it, scaled by what the smaller rest makes it vary more. To make a window's exchanges and the
reference's exchangeable, the latter are scored by models fitted without them, in folds, and each exchange of a window by
the model of one fold drawn for it. Two things are made of the statistics: the largest, for what one of them alone sees, and
the sum of what all of them say beyond the usual; the rarer of the two decides, calibrated by the same windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]

FOLDS = 5
NEIGHBOURS = 5
WAVES = 96
NULL_WINDOWS = 4000
"""Resolves a p-value of 0.0005."""

LEAST_REFERENCE = 100
SHRINK = 0.2
CLIP = 5.0
"""Standard deviations beyond which a number of a row is cut: the odd text of a megabyte must not decide a mean."""

REGULARITY = 0.05
EPSILONS = (0.02, 0.05, 0.1, 0.25)
TILTS = (6.0, 15.0, 40.0)
"""Steepness of the shifted density of ranks: nine tenths of its mass lie in the outer third, sixth or seventeenth."""

DOUBT = 2.0
"""The combined p-value is multiplied by this: the tails that a reference of a thousand shows are not quite those of its
source. Without it about one honest window in a hundred had p ≤ 0.005."""

_BATCH = 500

USUAL = 0.2
"""Part of the way from the median to the 99th percentile below which a statistic adds nothing to the sum."""

SCORES = ("ratio", "loneliness", "harvest")
"""Of an exchange; the last one only where known harvests were given."""

NAMES = ("mixture_ratio", "mixture_loneliness", "mixture_harvest", "hotelling", "hotelling_form")
"""The third and the last only where known harvests, or a form, were given."""

_NO_FORM = slice(0)


@dataclass(frozen=True)
class _Fold:
    """What scores an exchange, fitted on the reference without one fold: weights of each density ratio as columns, the
    whitening of rows, and the whitened rows themselves."""

    weights: Floats
    whiten: Floats
    centre: Floats
    rows: Floats


@dataclass(frozen=True)
class _Space:
    """Standardised rows, and their random Fourier features."""

    centre: Floats
    scale: Floats
    frequencies: Floats
    phases: Floats

    def standard(self, rows: Floats) -> Floats:
        """float32, of the rows' shape."""
        out: Floats = np.clip((rows - self.centre) / self.scale, -CLIP, CLIP).astype(np.float32)
        return out

    def waves(self, standard: Floats) -> Floats:
        """float32 of shape (n, WAVES), of standardised rows."""
        out: Floats = (np.sqrt(2.0 / WAVES) * np.cos(standard @ self.frequencies + self.phases)).astype(np.float32)
        return out


@dataclass(frozen=True)
class WindowTest:
    """The fitted test.

    Attributes:
        scores: float64 of shape (reference, scores), two or three of SCORES: of its exchanges, each by the model fitted
            without it.
        columns: float32 of shape (reference, columns): what the statistics are sums of, alike.
        form: numbers of a row that say what form an exchange has.
        nulls: by size of the window, once asked for.
    """

    folds: tuple[_Fold, ...]
    space: _Space
    scores: Numbers
    columns: Floats
    seed: int
    form: slice
    nulls: dict[int, _Null] = field(default_factory=dict)

    @property
    def kinds(self) -> int:
        """How many scores an exchange gets."""
        return int(self.scores.shape[1])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the statistics, as in NAMES."""
        absent = set() if self.kinds == len(SCORES) else {"mixture_harvest"}
        return tuple(name for name in NAMES if name not in absent | (set() if self.form.stop else {"hotelling_form"}))

    def p_values(self, window: Floats) -> dict[str, float]:
        """p-value of each statistic, and `combined`.

        Args:
            window: float32 of shape (k, d), rows like those of the reference; k at least 2.
        """
        count = len(window)
        null = self.nulls.get(count)
        if null is None:
            null = self.nulls[count] = _null(self.columns, self.kinds, self.form, count, self.seed)
        rng = np.random.default_rng([self.seed, count])
        member = rng.integers(len(self.folds), size=count)
        scores, whitened = _described(self.folds, self.space, self.space.standard(window), member)
        ranks = np.stack([_ranks(self.scores[:, at], scores[:, at], rng) for at in range(self.kinds)], axis=1)
        inside = _columns(ranks, whitened).mean(axis=0, dtype=np.float64)
        whole = self.columns.mean(axis=0, dtype=np.float64)
        found = _statistics(inside[None], whole[None], whole, self.kinds, self.form, count)
        each = (1 + (null.statistics >= found).sum(axis=0)) / (1 + NULL_WINDOWS)
        rarer = null.rarer(found)[0]
        combined = min(1.0, DOUBT * (1 + int((null.combined >= rarer).sum())) / (1 + NULL_WINDOWS))
        return {**dict(zip(self.names, each.tolist(), strict=True)), "combined": combined}

    def p_value(self, window: Floats) -> float:
        """Calibrated p-value of "this window is reference traffic", at least DOUBT / (NULL_WINDOWS + 1)."""
        return self.p_values(window)["combined"]


@dataclass(frozen=True)
class _Scale:
    """A null's own upper tail as a unit: how far beyond the usual something lies, alike for all statistics."""

    middle: Numbers
    width: Numbers

    @classmethod
    def of(cls, null: Numbers) -> _Scale:
        """Of values of a null, over its first axis."""
        middle = np.median(null, axis=0)
        return cls(middle, np.maximum(np.quantile(null, 0.99, axis=0) - middle, 1e-12))

    def __call__(self, values: Numbers) -> Numbers:
        """Values in that unit."""
        return np.asarray((values - self.middle) / self.width)


class _Null:
    """Windows of one size drawn from the reference: their statistics, and what is made of them."""

    def __init__(self, statistics: Numbers) -> None:
        self.statistics = statistics
        self._each = _Scale.of(statistics)
        both = self._both(statistics)
        self._made = _Scale.of(both)
        self.combined = self._made(both).max(axis=1)

    def _both(self, statistics: Numbers) -> Numbers:
        excess = self._each(statistics)
        return np.stack([excess.max(axis=1), np.maximum(excess - USUAL, 0.0).sum(axis=1)], axis=1)

    def rarer(self, statistics: Numbers) -> Numbers:
        """The rarer of the largest statistic and of the sum, of every row."""
        return np.asarray(self._made(self._both(statistics)).max(axis=1))


def _null(columns: Floats, kinds: int, form: slice, count: int, seed: int) -> _Null:
    rng = np.random.default_rng([seed, count, len(columns)])
    size = len(columns)
    whole = columns.sum(axis=0, dtype=np.float64)
    apart = count <= size // 2
    # What the rest varies by is scaled to what a reference of full size does; a large window is drawn with repeats instead.
    wanted, had = 1.0 / count + 1.0 / size, 1.0 / count + (1.0 / (size - count) if apart else 0.0)
    found = []
    for _ in range(0, NULL_WINDOWS, _BATCH):
        drawn = [rng.choice(size, count, replace=not apart) for _ in range(_BATCH)]
        labels = np.stack([np.bincount(window, minlength=size) for window in drawn]).astype(np.float32)
        inside = (labels @ columns).astype(np.float64)
        outside = (whole - inside) / (size - count) if apart else np.broadcast_to(whole / size, inside.shape)
        away = np.sqrt(wanted / had) * (inside / count - outside)
        found.append(_statistics(outside + away, outside, whole / size, kinds, form, count))
    return _Null(np.concatenate(found))


def fit(
    reference: Floats, background: Floats, seed: int, harvest: Floats | None = None, form: slice = _NO_FORM
) -> WindowTest:
    """Fit on traffic that is to be called normal.

    Args:
        reference: float32 of shape (n, d): embeddings of exchanges, and whatever other numbers describe one.
        background: float32 of shape (m, d): traffic of other kinds; never of what is to be found.
        seed: of folds and relabellings.
        harvest: float32 of shape (h, d): harvests that are known, of whatever kinds.
        form: numbers of a row that say what form an exchange has: lengths, kinds of characters.

    Raises:
        ValueError: the reference has fewer than LEAST_REFERENCE rows.
    """
    if len(reference) < LEAST_REFERENCE:
        raise ValueError(f"the reference has {len(reference)} exchanges; a window test needs {LEAST_REFERENCE}")
    rng = np.random.default_rng(seed)
    space = _space(reference, rng)
    standard = space.standard(reference)
    others = [space.standard(rows) for rows in (background, harvest) if rows is not None]
    member = rng.permutation(np.arange(len(reference)) % FOLDS)
    folds = tuple(_fit_fold(standard[member != number], others, space) for number in range(FOLDS))
    scores, whitened = _described(folds, space, standard, member)
    ranks = np.stack([_ranks(column, column, rng) for column in scores.T], axis=1)
    return WindowTest(folds, space, scores, _columns(ranks, whitened), seed, form)


def _space(reference: Floats, rng: np.random.Generator) -> _Space:
    centre, scale = np.median(reference, axis=0), reference.std(axis=0) + 1e-3
    some = np.clip((reference - centre) / scale, -CLIP, CLIP)[rng.permutation(len(reference))[:300]]
    lengths = np.square(some).sum(1)
    squared = (lengths[:, None] + lengths[None, :] - 2.0 * (some @ some.T))[np.triu_indices(len(some), 1)]
    median = float(np.sqrt(np.median(np.maximum(squared, 0.0))))
    widths = np.repeat(median * np.array((0.5, 1.0, 2.0)), WAVES // 3)
    frequencies = (rng.standard_normal((reference.shape[1], WAVES)) / widths).astype(np.float32)
    return _Space(centre, scale, frequencies, rng.uniform(0.0, 2.0 * np.pi, WAVES).astype(np.float32))


def _fit_fold(standard: Floats, others: list[Floats], space: _Space) -> _Fold:
    from sklearn.linear_model import LogisticRegression

    centre = standard.mean(axis=0)
    covariance = np.cov(standard.T.astype(np.float64))
    covariance = (1.0 - SHRINK) * covariance + SHRINK * np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    values, axes = np.linalg.eigh(covariance)
    # The symmetric root: folds differ a little, and so do their whitened rows, whichever way their axes happen to point.
    whiten = ((axes / np.sqrt(values)) @ axes.T).astype(np.float32)
    whitened = (standard - centre) @ whiten
    own = _expanded(whitened, standard, space)
    weights = []
    for foreign in others:
        model = LogisticRegression(C=REGULARITY, class_weight="balanced", max_iter=300)
        model.fit(
            np.concatenate([own, _expanded((foreign - centre) @ whiten, foreign, space)]),
            np.repeat([0, 1], [len(standard), len(foreign)]),
        )
        weights.append(model.coef_[0].astype(np.float32))
    return _Fold(np.stack(weights, axis=1), whiten, centre, whitened)


def _expanded(whitened: Floats, standard: Floats, space: _Space) -> Floats:
    out: Floats = np.concatenate([whitened, np.float32(np.sqrt(WAVES) / 2.0) * space.waves(standard)], axis=1)
    return out


def _described(
    folds: tuple[_Fold, ...], space: _Space, standard: Floats, member: NDArray[np.intp]
) -> tuple[Numbers, Floats]:
    """Scores (higher is more foreign) of rows and the rows whitened, each by the fold that is its."""
    scores = np.zeros((len(standard), 1 + folds[0].weights.shape[1]))
    whitened = np.zeros_like(standard)
    for number, fold in enumerate(folds):
        mine = np.flatnonzero(member == number)
        rows = ((standard[mine] - fold.centre) @ fold.whiten).astype(np.float32)
        whitened[mine] = rows
        apart = np.square(rows).sum(1)[:, None] + np.square(fold.rows).sum(1)[None, :] - 2.0 * (rows @ fold.rows.T)
        ratios = _expanded(rows, standard[mine], space) @ fold.weights
        scores[mine, 0], scores[mine, 2:] = ratios[:, 0], ratios[:, 1:]
        scores[mine, 1] = np.partition(apart, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS].mean(axis=1)
    return scores, whitened


def _ranks(reference: Numbers, values: Numbers, rng: np.random.Generator) -> Numbers:
    """Share of the reference below each value; ties are broken by chance."""
    ordered = np.sort(reference)
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray((below + rng.random(len(values)) * (upto - below + 1)) / (len(ordered) + 1))


def _columns(ranks: Numbers, whitened: Floats) -> Floats:
    """What the statistics are sums of: for each score logarithms of likelihood ratios, the upper end first; then rows."""
    parts: list[Floats] = []
    for rank in ranks.T:
        tilted = [
            tilt * np.exp(tilt * (side - 1.0)) / (1.0 - np.exp(-tilt)) for side in (rank, 1.0 - rank) for tilt in TILTS
        ]
        logs = [np.log1p(share * (tilt - 1.0)) for tilt in tilted for share in EPSILONS]
        parts.append(np.stack(logs, axis=1).astype(np.float32))
    return np.concatenate([*parts, whitened], axis=1)


def _statistics(inside: Numbers, outside: Numbers, whole: Numbers, kinds: int, form: slice, count: int) -> Numbers:
    """Statistics of windows, float64 of shape (n, statistics) in the order of NAMES; higher is more foreign.

    Args:
        inside: means of the columns in each window, shape (n, columns); outside: in what it is compared with.
        whole: in the reference; kinds: scores of an exchange; form: of the rows; count: exchanges of a window.
    """
    away = inside - outside
    one_end = len(TILTS) * len(EPSILONS)
    found = []
    for score in range(kinds):
        first = 2 * one_end * score
        # A harvest is like known ones, not their opposite: one end alone.
        logs = slice(first, first + (one_end if SCORES[score] == "harvest" else 2 * one_end))
        found.append(np.logaddexp.reduce(count * (away[:, logs] + whole[logs]), axis=1))
    rows = np.square(away[:, 2 * one_end * kinds :])
    found.append(rows.sum(axis=1))
    if form.stop:
        found.append(rows[:, form].sum(axis=1))
    return np.stack(found, axis=1)
