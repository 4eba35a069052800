"""Is a small share of a window of exchanges something else than the traffic it is compared with?

The difference of means that MMD tests grows with the square of the share of foreign exchanges, so it needs a thousand of
them to see one in twenty. A few foreign exchanges do not move a mean; they stand out one by one. So each exchange gets
scores of its own — how much more likely it is under traffic of other kinds than under the reference (a density ratio, by
logistic regression against a background of peer traffic), how far it lies from the reference (Mahalanobis), and how lonely
it is there (distance to its nearest neighbours) — and the question is put to the ranks of these scores among held-out
reference exchanges:

- higher criticism (Donoho and Jin, Annals of Statistics 2004): the largest excess of ranks beyond any threshold near either
  end, which is optimal for sparse mixtures;
- a likelihood ratio for a mixture: the mean over shares of the product over exchanges of 1 − ε + ε·LR, where LR is the
  density of ranks that a shift to one end has;
- the mean of the ranks, and the squared difference of mean random Fourier features (MMD), for dense mixtures.

All statistics of a window are compared with those of windows drawn by relabelling window and held-out reference together,
so that the smallest of their p-values is calibrated whatever they have in common, and exactly: under the null, a window's
exchanges and the held-out ones are exchangeable. To make that so, reference exchanges are scored by models fitted without
them, in folds, and each exchange of a window by the model of one fold drawn for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]

FOLDS = 5
NEIGHBOURS = 5
WAVES = 192
RELABELLINGS = 1000
"""Resolves a p-value of 0.001."""

LEAST_REFERENCE = 100
SHRINK = 0.1
EPSILONS = (0.02, 0.05, 0.1, 0.25)
TILT = 12.0
"""Steepness of the shifted density of ranks: nine tenths of its mass lie in the outer fifth."""

THRESHOLDS = 2.0 ** -np.arange(1.0, 7.1, 0.5)
"""Tails that higher criticism looks at: from one half down to one in 128 of the reference."""


@dataclass(frozen=True)
class _Fold:
    """What scores an exchange, fitted on the reference without one fold: weights of the density ratio, the whitening of
    distances, and the standardised rows themselves."""

    weights: Floats
    whiten: Floats
    centre: Floats
    rows: Floats


@dataclass(frozen=True)
class _Waves:
    """Random Fourier features of standardised rows."""

    centre: Floats
    scale: Floats
    frequencies: Floats
    phases: Floats

    def of(self, rows: Floats) -> Floats:
        """float32 of shape (n, WAVES)."""
        standard = (rows - self.centre) / self.scale
        out: Floats = (np.sqrt(2.0 / WAVES) * np.cos(standard @ self.frequencies + self.phases)).astype(np.float32)
        return out


@dataclass(frozen=True)
class WindowTest:
    """The fitted test.

    Attributes:
        calibration: float64 of shape (reference, scores): of the reference's exchanges, each by the model fitted without
            it.
        waves: float32 of shape (reference, WAVES): their random Fourier features.
    """

    folds: tuple[_Fold, ...]
    calibration: Numbers
    waves: Floats
    space: _Waves
    seed: int

    def p_values(self, window: Floats) -> dict[str, float]:
        """p-value of each statistic, and `combined`.

        Args:
            window: float32 of shape (k, d), rows like those of the reference; k at least 2.
        """
        rng = np.random.default_rng([self.seed, len(window)])
        member = rng.integers(len(self.folds), size=len(window))
        scores = np.zeros((len(window), self.calibration.shape[1]))
        for number, fold in enumerate(self.folds):
            mine = member == number
            if mine.any():
                scores[mine] = _scores(fold, self.space, window[mine])
        everything = np.concatenate([scores, self.calibration])
        waves = np.concatenate([self.space.of(window), self.waves])
        count, whole = len(window), len(everything)
        ranks = np.empty_like(everything)
        for column in range(everything.shape[1]):
            # Ties are broken by chance, alike for all.
            order = np.lexsort((rng.random(whole), everything[:, column]))
            ranks[order, column] = (np.arange(whole) + 0.5) / whole
        found = _statistics(_labels(whole, count), ranks, waves, count)
        # Each statistic in units of its own upper tail, so that the largest of them knows how far beyond all relabellings one lies.
        middle, upper = np.median(found, axis=0), np.quantile(found, 0.99, axis=0)
        excess = (found - middle) / np.maximum(upper - middle, 1e-12)
        largest = excess.max(axis=1)
        names = [f"{kind}_{score}" for score in SCORES for kind in ("criticism", "mixture", "mean")] + ["mmd"]
        each = (excess >= excess[0]).mean(axis=0)
        return {**dict(zip(names, each.tolist(), strict=True)), "combined": float((largest >= largest[0]).mean())}

    def p_value(self, window: Floats) -> float:
        """Calibrated p-value of "this window is reference traffic", at least 1 / (RELABELLINGS + 1)."""
        return self.p_values(window)["combined"]


SCORES = ("ratio", "distance", "loneliness")


def fit(reference: Floats, background: Floats, seed: int) -> WindowTest:
    """Fit on traffic that is to be called normal.

    Args:
        reference: float32 of shape (n, d): embeddings of exchanges, and whatever other numbers describe one.
        background: float32 of shape (m, d): traffic of other kinds; never of what is to be found.
        seed: of folds and relabellings.

    Raises:
        ValueError: the reference has fewer than LEAST_REFERENCE rows.
    """
    if len(reference) < LEAST_REFERENCE:
        raise ValueError(f"the reference has {len(reference)} exchanges; a window test needs {LEAST_REFERENCE}")
    rng = np.random.default_rng(seed)
    space = _space(reference, rng)
    member = rng.permutation(np.arange(len(reference)) % FOLDS)
    folds = []
    calibration = np.zeros((len(reference), len(SCORES)))
    for number in range(FOLDS):
        fold = _fit_fold(reference[member != number], background, space)
        folds.append(fold)
        calibration[member == number] = _scores(fold, space, reference[member == number])
    return WindowTest(tuple(folds), calibration, space.of(reference), space, seed)


def _space(reference: Floats, rng: np.random.Generator) -> _Waves:
    centre, scale = reference.mean(axis=0), np.maximum(reference.std(axis=0), 1e-6)
    some = ((reference - centre) / scale)[rng.permutation(len(reference))[:300]]
    distances = np.sqrt(np.maximum(np.square(some[:, None] - some[None, :]).sum(-1), 0.0))
    median = float(np.median(distances[np.triu_indices(len(some), 1)]))
    widths = np.repeat(median * np.array((0.5, 1.0, 2.0)), WAVES // 3)
    frequencies = (rng.standard_normal((reference.shape[1], WAVES)) / widths).astype(np.float32)
    return _Waves(centre, scale, frequencies, rng.uniform(0.0, 2.0 * np.pi, WAVES).astype(np.float32))


def _fit_fold(reference: Floats, background: Floats, space: _Waves) -> _Fold:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=300)
    model.fit(
        np.concatenate([_expanded(reference, space), _expanded(background, space)]),
        np.repeat([0, 1], [len(reference), len(background)]),
    )
    standard = (reference - space.centre) / space.scale
    covariance = np.cov(standard.T.astype(np.float64))
    covariance = (1.0 - SHRINK) * covariance + SHRINK * np.eye(len(covariance))
    whiten = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
    return _Fold(model.coef_[0].astype(np.float32), whiten, standard.mean(axis=0), standard)


def _expanded(rows: Floats, space: _Waves) -> Floats:
    standard = (rows - space.centre) / space.scale
    out: Floats = np.concatenate([standard, np.float32(np.sqrt(WAVES)) * space.of(rows)], axis=1)
    return out


def _scores(fold: _Fold, space: _Waves, rows: Floats) -> Numbers:
    """float64 of shape (n, len(SCORES)); higher is more foreign."""
    standard = (rows - space.centre) / space.scale
    ratio = _expanded(rows, space) @ fold.weights
    distance = np.square((standard - fold.centre) @ fold.whiten).sum(axis=1)
    squares = np.square(standard).sum(1)[:, None] + np.square(fold.rows).sum(1)[None, :] - 2.0 * (standard @ fold.rows.T)
    nearest = np.partition(squares, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS].mean(axis=1)
    return np.stack([ratio, distance, nearest], axis=1).astype(np.float64)


@lru_cache(maxsize=8)
def _labels(whole: int, count: int) -> Floats:
    """The window's own labelling, then RELABELLINGS random ones; they depend on nothing but the two sizes."""
    rng = np.random.default_rng([whole, count])
    labels = np.zeros((RELABELLINGS + 1, whole), np.float32)
    labels[0, :count] = 1.0
    for draw in range(1, RELABELLINGS + 1):
        labels[draw, rng.choice(whole, count, replace=False)] = 1.0
    return labels


