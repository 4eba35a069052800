"""Conformal scores that hold in small peer groups, too: the most careful of what a group and the wider ones say.

A level that holds in a pool need not hold in its parts: a kind of customer that is one in thirty may be all of what lies
beyond the pool's 99th percentile. A small group cannot be left to itself either: among 40 peers nothing is rarer than 1/41.
So it borrows the wider group's tail: up to its own highest peer a group counts for itself; beyond, the p-value goes on from
1 / (n + 1) and falls as the wider group's does from there. Of that and the wider group's own p-value the larger one counts.

What is promised: where a group's tail beyond its highest peer falls as the wider group's, the p-value holds in the group;
whatever the tail, an honest newcomer of the group is beyond its highest peer with probability 1 / (n + 1). It costs power
where a group is small, or where its highest peer is a harvester nobody knows of: then nothing in it is rarer than half of
1 / (n + 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.calibrate import ENOUGH, Conformal, ranked
from detectors.peers import kinds


def scores(conformal: Conformal, statistics: NDArray[np.float64], groups: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
    """1 − the careful p-value of every row; the same bits in any batch.

    Args:
        conformal: highest statistics of the peers by group.
        statistics: float64 of shape (n,), higher is more suspicious.
        groups: of each row, most specific first.

    Returns:
        float64 of shape (n,) in [0, 1]; NaN without peers.
    """
    out = np.full(len(statistics), np.nan)
    known, codes = kinds(groups)
    codes = codes.astype(np.int32)
    order = np.argsort(codes, kind="stable")
    borders = np.searchsorted(codes[order], np.arange(len(known) + 1))
    for number, names in enumerate(known):
        chain = [conformal.peers[name] for name in names if name in conformal.peers]
        rows = order[borders[number] : borders[number + 1]]
        if chain:
            out[rows] = 1.0 - _p_values(chain, statistics[rows])
    return out


def _p_values(chain: Sequence[NDArray[np.float64]], statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of peers from the most specific group to the widest; the first with ENOUGH of them needs no wider one."""
    peers, wider = chain[0], chain[1:]
    own = 1.0 - ranked(peers, statistics)
    if len(peers) >= ENOUGH or not wider:
        return own
    top = float(peers[-1])
    beside = _p_values(wider, np.append(statistics, top))
    beyond = beside[:-1] / beside[-1] / (1 + len(peers))
    return np.maximum(np.where(statistics > top, beyond, own), beside[:-1])
