"""Labelled feature rows of a log, and trees fitted on them: the part of `stillwatch train` that learns.

A campaign and an organisation have one vote each within their class, and both classes weigh the same. A fit is judged by
rows that it has not seen: whole campaigns and organisations are held out at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.offline.history import Guards
from app.offline.labels import KeyLabels
from app.offline.states import StateTable
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix, Verdict
from detectors.features import FeatureRow, features, stack
from detectors.scorers.boosted import Boosted, exported, learnable

FOLDS = 5
MODELS, ROUNDS, LEAVES = 4, 60, 8
LEAF_ROWS = 60
"""Rows of a leaf where there are many; of few rows a fiftieth."""

_AGE = INDEX["account_age_d"]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lessons:
    """Rows whose side is known.

    Attributes:
        matrix: the rows, by key and each key's in its order.
        abusive: bool of shape (n,).
        keys: key of each row; units: campaign or organisation; groups: what the label counts it under.
    """

    matrix: FeatureMatrix
    abusive: Bools
    keys: tuple[str, ...]
    units: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.abusive)

    def take(self, rows: NDArray[np.intp]) -> Lessons:
        """These rows."""
        at = rows.tolist()
        columns = (tuple(names[row] for row in at) for names in (self.keys, self.units, self.groups))
        return Lessons(self.matrix.take(rows), self.abusive[rows], *columns)

    def count(self, abusive: bool) -> int:
        """Units of a side."""
        return len({unit for unit, bad in zip(self.units, self.abusive.tolist(), strict=True) if bad == abusive})


class Gatherer:
    """Takes rows of labelled keys at their 1st, 2nd, 4th, 8th … scoring and at the end: the young are judged, too.

    Args:
        labels: what is known.
        owner_of: key id → organisation, or the key itself.
        guards: rows of honest keys whose account is too young are left out; an abusive key's age is no reason.
    """

    def __init__(self, labels: KeyLabels, owner_of: Callable[[str], str], guards: Guards) -> None:
        self._labels = labels
        self._owner_of = owner_of
        self._guards = guards
        self._rows: dict[str, list[FeatureRow]] = {}
        self._scorings: dict[str, int] = {}
        self._taken_at: dict[str, int] = {}

    def take(self, states: StateTable, verdicts: Iterable[Verdict]) -> None:
        """Rows of the keys that an exchange led to score."""
        for verdict in verdicts:
            if verdict.entity_kind == "key" and self._labels.of(verdict.entity_id) is not None:
                count = self._scorings[verdict.entity_id] = self._scorings.get(verdict.entity_id, 0) + 1
                if count & (count - 1) == 0:
                    self._add(verdict.entity_id, states)

    def lessons(self, states: StateTable, least_evidence: int) -> Lessons:
        """Everything that was gathered."""
        for key_id in sorted(self._scorings):
            if states["key", key_id].exchanges > self._taken_at[key_id]:
                self._add(key_id, states)
            states.trim()
        rows, keys = [], []
        for key_id in sorted(self._rows):
            for row in self._rows[key_id]:
                if row.evidence >= least_evidence:
                    rows.append(row)
                    keys.append(key_id)
        abusive = np.array([key_id in self._labels.abusive for key_id in keys], np.bool_)
        return Lessons(stack(rows), abusive, tuple(keys), tuple(map(self._unit, keys)), tuple(map(self._group, keys)))

    def _add(self, key_id: str, states: StateTable) -> None:
        state = states["key", key_id]
        self._taken_at[key_id] = state.exchanges
        row = features(state.profile, state.profile.last_at_us)
        young = bool(row.present[_AGE]) and row.values[_AGE] < self._guards.least_age_d
        if not young or key_id in self._labels.abusive:
            self._rows.setdefault(key_id, []).append(row)

    def _unit(self, key_id: str) -> str:
        group = self._labels.groups.get(key_id)
        if group and key_id in self._labels.abusive:
            return f"campaign {group}"
        return f"organisation {self._owner_of(key_id)}"

    def _group(self, key_id: str) -> str:
        return self._labels.groups.get(key_id) or ("abusive" if key_id in self._labels.abusive else "honest")


def weights(lessons: Lessons) -> Floats:
    """Weight of each row: a unit's vote is spread over its rows; each side has half of all; the mean is 1."""
    names, unit = np.unique(np.array(lessons.units, np.str_), return_inverse=True)
    out = 1.0 / np.bincount(unit, minlength=len(names))[unit]
    for side in (lessons.abusive, ~lessons.abusive):
        out[side] *= len(out) / (2.0 * out[side].sum())
    found: Floats = out
    return found


