"""Two detectors that anybody would begin with: how much a key asks for, and rules about what is three deviations away."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.verdicts import Moment
from benchmarks.training.rows import LabelledRows
from detectors.catalogue import CATALOGUE
from detectors.event import Event
from detectors.fingerprint import Fingerprint

DAY_US = 86_400_000_000
DEVIATIONS = 3.0
LEAST_EVIDENCE = 5
NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

_MICRO = 1_000_000


def volume(items: Sequence[tuple[Event, Fingerprint]]) -> Iterator[Moment]:
    """At every request, how many its key sent in the 24 hours before."""
    recent: dict[str, deque[int]] = {}
    for event, _ in items:
        own = recent.setdefault(event.key_id, deque())
        own.append(event.at_us)
        while own[0] <= event.at_us - DAY_US:
            own.popleft()
        yield Moment(event.key_id, event.at_us / _MICRO, float(len(own)))


def z_scores(rows: LabelledRows) -> NDArray[np.float64]:
    """Robust z-score of every feature on its suspicious side, shape (rows, features); 0 where absent or never varying.

    Median and median absolute deviation are those of the warm-up's keys, each by its newest row there; counts and rates are
    compared by ratio.
    """
    facts = rows.facts
    warm = facts["warm"].to_numpy() & (rows.matrix.evidence >= LEAST_EVIDENCE)
    newest = {key: at for at, (key, known) in enumerate(zip(facts["key"].to_list(), warm.tolist(), strict=True)) if known}
    votes = np.array(sorted(newest.values()), np.intp)
    out = np.zeros(rows.matrix.values.shape)
    for column, feature in enumerate(CATALOGUE):
        present = rows.matrix.present[:, column]
        values = rows.matrix.values[:, column]
        values = np.log1p(np.maximum(values, 0.0)) if feature.scale == "log" else values
        usual = values[votes][present[votes]]
        if len(usual) < 2:
            continue
        middle = float(np.median(usual))
        deviation = NORMAL_MAD * float(np.median(np.abs(usual - middle))) or float(usual.std())
        if deviation <= 0.0:
            continue
        z = (values - middle) / deviation
        z = np.abs(z) if feature.suspicious == "both" else -z if feature.suspicious == "low" else z
        out[:, column] = np.where(present, z, 0.0)
    return out


def rules(rows: LabelledRows) -> Iterator[Moment]:
    """At every scoring moment, how many features lie beyond `DEVIATIONS`; equal counts are told apart by how far."""
    beyond = np.maximum(z_scores(rows) - DEVIATIONS, 0.0)
    excess = np.minimum(beyond, 1e6).sum(axis=1)
    values = (beyond > 0.0).sum(axis=1) + excess / (1.0 + excess)
    known = rows.matrix.evidence >= LEAST_EVIDENCE
    for at, (key, at_us) in enumerate(rows.facts.select("key", "at_us").rows()):
        if known[at]:
            yield Moment(key, at_us / _MICRO, float(values[at]))
