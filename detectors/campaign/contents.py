"""What groups of keys ask about, compared with each other: is it the same, or clearly not?

The squared maximum mean discrepancy of the keys' pools, with keys for units: every key is one draw from what its operation
asks about, however many exchanges it has. So keys that differ among themselves, as those of an operation under cover do, do
not make two halves of it look different; the same spread says how large a distance chance makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.campaign.fleet import Columns, Floats, Ints, pools
from detectors.pooled.rff import FEATURES

LEAST_READ = 8.0
"""Exchanges behind a pool from which a key has a say."""

LEAST_KEYS = 3

APART, APART_NOISE = 0.0015, 1.0
"""Distance from which groups are clearly apart, and its ratio to what chance makes. On labelled traffic, parts of one
campaign mostly have a ratio below 0.5, and those of two campaigns mostly one above 1."""

SAME, SAME_NOISE, MOST_NOISE = 0.0012, 0.45, 0.003
"""Distance and ratio up to which two groups ask about the same, and the noise up to which that can be told."""

OWN = 0.2
"""Distance as a share of that to what the fleet asks about: groups under ordinary cover are alike in the cover."""

SAME_BINS = 0.06
"""Squared Hellinger distance of their harvest ratios, likewise."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Sums over the keys of a group.

    Attributes:
        keys: how many have a say.
        total: sum of their mean features, of shape (FEATURES,).
        squares: sum of the squared lengths of these.
        bins: sum of their shares of the harvest ratio's bins, of shape (BINS,).
    """

    keys: int
    total: Floats
    squares: float
    bins: Floats

    @classmethod
    def of(cls, members: Ints, fleet: Columns) -> Contents:
        """Of keys of the fleet."""
        counts, means = pools([fleet.traces[at] for at in members.tolist()])
        held = means[counts >= LEAST_READ].astype(np.float64)
        waves = held[:, :FEATURES]
        return cls(len(held), waves.sum(axis=0), float((waves**2).sum()), held[:, FEATURES:].sum(axis=0))

    def plus(self, other: Contents) -> Contents:
        """Of both groups, which have no key in common."""
        return Contents(
            self.keys + other.keys, self.total + other.total, self.squares + other.squares, self.bins + other.bins
        )

    def distance(self, other: Contents) -> tuple[float, float]:
        """Unbiased squared distance, and how much of it chance makes: the spread of a mean of so many keys."""
        a, noise = self._within()
        b, other_noise = other._within()
        cross = float(self.total @ other.total) / (self.keys * other.keys)
        return a + b - 2.0 * cross, noise + other_noise

    def apart(self, other: Contents) -> bool:
        """Whether they clearly ask about different things; false while too few keys say."""
        if min(self.keys, other.keys) < LEAST_KEYS:
            return False
        distance, noise = self.distance(other)
        return distance > max(APART, APART_NOISE * noise)

    def same(self, other: Contents, usual: Floats) -> bool:
        """Whether they draw on one pool, which is not what everybody asks about.

        Args:
            other: of another group.
            usual: mean features of the fleet's keys.
        """
        if min(self.keys, other.keys) < LEAST_KEYS:
            return False
        distance, noise = self.distance(other)
        away = min(float(((one.total / one.keys - usual) ** 2).sum()) for one in (self, other))
        bins = 1.0 - float(np.sqrt(self.bins / self.keys) @ np.sqrt(other.bins / other.keys))
        close = distance <= min(SAME, SAME_NOISE * noise) and distance <= OWN * away
        return close and noise <= MOST_NOISE and bins <= SAME_BINS

    def _within(self) -> tuple[float, float]:
        within = (float(self.total @ self.total) - self.squares) / (self.keys * (self.keys - 1))
        return within, (self.squares / self.keys - within) / self.keys


def usual(fleet: Columns) -> Floats:
    """Mean over the keys of the fleet of what each asks about, of shape (FEATURES,)."""
    counts, means = pools(fleet.traces)
    held: NDArray[np.bool_] = counts >= LEAST_READ
    found: Floats = means[held if held.any() else slice(None), :FEATURES].mean(axis=0, dtype=np.float64)
    return found
