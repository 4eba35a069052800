"""Whether a candidate model may take the place of the one in use: anchors it must judge right, and a budget of drift.

A detector that learns from traffic can be taught by it, a little every day. Two things here do not move with the traffic:
anchors, rows whose side is known, and the baseline, the first model that a person accepted. A candidate is compared with
that one and never with the model before it, so that small steps add up until they are seen (boiling frog).

Everything is a pure function of the models and the anchors: the same ones give the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.catalogue import INDEX
from detectors.contract import STATUSES, FeatureMatrix, Level, Score
from detectors.model import Model
from detectors.verdict import Moment, combined, level_called

Floats = NDArray[np.float64]

DOUBTS = (0.5, 0.2, 0.1, 0.05, 0.02)
"""Edges of the bins of the stability index, in doubt: one minus the score. Quantiles of a sample would not do: attack
anchors lie close together at the top, where a few peers more or less move every rank. What happens there is seen in the
levels."""

ROUNDING = 1e-9
"""What two shares may differ by though they are the same."""

FEW = 2
"""Anchors of a side that may be judged otherwise in any case: of a hundred, two are no sign of anything."""

LEAST_DOUBT = 1e-6
"""Doubt, one minus a score, below which two scores count as equally sure."""


class BadAnchors(ValueError):
    """Anchors that cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Anchors:
    """Feature rows whose side is known.

    Attributes:
        matrix: the rows.
        attack: bool of shape (n,); the side each is on.
        confirmed: bool of shape (n,); a case that the operator's own people confirmed: none of them may be judged wrong.
        kinds: what each row is, for messages.
    """

    matrix: FeatureMatrix
    attack: NDArray[np.bool_]
    confirmed: NDArray[np.bool_]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.matrix)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays, for a file; features by name, so that a later catalogue still reads them."""
        depth = max((len(groups) for groups in self.matrix.groups), default=1)
        padded = [(*groups, *("",) * (depth - len(groups))) for groups in self.matrix.groups]
        return {
            "features": np.array(list(INDEX), np.str_),
            "values": self.matrix.values.astype(np.float32),
            "present": self.matrix.present,
            "evidence": self.matrix.evidence,
            "groups": np.array(padded, np.str_).reshape(len(padded), depth),
            "pool": self.matrix.pool.astype(np.float16),
            "attack": self.attack,
            "confirmed": self.confirmed,
            "kinds": np.array(self.kinds, np.str_),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Anchors:
        """Inverse of `arrays`. A feature that the catalogue no longer has is dropped; one that is new to it is absent.

        Raises:
            BadAnchors: an array is missing or does not fit the others.
        """
        try:
            names = [str(name) for name in arrays["features"]]
            values, present = arrays["values"], arrays["present"]
            evidence, groups = arrays["evidence"].astype(np.int64), arrays["groups"]
            attack, confirmed = arrays["attack"].astype(np.bool_), arrays["confirmed"].astype(np.bool_)
            kinds, pool = tuple(str(kind) for kind in arrays["kinds"]), arrays["pool"].astype(np.float32)
        except KeyError as error:
            raise BadAnchors(f"the anchors have no array {error.args[0]}") from None
        count = len(attack)
        shapes = (values.shape, present.shape, evidence.shape, confirmed.shape, groups.shape[:1], (len(kinds),))
        if shapes != ((count, len(names)), (count, len(names)), (count,), (count,), (count,), (count,)) or (
            pool.size and len(pool) != count
        ):
            raise BadAnchors("the anchors' arrays do not fit together")
        known = [at for at, name in enumerate(names) if name in INDEX]
        columns = [INDEX[names[at]] for at in known]
        whole, there = np.zeros((count, len(INDEX))), np.zeros((count, len(INDEX)), np.bool_)
        whole[:, columns], there[:, columns] = values[:, known], present[:, known]
        if not np.isfinite(whole).all() or not np.isfinite(pool).all():
            raise BadAnchors("the anchors hold numbers that are not finite")
        placed = tuple(tuple(str(name) for name in row if name) for row in groups)
        return cls(FeatureMatrix(np.where(there, whole, 0.0), there, evidence, placed, pool), attack, confirmed, kinds)


def joined(parts: Sequence[Anchors]) -> Anchors:
    """Anchors of several sources, in order.

    Raises:
        BadAnchors: their pools have different shapes.
    """
    matrices = [part.matrix for part in parts if len(part)]
    if len({matrix.pool.shape[1:] for matrix in matrices}) > 1:
        raise BadAnchors("the anchors' pools have different shapes")
    return Anchors(
        FeatureMatrix(
            np.concatenate([matrix.values for matrix in matrices]),
            np.concatenate([matrix.present for matrix in matrices]),
            np.concatenate([matrix.evidence for matrix in matrices]),
            tuple(groups for matrix in matrices for groups in matrix.groups),
            np.concatenate([matrix.pool for matrix in matrices]),
        ),
        np.concatenate([part.attack for part in parts]),
        np.concatenate([part.confirmed for part in parts]),
        tuple(kind for part in parts for kind in part.kinds),
    )


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a candidate may go. Each bound is a share unless it says otherwise; FEW anchors may always differ.

    Attributes:
        false: shipped honest anchors that it may flag (SUSPECT or above), more than the baseline does.
        lost: attack anchors that the baseline found, at WATCH or above and again at SUSPECT or above, which it may miss.
        least_found: attack anchors that it must find at WATCH or above when there is no baseline yet.
        stability: population stability index of the scores on the anchors of either side against the baseline's. The usual
            reading (Siddiqi 2006): below 0.1 nothing has moved, above 0.25 the population is another one.
        blinder: mean factor, as its natural logarithm, by which the doubt about attack anchors may have grown.
    """

    false: float = 0.01
    lost: float = 0.02
    least_found: float = 0.5
    stability: float = 0.25
    blinder: float = log(2.0)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model makes of rows: combined score in [0, 1] and the level that is called for."""

    score: Floats
    level: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a candidate's check found.

    Attributes:
        failures: sentences; none: it may be promoted.
        figures: by name, what was compared with the budget.
    """

    failures: tuple[str, ...]
    figures: dict[str, float]

    @property
    def passed(self) -> bool:
        """Nothing failed."""
        return not self.failures


