"""Cells → groups: keys that rare cells tie together, by community detection.

A cell of n keys would be n² edges. Instead every key of it is tied to a few others, drawn by hashes, so that the largest
operation costs as much per key as the smallest and still hangs together. First what keys say and who pays for them ties:
communities are Leiden's (Traag, Waltman, van Eck, 2019). Clients and settings, which operations may have in common with
each other and with customers, then join what would stay in pieces: groups most of whose keys have them in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sknetwork.clustering import Leiden  # type: ignore[import-untyped]

from detectors.campaign.cells import Cells, is_loose, with_keys
from detectors.campaign.contents import Contents
from detectors.campaign.fleet import Columns, Ints

REACH = 4
"""Others that a key is tied to on either side of its place in a cell."""

RESOLUTION = 1.0
"""Of the modularity: the plain one; what it takes apart too far is put together again."""

SMALL = 6
"""Keys up to which a component is one group: too small to be taken apart."""

JOINED = 0.5
"""Share of the smaller group's keys that have their client and settings in common with the larger one's."""


def groups(cells: Cells, fleet: Columns) -> list[Ints]:
    """Groups of two keys or more, each ascending, in the order of their first keys.

    Args:
        cells: that tie.
        fleet: whose keys they hold.
    """
    keys = len(fleet.traces)
    loose = is_loose(cells.marks)
    spread = np.repeat(loose, np.diff(cells.starts))
    first = communities(adjacency(with_keys(cells, ~loose, ~spread), keys), fleet)
    setups = with_keys(cells, loose, spread)
    group_of = np.full(keys, -1)
    for number, members in enumerate(first):
        group_of[members] = number
    # Keys that nothing else ties are groups by their settings.
    free = with_keys(setups, np.ones(len(setups), np.bool_), group_of[setups.keys] < 0)
    rest = communities(adjacency(free, keys), fleet)
    for number, members in enumerate(rest, len(first)):
        group_of[members] = number
    parts = [*first, *rest]
    together = assembled(parts, _in_settings(parts, group_of, setups), fleet)
    return sorted((group for group in together if len(group) >= 2), key=lambda group: int(group[0]))


def communities(weights: sparse.csr_matrix, fleet: Columns) -> list[Ints]:
    """What hangs together, without what asks about other things.

    A large piece is taken apart into communities, and those that ask about the same things are put together again: so the
    payments or wordings of one operation do not divide it, and a key that two operations share does not unite them.
    """
    count, component = connected_components(weights, directed=False)
    sizes = np.bincount(component, minlength=count)
    found: list[Ints] = []
    order = np.argsort(component, kind="stable")
    ends = np.cumsum(sizes)
    for at in np.flatnonzero(sizes >= 2).tolist():
        members = np.sort(order[ends[at] - sizes[at] : ends[at]]).astype(np.int64)
        if len(members) <= SMALL:
            found.append(members)
            continue
        inner = weights[members][:, members]
        label = Leiden(resolution=RESOLUTION, random_state=0).fit_predict(inner)
        parts = [members[label == name] for name in range(int(label.max()) + 1)]
        mine = sparse.csr_matrix((np.ones(len(label)), (label, np.arange(len(label)))), shape=(len(parts), len(label)))
        between = (mine @ inner @ mine.T).tocoo()
        ties = {(int(a), int(b)): float(w) for a, b, w in zip(between.row, between.col, between.data, strict=True) if a < b}
        found += assembled(parts, ties, fleet)
    return found


def assembled(parts: Sequence[Ints], ties: Mapping[tuple[int, int], float], fleet: Columns) -> list[Ints]:
    """Parts put together along their ties, the strongest first, where they are not clearly apart.

    Args:
        parts: disjoint sets of keys.
        ties: (a, b) with a < b → strength.
    """
    about = [Contents.of(part, fleet) for part in parts] if ties else []
    head = list(range(len(parts)))

    def root(at: int) -> int:
        while head[at] != at:
            head[at] = head[head[at]]
            at = head[at]
        return at

    for (a, b), _weight in sorted(ties.items(), key=lambda one: (-one[1], one[0])):
        one, other = sorted((root(a), root(b)))
        if one == other or about[one].apart(about[other]):
            continue
        head[other] = one
        about[one] = about[one].plus(about[other])
    whole: dict[int, list[Ints]] = {}
    for at, part in enumerate(parts):
        whole.setdefault(root(at), []).append(part)
    return [np.sort(np.concatenate(found)) for found in whole.values()]


def _in_settings(parts: Sequence[Ints], group_of: Ints, setups: Cells) -> dict[tuple[int, int], float]:
    """Pairs of groups of which the smaller has most of its keys in settings of the larger → that share."""
    cell = np.repeat(np.arange(len(setups)), np.diff(setups.starts))
    group = group_of[setups.keys]
    kept = group >= 0
    if not kept.any():
        return {}
    cell, group, key = cell[kept], group[kept], setups.keys[kept]
    member = sparse.csr_matrix((np.ones(len(cell), np.int32), (cell, group)), shape=(len(setups), len(parts)))
    member.data[:] = 1
    # For every key the groups that its cells reach, then by group how many of its keys reach which.
    of_key = sparse.csr_matrix((np.ones(len(cell), np.int32), (key, cell)), shape=(len(group_of), len(setups)))
    reach = of_key @ member
    reach.data[:] = 1
    grouped = np.flatnonzero(group_of >= 0)
    owner = sparse.csr_matrix(
        (np.ones(len(grouped), np.int32), (group_of[grouped], grouped)), shape=(len(parts), len(group_of))
    )
    reached = (owner @ reach).tocoo()
    sizes = np.array([len(part) for part in parts])
    found: dict[tuple[int, int], float] = {}
    for a, b, count in zip(reached.row.tolist(), reached.col.tolist(), reached.data.tolist(), strict=True):
        share = count / sizes[a]
        if a != b and sizes[a] <= sizes[b] and share >= JOINED:
            pair = (min(a, b), max(a, b))
            found[pair] = max(found.get(pair, 0.0), float(share))
    return found


def adjacency(cells: Cells, keys: int) -> sparse.csr_matrix:
    """Symmetric weights in nats, of shape (keys, keys); what several cells say adds up."""
    rows: list[Ints] = []
    columns: list[Ints] = []
    nats: list[NDArray[np.float64]] = []
    sizes = np.diff(cells.starts)
    cell = np.repeat(np.arange(len(cells)), sizes)
    place = np.arange(len(cells.keys)) - cells.starts[cell]
    mixed = cells.keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ cells.marks[cell] * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(29)
    shuffled = cells.keys[np.lexsort((mixed * np.uint64(0xBF58476D1CE4E5B9), cell))]
    for step in range(1, REACH + 1):
        # Round the circle; a small cell is a clique, and no pair is counted twice.
        here = np.flatnonzero((2 * step < sizes[cell]) | ((2 * step == sizes[cell]) & (place < step)))
        rows.append(shuffled[here])
        columns.append(shuffled[cells.starts[cell[here]] + (place[here] + step) % sizes[cell[here]]])
        # What two or three keys share may be chance that is left; it must not tie two large groups.
        nats.append(cells.nats[cell[here]] * (1.0 - 2.0 / np.maximum(sizes[cell[here]], 2.5)))
    row, column, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(nats)
    both = sparse.coo_matrix(
        (np.append(value, value), (np.append(row, column), np.append(column, row))), shape=(keys, keys)
    )
    return both.tocsr()
