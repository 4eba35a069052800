"""Groups → what they are as one entity, and what that calls for.

The pooled row of a group goes through the scorer that ranks keys, among the peers that keys have: an app that became
popular overnight is a group like a campaign, and as one entity it is a customer like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from detectors.campaign.contract import Evidence
from detectors.campaign.entity import pooled
from detectors.campaign.fleet import Columns, Ints
from detectors.contract import Level
from detectors.features import stack
from detectors.model import Model
from detectors.pooled.rff import FEATURES

LEAST_KEYS = 3
LEAST_ORGS = 3
LARGEST_ORG = 0.5
"""Share of a group's keys that may be one organisation's: a company that spreads its work over keys is one customer."""

WATCH, SUSPECT = 0.95, 0.995
"""Score of the group as one entity. SUSPECT is the bound at which a key alone is suspect (`policy.CALIBRATED`)."""

WATCH_HEAT, SUSPECT_HEAT = 0.3, 0.7
"""Mean heat of its keys: one busy harvester does not make its neighbours into members."""

MANY_NATS = 9.0
"""Sum of the heat of its keys, in nats, from which a group of WATCH's score is SUSPECT: each shows a little, and all do."""

CONFIRMED_EVIDENCE = 40
CONFIRMED_KINDS = 2
KIND_NATS = 2.5
"""What a kind of evidence must weigh to count as one for CONFIRMED."""

SAME_CONTENTS = 0.0012
"""Unbiased squared MMD of two groups' pools up to which they draw on one pool; of different operations it is 0.002 and
more."""
SAME_BINS = 0.15
"""Squared Hellinger distance of their harvest ratios."""
LEAST_POOLED = 120.0


@dataclass(frozen=True, slots=True)
class Group:
    """A group as one entity.

    Attributes:
        members: keys, of the columns.
        score: of the scorer that ranks, 0 … 1; 0.0 where it said nothing.
        answered: decayed 7-day count of answered exchanges.
        heat: mean of its keys; total: sum.
        level: without what evidence says of CONFIRMED.
    """

    members: Ints
    score: float
    answered: int
    heat: float
    total: float
    level: Level


def judge(groups: Sequence[Ints], fleet: Columns, model: Model, now_us: int) -> list[Group]:
    """Every group as one entity."""
    fit = [members for members in groups if _unrelated(members, fleet)]
    if not fit:
        return []
    rows = [pooled([fleet.traces[at] for at in members.tolist()], now_us) for members in fit]
    scorer = next(one for one in model.scorers if one.name == model.policy.ranks_by)
    column = scorer.columns(stack(rows))
    values = np.where(column.scored, column.value, 0.0)
    found = []
    for members, row, value in zip(fit, rows, values.tolist(), strict=True):
        total = float(fleet.heat[members].sum())
        mean = total / len(members)
        level = _level(value, mean, total) if model.peers is not None else min(Level.WATCH, _level(value, mean, total))
        found.append(Group(members, value, row.evidence, mean, total, level))
    return found


def together(found: Sequence[Group], fleet: Columns, now_us: int) -> list[Ints]:
    """Groups that are at least WATCH, those that draw on one pool put together."""
    hot = [group for group in found if group.level >= Level.WATCH]
    if len(hot) < 2:
        return [group.members for group in hot]
    traces = [[fleet.traces[at] for at in group.members.tolist()] for group in hot]
    rows = [pooled(members, now_us) for members in traces]
    count = np.array([sum(trace.pooled for trace in members) for members in traces])
    means = np.array([row.pool[1, 1:] for row in rows], np.float64)
    waves, bins = means[:, :FEATURES], np.sqrt(np.maximum(means[:, FEATURES:], 0.0))
    within = ((waves**2).sum(axis=1) * count - 1.0) / np.maximum(1.0, count - 1.0)
    distance = within[:, None] + within[None, :] - 2.0 * waves @ waves.T
    enough = count >= LEAST_POOLED
    close = (distance <= SAME_CONTENTS) & (1.0 - bins @ bins.T <= SAME_BINS) & enough[:, None] & enough[None, :]
    _, label = connected_components(sparse.csr_matrix(close), directed=False)
    return [
        np.sort(np.concatenate([hot[at].members for at in np.flatnonzero(label == name).tolist()]))
        for name in range(int(label.max()) + 1)
    ]


def confirmed(group: Group, evidence: Sequence[Evidence]) -> Level:
    """The level with what the evidence says: CONFIRMED needs kinds that are independent of each other."""
    kinds = {one.kind for one in evidence if one.nats >= KIND_NATS}
    if group.level >= Level.SUSPECT and group.answered >= CONFIRMED_EVIDENCE and len(kinds) >= CONFIRMED_KINDS:
        return Level.CONFIRMED
    return group.level


def _unrelated(members: Ints, fleet: Columns) -> bool:
    counts = np.unique(fleet.org[members], return_counts=True)[1]
    return len(members) >= LEAST_KEYS and len(counts) >= LEAST_ORGS and counts.max() <= LARGEST_ORG * len(members)


def _level(score: float, mean: float, total: float) -> Level:
    if mean >= SUSPECT_HEAT and (score >= SUSPECT or (score >= WATCH and total >= MANY_NATS)):
        return Level.SUSPECT
    return Level.WATCH if mean >= WATCH_HEAT and score >= WATCH else Level.CLEAR
