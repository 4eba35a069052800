"""Gradient-boosted trees, trained on simulated harvests and honest customers of many kinds, and shipped.

Input: FeatureMatrix, catalogue 2; the features that the artefact's card names.
Output: Score in [0, 1]: 1 − conformal p-value of the log-odds among the peers of the history, or without one among the
    honest organisations of the worlds that it was not trained on. Abstains (warming_up) below 5 answered exchanges.
Raises: BadArtefact when what is shipped is not what its card describes. Cost: under 5 µs per row in bulk; 2 MB once.
Source: histogram gradient boosting (Friedman 2001; LightGBM, NIPS 2017; scikit-learn), evaluated by `masks`. Monotone in
    every feature whose side is known and the same in all sources it was trained on; see `benchmarks.training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import Artefact, BadArtefact, load
from detectors.calibrate import Conformal, ranked
from detectors.catalogue import CATALOGUE, CATALOGUE_VERSION, INDEX
from detectors.contract import FeatureMatrix, Reason, Score, ScoreColumn
from detectors.scorers.base import Percentiles, column_of, scores_of, statuses, top_reasons
from detectors.scorers.masks import CHUNK, MaskTrees, Tree, compiled

NAME = "boosted"
VERSION = "1"

LEAST_EVIDENCE = 5
"""Answered exchanges below which every share is absent."""

WORTH_TELLING = 0.9
"""Score from which reasons are given."""


@dataclass(frozen=True)
class Boosted:
    """Trees of several models whose log-odds are averaged.

    Attributes:
        features: names in the catalogue, by column of the trees.
        monotone: of these, the ones whose suspicious side never lowers the log-odds.
        feature: int16 of shape (trees, nodes); column of the split, −1 at a leaf.
        threshold: float64; go left when the value is at most this.
        left: int16; right: int16; child nodes, behind their parents.
        missing_left: bool; where an absent feature goes.
        value: float64; log-odds of a leaf, and at a split the mean over what came that way in training.
        base: float64 of shape (models,); log-odds that each model starts from.
        peers: float64, sorted; highest log-odds of honest organisations that it was not trained on.
    """

    features: tuple[str, ...]
    monotone: tuple[str, ...]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float64]
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    base: NDArray[np.float64]
    peers: NDArray[np.float64]

    @classmethod
    def from_artefact(cls, artefact: Artefact) -> Boosted:
        """The shipped trees.

        Raises:
            BadArtefact: they are for another catalogue, or their arrays do not fit together.
        """
        card, arrays = artefact.card, artefact.arrays
        if card.get("catalogue") != CATALOGUE_VERSION:
            raise BadArtefact(f"artefact {artefact.name} is for catalogue {card.get('catalogue')}, not {CATALOGUE_VERSION}")
        features = tuple(card["features"])
        monotone = tuple(card["monotone"])
        parts = ("feature", "threshold", "left", "right", "missing_left", "value", "base", "peers")
        if not set(monotone) <= set(features) <= set(INDEX) or not set(parts) <= set(arrays):
            raise BadArtefact(f"artefact {artefact.name} names features or holds arrays that this release does not know")
        found = cls(features, monotone, **{name: arrays[name] for name in parts})
        shape = found.feature.shape
        alike = all(arrays[name].shape == shape for name in parts[:6])
        inner = found.feature >= 0
        onwards = alike and all((child > np.arange(shape[1]))[inner].all() for child in (found.left, found.right))
        inside = onwards and all(child.max() < shape[1] for child in (found.left, found.right))
        if len(shape) != 2 or not inside or found.feature.max() >= len(features) or not len(found.base):
            raise BadArtefact(f"artefact {artefact.name}: its arrays do not fit together")
        return found

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """Catalogue columns of the features."""
        return np.array([INDEX[name] for name in self.features], np.int64)

    @cached_property
    def _masks(self) -> MaskTrees:
        parts = (self.feature, self.threshold, self.left, self.right, self.missing_left, self.value)
        return compiled([Tree(*tree) for tree in zip(*(part.tolist() for part in parts), strict=True)])

    def log_odds(self, matrix: FeatureMatrix) -> NDArray[np.float64]:
        """Log-odds of every row, float64 of shape (n,); of a single model exactly those of scikit-learn."""
        out, start = np.empty(len(matrix)), float(sum(self.base.tolist()))
        for begin in range(0, len(matrix), CHUNK):
            part = slice(begin, begin + CHUNK)
            present = matrix.present[part].take(self.columns, axis=1)
            rows = np.where(present, matrix.values[part].take(self.columns, axis=1), np.nan)
            out[part] = self._masks.sums(rows, start)
        return out / len(self.base)

    def contributions(self, matrix: FeatureMatrix, row: int) -> NDArray[np.float64]:
        """What each feature adds to a row's log-odds, along its path through every tree (Saabas 2014)."""
        here = matrix.present[row, self.columns]
        values = np.where(here, matrix.values[row, self.columns], np.nan)
        out = np.zeros(len(self.features))
        trees = np.arange(len(self.feature))
        node = np.zeros(len(trees), np.intp)
        while True:
            column = self.feature[trees, node]
            at = np.flatnonzero(column >= 0)
            if not len(at):
                return out / len(self.base)
            where = (trees[at], node[at])
            value = values[column[at]]
            with np.errstate(invalid="ignore"):
                goes_left = np.where(np.isnan(value), self.missing_left[where], value <= self.threshold[where])
            child = np.where(goes_left, self.left[where], self.right[where])
            np.add.at(out, column[at], self.value[trees[at], child] - self.value[where])
            node[at] = child


