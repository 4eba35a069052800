"""Drift: features in which the whole fleet moved at once, so that a surprise in them says nothing about one entity.

A launch day, a new model or a viral app moves honest customers together; a harvest moves a few. So the customers of a
time are compared with those of the history: for every feature, how large a share of them lies on the suspicious side of
a level that only a share `a` of their own peer group was beyond. Peers are of one's own group, so that more customers
of a kind that was always so are no drift. An organisation has one vote.

Null hypothesis: a vote lies beyond a level with the probability that the history's own votes had, or with the nominal
one if that is more. By Chernoff's bound a share s of n votes comes about with probability at most exp(−n KL(s, a));
over all features and levels the sum of these is kept below ALPHA. The history is a sample, too: with m votes of its
own, n m / (n + m) take the place of n. A jump must also be large, since among many votes any difference is sure: JUMP
of all votes, or, in the tail, TREBLE the level.

Who can freeze a feature blinds what looks at it. So at most MOST of the features are frozen at a time, the largest jump
first (`Look.too_many` says when more had jumped: then the reference is old), and the caller gives no vote to accounts of
days and to who is flagged: what moves the fleet then are settled organisations, one in fifty of all and more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.catalogue import CATALOGUE
from detectors.contract import FeatureMatrix
from detectors.reference import Reference

LEVELS: NDArray[np.float64] = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5])
"""Shares of the peers at which the fleet is compared."""

ALPHA = 0.001
"""Probability that a look freezes anything while nothing moved."""

JUMP = 0.1
TREBLE = 3.0

LEAST_VOTES = 100
"""Votes on a feature below which the fleet is not known well enough to freeze it."""

MOST = len(CATALOGUE) // 4

CALM_LOOKS = 3
"""Looks in a row at which a frozen feature must not have jumped before it counts again."""

_COLUMNS: NDArray[np.int64] = np.arange(len(CATALOGUE))
_NATS = -np.log(LEVELS)
_NEEDED = math.log(len(CATALOGUE) * len(LEVELS) / ALPHA)


@dataclass(frozen=True)
class Fleet:
    """What the customers of a time do, beside the reference. Sketches of different organisations add up.

    Attributes:
        votes: float64 of shape (features,): organisations with a value.
        beyond: float64 of shape (features, levels): votes at or beyond the level on the suspicious side.
    """

    votes: NDArray[np.float64]
    beyond: NDArray[np.float64]

    def merged(self, other: Fleet) -> Fleet:
        """Both, where no organisation is in both: workers own whole organisations."""
        return Fleet(self.votes + other.votes, self.beyond + other.beyond)


def ranks(reference: Reference, matrix: FeatureMatrix) -> NDArray[np.uint8]:
    """How far on the suspicious side every value lies: what a vote says, in one byte a feature.

    Args:
        reference: what is normal.
        matrix: one row per entity.

    Returns:
        uint8 of shape (rows, features): 0 where a row has no value or its group none to compare it with, and else one more
        than the number of LEVELS that the value is at or beyond.
    """
    found = np.zeros(matrix.values.shape, np.uint8)
    places = reference.places(matrix.groups)
    rows = np.flatnonzero(places >= 0)
    present, places = matrix.present[rows], places[rows]
    said = present & (reference.votes[places] > 0)
    nats = reference.surprises(matrix.values[rows], present, places, _COLUMNS)
    reached = np.searchsorted(_NATS[::-1], nats, side="right")
    found[rows] = np.where(said, 1 + reached, 0)
    return found


def counted(votes: NDArray[np.uint8], orgs: Sequence[str]) -> Fleet:
    """Sketch of votes.

    Args:
        votes: of `ranks`, one row per entity.
        orgs: the organisation behind each row, which has one vote per feature, spread over its rows.
    """
    said = votes > 0
    names, owner = np.unique(np.array(orgs, np.str_), return_inverse=True)
    of_org = np.zeros((len(names), len(CATALOGUE)))
    np.add.at(of_org, owner, said.astype(np.float64))
    weight = np.where(said, 1.0 / np.maximum(of_org[owner], 1.0), 0.0)
    beyond = np.stack([(weight * (votes > len(LEVELS) - at)).sum(axis=0) for at in range(len(LEVELS))], axis=1)
    return Fleet((of_org > 0).sum(axis=0).astype(np.float64), beyond)


def fleet(reference: Reference, matrix: FeatureMatrix, orgs: Sequence[str]) -> Fleet:
    """Sketch of the newest rows of entities; those of unknown groups have no vote.

    Args:
        reference: what is normal.
        matrix: one row per entity.
        orgs: the organisation behind each row.
    """
    return counted(ranks(reference, matrix), orgs)


def jumps(base: Fleet, seen: Fleet) -> NDArray[np.float64]:
    """How far each feature jumped: the largest excess of votes over a level, as a share; 0 where it did not.

    Args:
        base: the customers of the history that the reference was fitted on.
        seen: the customers of now, beside the same reference.

    Returns:
        float64 of shape (features,).
    """
    usual = np.clip(_shares(base), LEVELS, 1.0 - 1e-9)
    shares = _shares(seen)
    worth = seen.votes * base.votes / np.maximum(seen.votes + base.votes, 1.0)
    sure = worth[:, None] * _divergence(shares, usual) >= _NEEDED
    known = (np.minimum(seen.votes, base.votes) >= LEAST_VOTES)[:, None]
    moved = sure & known & (shares >= np.minimum(usual + JUMP, usual * TREBLE))
    found: NDArray[np.float64] = np.where(moved, shares - usual, 0.0).max(axis=1)
    return found


def _shares(of: Fleet) -> NDArray[np.float64]:
    found: NDArray[np.float64] = of.beyond / np.maximum(of.votes, 1.0)[:, None]
    return found


def _divergence(shares: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(share, usual) of coins, in nats; 0 where the share is not above the usual one."""
    above = np.clip(shares, usual, 1.0 - 1e-9)
    found: NDArray[np.float64] = above * np.log(above / usual) + (1.0 - above) * np.log((1.0 - above) / (1.0 - usual))
    return found


