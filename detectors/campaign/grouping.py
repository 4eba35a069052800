"""Cells → groups: keys that rare cells tie together, by community detection.

A cell of n keys would be n² edges. Instead every key of it is tied to a few others, drawn by hashes, so that the largest
operation costs as much per key as the smallest and still hangs together. First what keys say and who pays for them ties:
communities are Leiden's (Traag, Waltman, van Eck, 2019). Clients and settings, which operations may have in common with
each other and with customers, then join what would stay in pieces: groups most of whose keys have them in common.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sknetwork.clustering import Leiden  # type: ignore[import-untyped]

from detectors.campaign.cells import Cells, is_loose, with_keys
from detectors.campaign.fleet import Ints

REACH = 4
"""Others that a key is tied to on either side of its place in a cell."""

RESOLUTION = 0.3
"""Of the modularity: below 1, so that a large group is not taken apart along its wordings or payments."""

SMALL = 12
"""Keys up to which a component is one group: too small to be taken apart."""

JOINED = 0.5
"""Share of the smaller group's keys that have their client and settings in common with the larger one's."""


def groups(cells: Cells, keys: int) -> list[Ints]:
    """Groups of two keys or more, each ascending, in the order of their first keys.

    Args:
        cells: that tie.
        keys: in the fleet.
    """
    loose = is_loose(cells.marks)
    spread = np.repeat(loose, np.diff(cells.starts))
    first = communities(adjacency(with_keys(cells, ~loose, ~spread), keys))
    setups = with_keys(cells, loose, spread)
    group_of = np.full(keys, -1)
    for number, members in enumerate(first):
        group_of[members] = number
    # Keys that nothing else ties are groups by their settings.
    free = with_keys(setups, np.ones(len(setups), np.bool_), group_of[setups.keys] < 0)
    rest = communities(adjacency(free, keys))
    for number, members in enumerate(rest, len(first)):
        group_of[members] = number
    together = _joined([*first, *rest], group_of, setups)
    return sorted((group for group in together if len(group) >= 2), key=lambda group: int(group[0]))


def communities(weights: sparse.csr_matrix) -> list[Ints]:
    """What hangs together, and large pieces of it taken apart where they hang by little."""
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
        labels = Leiden(resolution=RESOLUTION, random_state=0).fit_predict(weights[members][:, members])
        found += [members[labels == label] for label in range(int(labels.max()) + 1)]
    return found


def _joined(parts: list[Ints], group_of: Ints, setups: Cells) -> list[Ints]:
    """Groups of which the smaller has most of its keys in settings of the larger."""
    if not parts:
        return []
    cell = np.repeat(np.arange(len(setups)), np.diff(setups.starts))
    group = group_of[setups.keys]
    kept = group >= 0
    cell, group, key = cell[kept], group[kept], setups.keys[kept]
    member = sparse.csr_matrix((np.ones(len(cell), np.int32), (cell, group)), shape=(max(1, len(setups)), len(parts)))
    member.data[:] = 1
    # For every key the groups that its cells reach, then by group how many of its keys reach which.
    of_key = sparse.csr_matrix((np.ones(len(cell), np.int32), (key, cell)), shape=(len(group_of), max(1, len(setups))))
    reach = of_key @ member
    reach.data[:] = 1
    owner = sparse.csr_matrix(
        (np.ones(len(group_of), np.int32)[group_of >= 0], (group_of[group_of >= 0], np.flatnonzero(group_of >= 0))),
        shape=(len(parts), len(group_of)),
    )
    reached = (owner @ reach).tocoo()
    sizes = np.array([len(part) for part in parts])
    smaller = sizes[reached.row] <= sizes[reached.col]
    close = smaller & (reached.row != reached.col) & (reached.data >= JOINED * sizes[reached.row])
    ties = sparse.csr_matrix((np.ones(int(close.sum())), (reached.row[close], reached.col[close])), shape=(len(parts),) * 2)
    _, label = connected_components(ties, directed=False)
    together: dict[int, list[Ints]] = {}
    for part, name in zip(parts, label.tolist(), strict=True):
        together.setdefault(name, []).append(part)
    return [np.sort(np.concatenate(found)) for found in together.values()]


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
        nats.append(cells.nats[cell[here]])
    row, column, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(nats)
    both = sparse.coo_matrix(
        (np.append(value, value), (np.append(row, column), np.append(column, row))), shape=(keys, keys)
    )
    return both.tocsr()
