"""One row of the matrix: the catalogue, the pool and the peer groups of one entity at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors import peers
from detectors.catalogue import CATALOGUE
from detectors.contract import FeatureMatrix
from detectors.features.breadth import breadth
from detectors.features.contents import contents, leak
from detectors.features.conversation import conversation
from detectors.features.parts import Counts, Found
from detectors.features.rhythm import rhythm
from detectors.features.shares import abilities, shares
from detectors.features.templates import templates
from detectors.pooled.rows import WIDTH
from detectors.profile import Profile
from detectors.sketch.decay import DAY, DAY_US, WEEK
from detectors.sketch.pool import SCALES
from detectors.tally import COUNTERS


def _no_pool() -> NDArray[np.float32]:
    return np.zeros((len(SCALES), 1 + WIDTH), np.float32)


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One entity's features.

    Attributes:
        values: float64 of shape (d,), 0.0 where absent.
        present: bool of shape (d,).
        evidence: decayed 7-day count of answered exchanges.
        groups: peer groups, most specific first.
        pool: float32 of shape (scales, 1 + width), see `contract.FeatureMatrix`.
    """

    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    evidence: int
    groups: tuple[str, ...]
    pool: NDArray[np.float32] = field(default_factory=_no_pool)


def features(profile: Profile, now_us: int) -> FeatureRow:
    """Every feature of a profile at a time; `now_us` is normally the time of its last exchange."""
    week = dict(zip(COUNTERS, (profile.week * WEEK.fade(now_us, profile.landmarks[2])).tolist(), strict=True))
    day = dict(zip(COUNTERS, (profile.day * DAY.fade(now_us, profile.landmarks[1])).tolist(), strict=True))
    age_d = max(0.0, (now_us - profile.created_us) / DAY_US) if profile.created_us else None
    found: Found = {}
    found.update(rhythm(profile, week, day, now_us))
    found.update(templates(profile, week, now_us))
    found.update(shares(week))
    found.update(breadth(profile, week, day, now_us))
    found.update(abilities(week))
    found.update(conversation(week, day, age_d))
    found.update(contents(profile.pool))
    found.update(leak(profile.account))
    found["account_age_d"] = age_d

    values = np.zeros(len(CATALOGUE))
    present = np.zeros(len(CATALOGUE), np.bool_)
    for column, feature in enumerate(CATALOGUE):
        value = found[feature.name]
        if value is not None:
            # Ratios of decayed sums may stray from their range by the rounding of additions.
            values[column] = min(max(value, feature.low), feature.high)
            present[column] = True
    pool = np.column_stack([np.array(profile.pool.counts, np.float32), profile.pool.means])
    values.flags.writeable = present.flags.writeable = pool.flags.writeable = False
    kind = peers.workload(_shape(week))
    groups = peers.groups(profile.plan, age_d, kind, profile.kind)
    return FeatureRow(values, present, int(week["answered"] + 0.5), groups, pool)


def stack(rows: Sequence[FeatureRow]) -> FeatureMatrix:
    """Rows → matrix, in order."""
    if not rows:
        width = len(CATALOGUE)
        nothing = np.zeros((0, len(SCALES), 1 + WIDTH), np.float32)
        return FeatureMatrix(np.zeros((0, width)), np.zeros((0, width), np.bool_), np.zeros(0, np.int64), (), nothing)
    return FeatureMatrix(
        np.stack([row.values for row in rows]),
        np.stack([row.present for row in rows]),
        np.array([row.evidence for row in rows], np.int64),
        tuple(row.groups for row in rows),
        np.stack([row.pool for row in rows]),
    )


def _shape(week: Counts) -> dict[str, float]:
    answered, generated = max(week["answered"], 1e-9), max(week["generated"], 1e-9)
    return {
        "answered": week["answered"],
        "embeddings": week["embeddings"] / answered,
        "completions": week["completions"] / answered,
        "tools": week["tools"] / generated,
        "single_turn": week["single_turn"] / generated,
        "short": week["short"] / generated,
        "templated": week["templated"] / generated,
        "out_in": week["output_tokens"] / max(week["input_tokens"], 1e-9),
    }
