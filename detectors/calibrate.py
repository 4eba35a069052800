"""Conformal p-values: how many peers of a benign history had a statistic at least this high.

A peer is an organisation, and it stands for the highest value any of its rows in the group ever had. An entity is judged
again and again while it grows; comparing one moment with the peers' worst moments pays for that, and makes the p-value hold
for the whole life of an entity and not for one look at it. It also means that a thousand keys of one customer are one peer.

The p-value of a statistic is (1 + peers at or above it) / (1 + peers) (Vovk et al. 2005): with n peers nothing is rarer
than 1 / (n + 1), however odd it looks. The group is the most specific one that has enough peers for the rarest p-value
the policy asks about, else the widest.

Contamination: attackers in the history sit at the top and make p-values larger, never smaller. `model.fit` takes out what a
near-certain rule recognises; what is left costs power, not false alarms.

`score` is 1 − p, refined so that it ranks: linear between two neighbouring peers, where it stays at or below 1 − p, and
beyond the highest peer at most a tenth of a step above it, so 1 − 0.9 / (n + 1) is its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.peers import kinds

ENOUGH = 500
"""Peers for which a group is preferred to the wider one: it resolves 1 / 501."""

_FAR = 1e12
"""What lies farther out than this is as far out as can be; a quotient of it still fits a number."""

SELF_RELIANT = 2000
"""Peers from which on a group needs no backing: five of them lie beyond a score of 0.9975."""

LEAST = 20
"""Peers from which a group is kept: below ENOUGH it does not judge alone, but see `guarded`."""

BEYOND = 0.1
"""Share of the last step that is used to rank what lies beyond every peer."""


@dataclass(frozen=True, slots=True)
class Conformal:
    """Highest statistics of the peers, sorted, by group."""

    peers: dict[str, NDArray[np.float64]]

    def group(self, groups: Sequence[str]) -> str | None:
        """The group that judges: the most specific with enough peers, else the widest known; None when none is known."""
        known = [name for name in groups if name in self.peers]
        return next((name for name in known if len(self.peers[name]) >= ENOUGH), known[-1] if known else None)

    def p_value(self, statistic: float, groups: Sequence[str]) -> float | None:
        """Conformal p-value in [1 / (n + 1), 1]; None without peers."""
        name = self.group(groups)
        if name is None:
            return None
        peers = self.peers[name]
        return (1 + len(peers) - int(np.searchsorted(peers, statistic, side="left"))) / (1 + len(peers))

    def score(self, statistic: float, groups: Sequence[str]) -> float | None:
        """1 − p, refined so that it ranks; rises with the statistic; None without peers."""
        found = float(self.scores(np.array([statistic]), (tuple(groups),))[0])
        return None if np.isnan(found) else found

    def scores(self, statistics: NDArray[np.float64], groups: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
        """`score` of every row, float64 of shape (n,); NaN without peers. A row gives the same bits in any batch."""
        out = np.full(len(statistics), np.nan)
        known, codes = kinds(groups)
        names = [self.group(names) for names in known]
        for name in dict.fromkeys(name for name in names if name is not None):
            rows = np.flatnonzero(np.array([other == name for other in names])[codes])
            out[rows] = ranked(self.peers[name], statistics[rows])
        return out

    def backed(
        self, statistics: NDArray[np.float64], groups: Sequence[tuple[str, ...]], shipped: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """`scores`, in which peers that are too few to be sure are backed by those that a statistic was shipped with.

        Among fewer than SELF_RELIANT peers a score counts that both sides give: the lower one. Beyond every peer of its own
        there is nothing to compare with, and the shipped ones say how far.

        Args:
            statistics: float64 of shape (n,); groups: of each row.
            shipped: sorted statistics of honest organisations elsewhere.
        """
        own = self.scores(statistics, groups)
        elsewhere = ranked(shipped, statistics)
        known, codes = kinds(groups)
        peers = [self.peers[name] if (name := self.group(names)) is not None else shipped for names in known]
        few = np.array([len(one) < SELF_RELIANT for one in peers], np.bool_)[codes]
        top = np.array([one[-1] for one in peers], np.float64)[codes]
        found = np.where(statistics > top, np.maximum(own, elsewhere), np.minimum(own, elsewhere))
        return np.where(few, found, own)


def ranked(peers: NDArray[np.float64], statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 − p of each statistic among sorted peers, refined as said above."""
    count = len(peers)
    at = np.searchsorted(peers, statistics, side="left")
    top, middle = float(peers[-1]), float(peers[count // 2])
    beyond = np.clip(statistics - top, 0.0, _FAR) / max(top - middle, 1e-9)
    above = 1.0 - (1.0 - BEYOND * beyond / (1.0 + beyond)) / (1 + count)
    floor = peers[np.maximum(at - 1, 0)]
    width = peers[np.minimum(at, count - 1)] - floor
    between = np.where(width > 0.0, (statistics - floor) / np.where(width > 0.0, width, 1.0), 1.0)
    found: NDArray[np.float64] = np.where(at == count, above, np.maximum(0.0, (at - 1 + between) / (1 + count)))
    return found


def fit(statistics: Sequence[float], orgs: Sequence[str], groups: Sequence[Sequence[str]]) -> Conformal:
    """Calibration from the statistics of held-out rows; one peer per organisation and group."""
    highest: dict[str, dict[str, float]] = {}
    for value, org, names in zip(statistics, orgs, groups, strict=True):
        for name in names:
            peers = highest.setdefault(name, {})
            peers[org] = max(value, peers.get(org, value))
    widest = {names[-1] for names in groups}
    return Conformal(
        {
            name: np.array(sorted(peers.values()), np.float64)
            for name, peers in sorted(highest.items())
            if len(peers) >= LEAST or name in widest
        }
    )
