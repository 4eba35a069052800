"""Groups → what they are as one entity, and what that calls for.

The pooled row of a group goes through the scorer that ranks keys, among the peers that keys have: an app that became
popular overnight is a group like a campaign, and as one entity it is a customer like others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from detectors.campaign.contents import Contents, usual
from detectors.campaign.contract import Evidence
from detectors.campaign.entity import pooled
from detectors.campaign.fleet import Columns, Ints
from detectors.campaign.trace import Trace
from detectors.contract import Level
from detectors.features import stack
from detectors.model import Model

LEAST_KEYS = 3
LEAST_ORGS = 3
LARGEST_ORG = 0.5
"""Share of a group's keys that may be one organisation's: a company that spreads its work over keys is one customer."""

WATCH, SUSPECT = 0.95, 0.995
"""Score of the group as one entity. SUSPECT is the bound at which a key alone is suspect (`policy.CALIBRATED`)."""

WATCH_HEAT, SUSPECT_HEAT = 0.3, 0.7
"""Mean heat of its keys: one busy harvester does not make its neighbours into members."""

LEAST_NATS, LEAST_ANSWERED = 6.0, 20
"""Sum of the heat of its keys, in nats, and exchanges below which no group is SUSPECT."""

MANY_NATS = 9.0
"""Sum of the heat of its keys, in nats, from which a group of WATCH's score is SUSPECT: each shows a little, and all do."""

CONFIRMED_EVIDENCE = 40
CONFIRMED_KINDS = 2
KIND_NATS = 1.9
"""What a kind of evidence must weigh to count as one for CONFIRMED: what a statistic weighs that no drawn group reaches."""


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
        level = _level(value, mean, total, row.evidence)
        if model.peers is None:
            level = min(Level.WATCH, level)  # compared with nobody here, it is worth a look and no more
        found.append(Group(members, value, row.evidence, mean, total, level))
    return found


def together(found: Sequence[Group], fleet: Columns, home: Mapping[str, str]) -> list[Ints]:
    """Groups that are at least WATCH, those that are one operation put together.

    Two groups are one when they draw on one pool: when their contents are as alike as chance allows, and far from what the
    fleet asks about. Groups that were one campaign before stay one, unless their contents lie clearly apart.

    Args:
        home: key id → id of the living campaign that it belongs to.
    """
    hot = [group for group in found if group.level >= Level.WATCH]
    if len(hot) < 2:
        return [group.members for group in hot]
    about = [Contents.of(group.members, fleet) for group in hot]
    ordinary = usual(fleet)
    homes = [_home([fleet.traces[at] for at in group.members.tolist()], home) for group in hot]
    one = np.zeros((len(hot), len(hot)), np.bool_)
    for a, b in combinations(range(len(hot)), 2):
        stay = homes[a] == homes[b] != "" and not about[a].apart(about[b])
        one[a, b] = stay or about[a].same(about[b], ordinary)
    _, label = connected_components(sparse.csr_matrix(one), directed=False)
    return [
        np.sort(np.concatenate([hot[at].members for at in np.flatnonzero(label == name).tolist()]))
        for name in range(int(label.max()) + 1)
    ]


def _home(members: Sequence[Trace], home: Mapping[str, str]) -> str:
    """The campaign that half of them or more were in; empty for none."""
    names = [home[trace.key_id] for trace in members if trace.key_id in home]
    name, count = max(Counter(names).items(), key=lambda one: (one[1], one[0]), default=("", 0))
    return name if 2 * count >= len(members) else ""


def confirmed(group: Group, evidence: Sequence[Evidence]) -> Level:
    """The level with what the evidence says: CONFIRMED needs kinds that are independent of each other."""
    kinds = {one.kind for one in evidence if one.nats >= KIND_NATS}
    if group.level >= Level.SUSPECT and group.answered >= CONFIRMED_EVIDENCE and len(kinds) >= CONFIRMED_KINDS:
        return Level.CONFIRMED
    return group.level


def _unrelated(members: Ints, fleet: Columns) -> bool:
    counts = np.unique(fleet.org[members], return_counts=True)[1]
    return len(members) >= LEAST_KEYS and len(counts) >= LEAST_ORGS and counts.max() <= LARGEST_ORG * len(members)


def _level(score: float, mean: float, total: float, answered: int) -> Level:
    sure = score >= SUSPECT or (score >= WATCH and total >= MANY_NATS)
    if sure and mean >= SUSPECT_HEAT and total >= LEAST_NATS and answered >= LEAST_ANSWERED:
        return Level.SUSPECT
    return Level.WATCH if mean >= WATCH_HEAT and score >= WATCH else Level.CLEAR