def _statistics(labels: Floats, ranks: Numbers, waves: Floats, count: int) -> Numbers:
    """Every statistic of every labelling, float64 of shape (labellings, 3 · scores + 1); higher is more foreign."""
    columns = []
    for score in range(ranks.shape[1]):
        rank = ranks[:, score]
        sides = (rank, 1.0 - rank)
        beyond = labels @ np.stack([side >= 1.0 - tail for side in sides for tail in THRESHOLDS], axis=1).astype(np.float32)
        tails = np.tile(THRESHOLDS, 2)
        columns.append(((beyond / count - tails) / np.sqrt(tails * (1.0 - tails) / count)).max(axis=1))
        tilted = [TILT * np.exp(TILT * (side - 1.0)) / (1.0 - np.exp(-TILT)) for side in sides]
        logs = np.stack([np.log1p(share * (tilt - 1.0)) for tilt in tilted for share in EPSILONS], axis=1).astype(
            np.float32
        )
        columns.append(np.logaddexp.reduce((labels @ logs).astype(np.float64), axis=1))
        columns.append(np.abs(labels @ rank.astype(np.float32) / count - 0.5))
    inside = labels @ waves
    outside = (waves.sum(axis=0) - inside) / (len(waves) - count)
    columns.append(np.square(inside / count - outside).sum(axis=1))
    return np.stack(columns, axis=1).astype(np.float64)