@dataclass(frozen=True)
class Look:
    """What is frozen after a look.

    Attributes:
        frozen: name → looks in a row without a jump.
        too_many: more features jumped than may be frozen: the reference is old.
    """

    frozen: dict[str, int]
    too_many: bool = False


def look(before: Look, moved: NDArray[np.float64]) -> Look:
    """The next look: freezes what jumped, and lets go what has been calm for CALM_LOOKS.

    Args:
        before: the last look; `Look({})` at the beginning.
        moved: of `jumps`.
    """
    calm = {name: looks + 1 for name, looks in before.frozen.items() if looks + 1 < CALM_LOOKS}
    order = sorted(np.flatnonzero(moved > 0.0).tolist(), key=lambda column: (-moved[column], column))
    frozen = {CATALOGUE[column].name: 0 for column in order[:MOST]}
    for name in sorted(calm, key=lambda name: (calm[name], name)):
        if len(frozen) < MOST:
            frozen.setdefault(name, calm[name])
    return Look(dict(sorted(frozen.items())), len(order) > MOST)


def without(matrix: FeatureMatrix, frozen: Look) -> FeatureMatrix:
    """The rows, as if nobody knew the frozen features."""
    return without_each(matrix, [frozen] * len(matrix))


def without_each(matrix: FeatureMatrix, frozen: Sequence[Look]) -> FeatureMatrix:
    """The rows, each as if nobody knew the features that are frozen for it.

    Args:
        matrix: rows.
        frozen: the look that each of them stands under.
    """
    if not any(look.frozen for look in frozen):
        return matrix
    names = [feature.name for feature in CATALOGUE]
    masks = {id(look): np.array([name in look.frozen for name in names]) for look in frozen}
    hidden = np.stack([masks[id(look)] for look in frozen])
    return FeatureMatrix(
        np.where(hidden, 0.0, matrix.values), matrix.present & ~hidden, matrix.evidence, matrix.groups, matrix.pool
    )
