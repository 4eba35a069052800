"""Cells → groups: keys that rare cells tie together, by community detection.

A cell of n keys would be n² edges. Instead every key of it is tied to a few others, drawn by hashes, so that the largest
operation costs as much per key as the smallest and still hangs together. First what keys say and who pays for them ties:
communities are Leiden's (Traag, Waltman, van Eck, 2019). Clients and settings, which operations may have in common with
each other and with customers, then join what would stay in pieces: groups most of whose keys have them in common.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sknetwork.clustering import Leiden  # type: ignore[import-untyped]

from detectors.campaign.cells import Cells, is_identity, is_loose, with_keys
from detectors.campaign.contents import Contents
from detectors.campaign.fleet import Columns, Ints

REACH = 4
"""Others that a key is tied to on either side of its place in a cell."""

RESOLUTION = 1.0
"""Of the modularity: the plain one; what it takes apart too far is put together again."""

SMALL = 6
"""Keys up to which a component is one group: too small to be taken apart."""

JOINED = 0.5
"""Share of a group's keys that have a payment, a network, or client and settings in common with keys of another."""


def groups(cells: Cells, fleet: Columns) -> list[Ints]:
    """Groups of two keys or more, each ascending, in the order of their first keys.

    Args:
        cells: that tie.
        fleet: whose keys they hold.
    """
    keys = len(fleet.traces)
    loose, named = is_loose(cells.marks), is_identity(cells.marks)
    said, setups = adjacency(_only(cells, ~loose & ~named), keys), _only(cells, loose)
    # Keys behind which the same payer or network stands are one operator's, and two such groups are two operators.
    parts = _components(adjacency(_only(cells, named), keys))
    owners = len(parts)
    fine, _ = communities(_among(said, parts))
    parts += fine
    parts, operators = assembled(parts, _weights(parts, said), (), range(owners), fleet)
    # Keys that nothing else ties are groups by their settings.
    rest, near = communities(_among(adjacency(setups, keys), parts))
    parts += assembled(rest, near, (), (), fleet)[0]
    reached = _reach(parts, setups, keys)
    ties = {pair: max(shares) for pair, shares in reached.items() if max(shares) >= JOINED}
    sure = {pair for pair in ties if min(reached[pair]) >= JOINED}
    together, _ = assembled(parts, ties, sure, operators, fleet)
    return sorted((group for group in together if len(group) >= 2), key=lambda group: int(group[0]))


def _components(weights: sparse.csr_matrix) -> list[Ints]:
    count, component = connected_components(weights, directed=False)
    order = np.argsort(component, kind="stable")
    sizes = np.bincount(component, minlength=count)
    ends = np.cumsum(sizes)
    return [np.sort(order[ends[at] - sizes[at] : ends[at]]).astype(np.int64) for at in np.flatnonzero(sizes >= 2).tolist()]


def _among(weights: sparse.csr_matrix, parts: Sequence[Ints]) -> sparse.csr_matrix:
    """The ties between keys that are in none of the parts."""
    free = np.ones(weights.shape[0])
    for part in parts:
        free[part] = 0.0
    kept = sparse.diags(free)
    found = (kept @ weights @ kept).tocsr()
    found.eliminate_zeros()
    return found


def _weights(parts: Sequence[Ints], weights: sparse.csr_matrix) -> dict[tuple[int, int], float]:
    """What lies between parts: (a, b) with a < b → nats."""
    if not parts:
        return {}
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    keys = np.concatenate(parts)
    mine = sparse.csr_matrix((np.ones(len(keys)), (owner, keys)), shape=(len(parts), weights.shape[0]))
    between = (mine @ weights @ mine.T).tocoo()
    triples = zip(between.row.tolist(), between.col.tolist(), between.data.tolist(), strict=True)
    return {(a, b): float(nats) for a, b, nats in triples if a < b}