def fit(lessons: Lessons, like: Boosted, seed: int, models: int = MODELS) -> Boosted:
    """Trees over the features of others, monotone where those are, fitted on lessons of both sides.

    Args:
        lessons: the rows.
        like: whose features and constraints are taken over: which features are fit to be learned from is known.
        seed: of every random choice.
        models: how many are averaged, each blind to another third of the features.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    values = np.where(lessons.matrix.present[:, like.columns], lessons.matrix.values[:, like.columns], np.nan)
    constraints = np.array([_side(name) if name in like.monotone else 0 for name in like.features])
    estimators = []
    for number in range(models):
        seen = np.arange(len(like.features))
        if models > 1:
            seen = np.random.default_rng([seed, number]).permutation(seen)[: 2 * len(like.features) // 3]
        seen = learnable(values, seen)
        estimator = HistGradientBoostingClassifier(
            max_iter=ROUNDS,
            learning_rate=0.1,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=min(LEAF_ROWS, max(2, len(lessons) // 50)),
            l2_regularization=5.0,
            max_features=0.4,
            max_bins=63,
            monotonic_cst=constraints[seen],
            early_stopping=False,
            random_state=seed * 1000 + number,
        )
        estimators.append((estimator.fit(values[:, seen], lessons.abusive, sample_weight=weights(lessons)), seen))
    return exported(estimators, like.features, like.monotone, np.zeros(1))


def held_out(lessons: Lessons, like: Boosted, seed: int) -> Floats:
    """Log-odds of every row by trees that have seen nothing of its campaign or organisation."""
    names, unit = np.unique(np.array(lessons.units, np.str_), return_inverse=True)
    bad = np.zeros(len(names), np.bool_)
    bad[unit] = lessons.abusive
    fold = np.zeros(len(names), np.intp)
    dice = np.random.default_rng(seed)
    for side in (bad, ~bad):  # every fold gets its part of both sides
        at = dice.permutation(np.flatnonzero(side))
        fold[at] = np.arange(len(at)) % FOLDS
    out = np.zeros(len(lessons))
    for number in range(FOLDS):
        inside = np.flatnonzero(fold[unit] == number)
        if len(inside):
            part = lessons.take(np.flatnonzero(fold[unit] != number))
            out[inside] = fit(part, like, seed, models=2).log_odds(lessons.matrix.take(inside))
    return out


def without_group(lessons: Lessons, like: Boosted, name: str, seed: int) -> tuple[float, int]:
    """Recall of a kind of abuse that was in no lesson, at one honest unit in a hundred, and its keys.

    Of the honest units half are learned from and the others set the bar.
    """
    groups = np.array(lessons.groups, np.str_)
    names, unit = np.unique(np.array(lessons.units, np.str_), return_inverse=True)
    first = np.random.default_rng(seed).permutation(len(names)) % 2 == 0
    left_out = lessons.abusive & (groups == name)
    learned = np.where(lessons.abusive, ~left_out, first[unit])
    trees = fit(lessons.take(np.flatnonzero(learned)), like, seed, models=2)
    odds = trees.log_odds(lessons.matrix)
    honest = highest([names[at] for at in unit], odds, ~lessons.abusive & ~learned)
    bar = np.sort(list(honest.values()))[::-1][int(0.01 * len(honest))]
    keys = highest(lessons.keys, odds, left_out)
    return float(np.mean([value > bar for value in keys.values()])), len(keys)


def highest(names: Sequence[str], values: Floats, of: Bools) -> dict[str, float]:
    """Highest value of each name among some of the rows."""
    out: dict[str, float] = {}
    for name, value, here in zip(names, values.tolist(), of.tolist(), strict=True):
        if here:
            out[name] = max(value, out.get(name, value))
    return out


def calibrated(trees: Boosted, lessons: Lessons, odds: Floats) -> Boosted:
    """The trees, with the honest organisations of the lessons, as trees that had not seen them judged, for peers."""
    found = highest(lessons.units, odds, ~lessons.abusive)
    return replace(trees, peers=np.array(sorted(found.values()), np.float64))


def _side(name: str) -> int:
    return {"high": 1, "low": -1, "both": 0}[CATALOGUE[INDEX[name]].suspicious]
