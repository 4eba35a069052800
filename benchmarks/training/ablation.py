"""What each feature is worth: recall without a group (fitted again), and with one feature's values shuffled over keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.training.fit import GROUPS, fit
from benchmarks.training.judge import by_key, threshold
from benchmarks.training.leave_out import FALSE_RATE, MODELS, overall
from benchmarks.training.rows import LabelledRows
from detectors.catalogue import INDEX
from detectors.scorers.boosted import Boosted


@dataclass(frozen=True, slots=True)
class Worth:
    """A group or a feature: area under the curve and recall without it; for a group, recall with nothing else as well."""

    name: str
    auc: float
    recall: float
    alone: float | None = None


def auc(scores: NDArray[np.float64], attack: NDArray[np.bool_]) -> float:
    """Area under the curve of keys."""
    order = np.searchsorted(np.sort(scores[~attack]), scores[attack], side="left")
    upto = np.searchsorted(np.sort(scores[~attack]), scores[attack], side="right")
    return float((order + upto).mean() / (2.0 * max(1, (~attack).sum())))


def _worth(name: str, trees: Boosted, test: LabelledRows, alone: float | None = None) -> Worth:
    keys = by_key(test, trees.log_odds(test.matrix))
    keys = keys.filter(keys["attack"] | ~keys["authorised"])
    return Worth(name, auc(keys["score"].to_numpy(), keys["attack"].to_numpy()), overall(keys), alone)


def groups(train: LabelledRows, test: LabelledRows, names: Sequence[str], free: Sequence[str]) -> Iterator[Worth]:
    """Everything, then without each group in turn."""
    yield _worth("everything", fit(train, names, free, models=MODELS), test)
    for group, members in GROUPS.items():
        rest = [name for name in names if name not in members]
        only = [name for name in names if name in members]
        alone = _worth(group, fit(train, only, free, models=MODELS), test).recall
        yield _worth(group, fit(train, rest, free, models=MODELS), test, alone)


def features(trees: Boosted, test: LabelledRows, seed: int = 0) -> Iterator[Worth]:
    """With each feature's values dealt to other rows, absent ones too."""
    bar = threshold(by_key(test, trees.log_odds(test.matrix)), FALSE_RATE)
    if not np.isfinite(bar):
        return
    dice = np.random.default_rng(seed)
    for name in trees.features:
        order = dice.permutation(len(test))
        values, present = test.matrix.values.copy(), test.matrix.present.copy()
        column = INDEX[name]
        values[:, column], present[:, column] = values[order, column], present[order, column]
        yield _worth(name, trees, replace(test, matrix=replace(test.matrix, values=values, present=present)))