def judged(model: Model, matrix: FeatureMatrix) -> Judged:
    """Scores and levels of rows, each as if it were an entity's first verdict and nothing were contracted."""
    columns = [(scorer.name, scorer.version, scorer.columns(matrix)) for scorer in model.scorers]
    found, levels = np.zeros(len(matrix)), np.zeros(len(matrix), np.int8)
    for row in range(len(matrix)):
        scores = [
            Score(name, version, STATUSES[column.status[row]], float(column.value[row]))
            for name, version, column in columns
        ]
        moment = Moment("", "key", 1, 0, int(matrix.evidence[row]))
        found[row] = combined(model.policy, moment, scores)
        levels[row] = level_called(model.policy, moment, scores)[0]
    return Judged(found, levels)


def check(candidate: Model, baseline: Model | None, anchors: Anchors, budget: Budget | None = None) -> Checked:
    """Judge a candidate.

    Args:
        candidate: the model that is to be used.
        baseline: the first model that was accepted, not the one in use; None when there is none yet, and then drift is not
            judged.
        anchors: shipped ones and confirmed cases.
        budget: how far it may go.
    """
    return compare(
        judged(candidate, anchors.matrix), None if baseline is None else judged(baseline, anchors.matrix), anchors, budget
    )


def compare(now: Judged, then: Judged | None, anchors: Anchors, budget: Budget | None = None) -> Checked:
    """`check` for rows that were judged already."""
    bounds = budget or Budget()
    failures = list(_confirmed(now, anchors))
    shipped = ~anchors.confirmed
    honest, attack = shipped & ~anchors.attack, shipped & anchors.attack
    figures = {
        "honest flagged": _share(now.level >= Level.SUSPECT, honest),
        "attacks found": _share(now.level >= Level.WATCH, attack),
        "attacks flagged": _share(now.level >= Level.SUSPECT, attack),
    }
    allowed = max(bounds.false, FEW / max(1, int(honest.sum()))) + (
        0.0 if then is None else _share(then.level >= Level.SUSPECT, honest)
    )
    if figures["honest flagged"] > allowed + ROUNDING:
        failures.append(f"{figures['honest flagged']:.1%} of the honest anchors are flagged; at most {allowed:.1%} may be")
    if then is None:
        if attack.any() and figures["attacks found"] < bounds.least_found:
            failures.append(
                f"{figures['attacks found']:.1%} of the attack anchors are found; at least {bounds.least_found:.0%} must be"
            )
        return Checked(tuple(failures), figures)
    losable = max(bounds.lost, FEW / max(1, int(attack.sum())))
    for name, bar in (("found", Level.WATCH), ("flagged", Level.SUSPECT)):
        lost = _share(then.level >= bar, attack) - figures[f"attacks {name}"]
        figures[f"attacks no longer {name}"] = lost
        if lost > losable + ROUNDING:
            failures.append(
                f"{lost:.1%} fewer of the attack anchors are {name} than by the baseline; at most {losable:.1%} may be"
            )
    for name, side in (("honest", honest), ("attack", attack)):
        moved = figures[f"stability, {name}"] = stability(then.score[side], now.score[side])
        if moved > bounds.stability:
            failures.append(
                f"the scores of the {name} anchors have moved by {moved:.2f} (population stability index against the "
                f"baseline); at most {bounds.stability:.2f} is allowed"
            )
    grown = figures["doubt about attacks"] = _grown(then.score[attack], now.score[attack])
    if grown > bounds.blinder:
        failures.append(
            f"the doubt about the attack anchors has grown {np.exp(grown):.1f}-fold against the baseline; at most "
            f"{np.exp(bounds.blinder):.1f}-fold is allowed"
        )
    return Checked(tuple(failures), figures)


def stability(then: Floats, now: Floats) -> float:
    """Population stability index of two samples of scores: Σ (q − p) ln (q / p) over bins of doubt. 0.0 without any.

    Half a row is added to every bin: an empty one would make the index infinite.
    """
    if not len(then) or not len(now):
        return 0.0
    edges = np.array([-inf, *(1.0 - doubt for doubt in DOUBTS), inf])
    p, q = (np.histogram(one, edges)[0] + 0.5 for one in (then, now))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def _confirmed(now: Judged, anchors: Anchors) -> list[str]:
    out = []
    for at in np.flatnonzero(anchors.confirmed).tolist():
        level = Level(int(now.level[at]))
        if anchors.attack[at] and level < Level.WATCH:
            out.append(f"{anchors.kinds[at]}: a confirmed attack is judged {level.name.lower()}")
        elif not anchors.attack[at] and level >= Level.SUSPECT:
            out.append(f"{anchors.kinds[at]}: a confirmed honest customer is judged {level.name.lower()}")
    return out


def _grown(then: Floats, now: Floats) -> float:
    if not len(then):
        return 0.0
    before, after = (np.log(np.maximum(1.0 - one, LEAST_DOUBT)) for one in (then, now))
    return float((after - before).mean())


def _share(found: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    return float(found[of].mean()) if of.any() else 0.0