@dataclass(frozen=True)
class BoostedScorer:
    """The scorer: log-odds, and how rare they are among honest peers. A reason's weight is the share of what speaks for it.

    Attributes:
        trees: what gives the log-odds.
        conformal: the peers of a history; None: those that are shipped.
        known: for the percentiles of the reasons; None without a history.
    """

    trees: Boosted
    conformal: Conformal | None = None
    known: Percentiles | None = None
    name: str = NAME
    version: str = VERSION
    worth_telling: float = WORTH_TELLING

    @property
    def monotone_in(self) -> tuple[str, ...]:
        """Features that never lower the score by moving to their suspicious side."""
        return self.trees.monotone

    def columns(self, matrix: FeatureMatrix) -> ScoreColumn:
        """Every row's status and value."""
        status = statuses(matrix, LEAST_EVIDENCE)
        found = self.trees.log_odds(matrix)
        if self.conformal is None:  # the trees know keys, not the sums of organisations
            value = ranked(self.trees.peers, found)
        else:
            value = self.conformal.backed(found, matrix.groups, self.trees.peers)
        return column_of(status, value)

    def reasons(self, matrix: FeatureMatrix, row: int) -> tuple[Reason, ...]:
        """The features that speak for it most."""
        found = np.where(matrix.present[row, self.trees.columns], self.trees.contributions(matrix, row), 0.0)
        speaking = np.maximum(found, 0.0)
        shares = speaking / max(sum(speaking.tolist()), 1e-9)
        return top_reasons(shares, self.trees.columns, matrix, row, self.known or _NoPeers())

    def score(self, matrix: FeatureMatrix) -> Sequence[Score]:
        """Scores in row order."""
        return scores_of(self, matrix)


class _NoPeers:
    def percentile(self, column: int, value: float, groups: Sequence[str]) -> float | None:
        """Nobody is known."""
        return None


@cache
def shipped() -> Boosted:
    """The shipped trees, read once.

    Raises:
        BadArtefact: they are missing or not what was shipped.
    """
    return Boosted.from_artefact(load(NAME))


def exported(
    estimators: Sequence[tuple[Any, NDArray[np.intp]]],
    features: Sequence[str],
    monotone: Sequence[str],
    peers: NDArray[np.float64],
) -> Boosted:
    """Fitted `HistGradientBoostingClassifier`s of two classes and numerical features → arrays, padded to the largest tree.

    Args:
        estimators: each with the numbers of the features that it was fitted on.
        features: names in the catalogue.
        monotone: of these, the constrained ones.
        peers: log-odds of honest organisations, for the shipped calibration.
    """
    trees = [(tree.nodes, columns) for model, columns in estimators for (tree,) in model._predictors]
    shape = (len(trees), max(len(nodes) for nodes, _ in trees))
    feature, left, right = np.full(shape, -1, np.int16), np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    threshold, value, missing_left = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.bool_)
    for number, (nodes, columns) in enumerate(trees):
        part = slice(0, len(nodes))
        inner = nodes["is_leaf"] == 0
        feature[number, part] = np.where(inner, columns[nodes["feature_idx"] * inner], -1)
        threshold[number, part] = np.where(inner, nodes["num_threshold"], 0.0)
        left[number, part] = np.where(inner, nodes["left"], 0)
        right[number, part] = np.where(inner, nodes["right"], 0)
        missing_left[number, part] = inner & (nodes["missing_go_to_left"] != 0)
        worth = nodes["value"].astype(np.float64)
        for node in np.flatnonzero(inner)[::-1]:  # children stand behind their parents
            below = nodes["left"][node], nodes["right"][node]
            counts = [float(nodes["count"][child]) for child in below]
            worth[node] = sum(c * worth[child] for c, child in zip(counts, below, strict=True)) / sum(counts)
        value[number, part] = worth
    base = np.array([float(np.ravel(model._baseline_prediction)[0]) for model, _ in estimators])
    return Boosted(tuple(features), tuple(monotone), feature, threshold, left, right, missing_left, value, base, peers)


def learnable(values: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of these columns, ascending, the ones with two different values: nothing is learned from others, and scikit-learn
    cannot bin them."""
    spans = [column for column in sorted(columns.tolist()) if _varies(values[:, column])]
    return np.array(spans, np.intp)


def _varies(column: NDArray[np.float64]) -> bool:
    known = column[~np.isnan(column)]
    return bool(len(known)) and bool(known.min() < known.max())


def sides(features: Sequence[str]) -> list[int]:
    """Monotone constraints by the catalogue's suspicious side: 1, −1, or 0 for both."""
    return [{"high": 1, "low": -1, "both": 0}[CATALOGUE[INDEX[name]].suspicious] for name in features]