def communities(weights: sparse.csr_matrix) -> tuple[list[Ints], dict[tuple[int, int], float]]:
    """What hangs together, the large pieces taken apart into communities.

    Returns:
        Disjoint sets of keys, and what weighs between those that were one piece: (a, b) with a < b → nats.
    """
    found: list[Ints] = []
    ties: dict[tuple[int, int], float] = {}
    for members in _components(weights):
        if len(members) <= SMALL:
            found.append(members)
            continue
        inner = weights[members][:, members]
        label = Leiden(resolution=RESOLUTION, random_state=0).fit_predict(inner)
        parts = [np.flatnonzero(label == name) for name in range(int(label.max()) + 1)]
        ties |= {(len(found) + a, len(found) + b): nats for (a, b), nats in _weights(parts, inner).items()}
        found += [members[part] for part in parts]
    return found, ties


def assembled(
    parts: Sequence[Ints],
    ties: Mapping[tuple[int, int], float],
    sure: Collection[tuple[int, int]],
    operators: Collection[int],
    fleet: Columns,
) -> tuple[list[Ints], list[int]]:
    """Parts put together along their ties, the strongest first, where they do not clearly ask about different things.

    So the wordings of one operation do not divide it, and a key that two operations have in common does not unite them.

    Args:
        parts: disjoint sets of keys.
        ties: (a, b) with a < b → strength.
        sure: pairs of these that are one, whatever they ask about.
        operators: parts whose operator is known; no two of them are one.

    Returns:
        Larger parts, and which of them have a known operator.
    """
    about = [Contents.of(part, fleet) for part in parts] if ties else []
    owned = [at in operators for at in range(len(parts))]
    head = list(range(len(parts)))

    def root(at: int) -> int:
        while head[at] != at:
            head[at] = head[head[at]]
            at = head[at]
        return at

    for a, b in sorted(ties, key=lambda pair: (pair not in sure, -ties[pair], pair)):
        one, other = sorted((root(a), root(b)))
        if one == other or (owned[one] and owned[other]):
            continue
        if (a, b) not in sure and about[one].apart(about[other]):
            continue
        head[other] = one
        about[one] = about[one].plus(about[other])
        owned[one] = owned[one] or owned[other]
    whole: dict[int, list[Ints]] = {}
    for at, part in enumerate(parts):
        whole.setdefault(root(at), []).append(part)
    return (
        [np.sort(np.concatenate(found)) for found in whole.values()],
        [number for number, at in enumerate(whole) if owned[at]],
    )


def _only(cells: Cells, wanted: NDArray[np.bool_]) -> Cells:
    return with_keys(cells, wanted, np.repeat(wanted, np.diff(cells.starts)))


def _reach(parts: Sequence[Ints], cells: Cells, keys: int) -> dict[tuple[int, int], tuple[float, float]]:
    """Pairs of groups with cells in common → share of the keys of either that are in a cell with keys of the other."""
    group_of = np.full(keys, -1)
    for number, part in enumerate(parts):
        group_of[part] = number
    cell = np.repeat(np.arange(len(cells)), np.diff(cells.starts))
    group = group_of[cells.keys]
    kept = group >= 0
    if not kept.any():
        return {}
    cell, group, key = cell[kept], group[kept], cells.keys[kept]
    member = sparse.csr_matrix((np.ones(len(cell), np.int32), (cell, group)), shape=(len(cells), len(parts)))
    member.data[:] = 1
    # For every key the groups that its cells reach, then by group how many of its keys reach which.
    of_key = sparse.csr_matrix((np.ones(len(cell), np.int32), (key, cell)), shape=(keys, len(cells)))
    reach = of_key @ member
    reach.data[:] = 1
    grouped = np.flatnonzero(group_of >= 0)
    owner = sparse.csr_matrix((np.ones(len(grouped), np.int32), (group_of[grouped], grouped)), shape=(len(parts), keys))
    reached = (owner @ reach).tocoo()
    shares: dict[tuple[int, int], list[float]] = {}
    for a, b, count in zip(reached.row.tolist(), reached.col.tolist(), reached.data.tolist(), strict=True):
        if a != b:
            shares.setdefault((min(a, b), max(a, b)), [0.0, 0.0])[int(a > b)] = count / len(parts[a])
    return {pair: (found[0], found[1]) for pair, found in shares.items()}


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
