"""Cells: sets of unrelated keys that share a rare mark, and may be one operation; an inverted index, made at every pass.

A mark is worth something by how rare it is among settled keys, who were there before (TF-IDF in the projection of Pacheco
et al., ICWSM 2021). What a new app brings to thousands of new keys is as rare there as what a campaign brings, so being
rare makes a cell a candidate and no more. Whether its keys harvest decides, all of them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.campaign.fleet import Columns, Ints
from detectors.campaign.trace import Kind

RAREST_NATS = 6.0
"""Cap of what one mark is worth: rarer than one in 400 is not surer."""

LEAST_NATS = 4.0
"""A mark that more than one settled organisation in 55 has ties nobody."""

LEAST_ORGS = 3

LEAST_HEAT = 1.5
"""Sum of its keys' heat below which a cell is not looked at: its keys are like others."""

ROUNDS = 8
LEAST_PURITY = 0.5
SURE = 0.7
"""Probability from which a key belongs to a group on no more than its client and settings."""

PRIOR = 0.2
"""Share of members expected in a cell before anything is known of its keys, worth PRIOR_KEYS of them."""
PRIOR_KEYS = 2.0


@dataclass(frozen=True, slots=True)
class Cells:
    """Candidate cells.

    Attributes:
        marks: uint64 of shape (c,).
        nats: how much sharing it is worth, of shape (c,).
        honest: share of settled organisations that have the mark, of shape (c,).
        starts: of shape (c + 1,); the keys of cell i are keys[starts[i]:starts[i + 1]], by organisation.
        keys: of shape (starts[-1],).
    """

    marks: NDArray[np.uint64]
    nats: NDArray[np.float64]
    honest: NDArray[np.float64]
    starts: Ints
    keys: Ints

    def __len__(self) -> int:
        return len(self.marks)

    def of(self, at: int) -> Ints:
        """Keys of one."""
        return self.keys[self.starts[at] : self.starts[at + 1]]


def cells(fleet: Columns) -> Cells:
    """The candidates of a fleet."""
    marks, owner = _shared(fleet.marks, fleet.owner)
    order = np.lexsort((owner, ~fleet.settled[owner], fleet.org[owner], marks))
    marks, owner = marks[order], owner[order]
    org = fleet.org[owner]
    new = _changes(marks)
    starts = np.flatnonzero(new)
    if not len(starts):
        return Cells(marks, np.zeros(0), np.zeros(0), np.zeros(1, np.int64), owner)
    other = new | _changes(org)  # the first key of an organisation in a cell
    settled = fleet.settled[owner]
    orgs = np.add.reduceat(other.astype(np.int64), starts)
    # Counted by keys within an organisation only once: its first key speaks for it, a settled one where it has any.
    usual = np.add.reduceat((other & settled).astype(np.int64), starts)
    everybody = len(np.unique(fleet.org[fleet.settled]))
    honest = (usual + 0.5) / (everybody + 1.0)
    nats = np.minimum(RAREST_NATS, -np.log(honest))
    size = np.diff(np.append(starts, len(marks)))
    total = np.add.reduceat(fleet.heat[owner], starts)
    wanted = (orgs >= LEAST_ORGS) & (nats >= LEAST_NATS) & (total >= LEAST_HEAT)
    kept = np.repeat(wanted, size)
    sizes = size[wanted]
    return Cells(
        marks[starts[wanted]], nats[wanted], honest[wanted], np.append(0, np.cumsum(sizes)), owner[kept].astype(np.int64)
    )


def pure(found: Cells, fleet: Columns) -> tuple[Cells, NDArray[np.float64]]:
    """Cells most of whose keys harvest, with those of their keys that probably belong; and how probably, by key.

    A cell is a mixture of members and of customers who happen to have its mark: which share are members, and whether a key
    is one, is found by expectation and maximisation. All keys of a cell have a say in its share, so nobody is picked out of
    a crowd of honest customers.

    Returns:
        The cells, and for every key of the fleet the probability that it belongs to the purest of its cells; 0 outside.
    """
    cell = np.repeat(np.arange(len(found)), np.diff(found.starts))
    size = np.diff(found.starts)
    here = fleet.heat[found.keys]
    share = np.full(len(found), 0.5)
    strength = np.zeros(len(fleet.heat))
    for _ in range(ROUNDS):
        odds = np.log(share) - np.log1p(-share)
        best = np.full(len(fleet.heat), -np.inf)
        np.maximum.at(best, found.keys, odds[cell])
        strength = 1.0 / (1.0 + np.exp(-(fleet.heat + best)))
        belonging = np.bincount(cell, 1.0 / (1.0 + np.exp(-(here + odds[cell]))), minlength=len(found))
        share = np.clip((belonging + PRIOR * PRIOR_KEYS) / (size + PRIOR_KEYS), 1e-3, 1.0 - 1e-3)
    keep = share >= LEAST_PURITY
    least = np.where(is_loose(found.marks), SURE, 0.5)
    return with_keys(found, keep, keep[cell] & (strength[found.keys] >= least[cell])), strength


def with_keys(found: Cells, cells_kept: NDArray[np.bool_], keys_kept: NDArray[np.bool_]) -> Cells:
    """Some of the cells, with some of their keys.

    Args:
        found: of c cells with k keys in all.
        cells_kept: of shape (c,); keys_kept: of shape (k,), false for keys of cells that go.
    """
    cell = np.repeat(np.arange(len(found)), np.diff(found.starts))
    sizes = np.bincount(cell, keys_kept, minlength=len(found)).astype(np.int64)[cells_kept]
    return Cells(
        found.marks[cells_kept],
        found.nats[cells_kept],
        found.honest[cells_kept],
        np.append(0, np.cumsum(sizes)),
        found.keys[keys_kept],
    )


def _shared(marks: NDArray[np.uint64], owner: Ints) -> tuple[NDArray[np.uint64], Ints]:
    """Without the marks that few keys have: most have one."""
    order = np.argsort(marks, kind="stable")
    marks, owner = marks[order], owner[order]
    starts = np.flatnonzero(_changes(marks))
    if not len(starts):
        return marks, owner
    size = np.diff(np.append(starts, len(marks)))
    kept = np.repeat(size >= LEAST_ORGS, size)
    return marks[kept], owner[kept]


def _changes(values: NDArray[np.uint64] | Ints) -> NDArray[np.bool_]:
    found = np.ones(len(values), np.bool_)
    found[1:] = values[1:] != values[:-1]
    return found


def is_loose(marks: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Marks that come with a client: settings and its own system prompt. Customers of one client have them in common."""
    kinds = marks >> np.uint64(32)
    found: NDArray[np.bool_] = (kinds == int(Kind.SETUP)) | (kinds == int(Kind.SYSTEM))
    return found


def is_identity(marks: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Marks of who is behind a key: payment, network, a block of reasoning from elsewhere."""
    found: NDArray[np.bool_] = np.isin(marks >> np.uint64(32), [int(Kind.PAYMENT), int(Kind.NETWORK), int(Kind.BLOCK)])
    return found
