"""Is a pool of several keys harvesting, though none of them shows it alone?

A campaign spreads: thirty keys with five harvest exchanges in a hundred each look like thirty customers with a bad day.
Their pools add up, chance and the differences between customers average out, and what they have in common stays.

What is usual for a pool of K keys is not what is usual for a key, so the null is drawn: a key of each of K customers,
weighted like the members of the pool. Customers are drawn from a resample of themselves, so that the null knows how little
a hundred peers say about all customers there might be. The statistics are those of `compare`; the p-value is the smaller
of the two, doubled, and never below 2 / (draws + 1).

Keys of one customer share what the customer does, so an honest customer's thirty keys are no thirty customers: where that
may be so, compare with pools of other customers' keys instead of drawn ones; the mixture test alone errs less often there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.pooled.compare import LEAST_COUNT, Baseline, Floats

DRAWS = 999


def merged(pools: Floats) -> Floats:
    """One pool of many: (keys, scales, width) → (scales, width); exact while they are not full."""
    counts = pools[:, :, 0].astype(np.float64)
    total = counts.sum(axis=0)
    means = np.einsum("ks,ksw->sw", counts, pools[:, :, 1:].astype(np.float64)) / np.maximum(total, 1.0)[:, None]
    return np.column_stack([total, means]).astype(np.float32)


def pool_p_value(
    members: Floats, peers: Floats, voters: Sequence[str], baseline: Baseline, place: int, seed: int, draws: int = DRAWS
) -> float:
    """p-value of "these keys are honest customers like the others", by the clearer of both tests.

    Args:
        members: float32 of shape (keys, scales, 1 + width): the pools that belong together.
        peers: float32 of shape (n, scales, 1 + width): pools of honest keys to compare with.
        voters: the customer behind each peer.
        baseline: fitted on peers.
        place: peer group, of `baseline.places`.
        seed: of the draws.
        draws: how often peers are drawn.

    Returns:
        A number in [2 / (draws + 1), 1]; 1.0 when the pool or the peers hold too little.
    """
    return min(1.0, 2.0 * min(pool_p_values(members, peers, voters, baseline, place, seed, draws)))


def pool_p_values(
    members: Floats, peers: Floats, voters: Sequence[str], baseline: Baseline, place: int, seed: int, draws: int = DRAWS
) -> tuple[float, float]:
    """The same by the means and by the mixture test, each in [1 / (draws + 1), 1].

    What one customer's keys ask about nearly always lies elsewhere than the mean of others, and says nothing about harvest.
    """
    usable = np.flatnonzero(peers[:, -1, 0] >= LEAST_COUNT)
    members = members[members[:, -1, 0] > 0]
    whole = merged(members)[None]
    if not len(usable) or whole[0, -1, 0] < LEAST_COUNT:
        return 1.0, 1.0
    rng = np.random.default_rng(seed)
    rows_of: dict[str, list[int]] = {}
    for row in usable.tolist():
        rows_of.setdefault(voters[row], []).append(row)
    customers = [np.array(rows) for _, rows in sorted(rows_of.items())]
    drawn = np.stack([_drawn(members, peers, customers, rng) for _ in range(draws)])
    places = np.full(draws, place, np.intp)
    means, mixture = (
        (1 + int(np.count_nonzero(raw(drawn[:, -1], places) >= raw(whole[:, -1], places[:1])[0]))) / (1 + draws)
        for raw in (baseline.means_raw, baseline.mixture_raw)
    )
    return means, mixture


def _drawn(members: Floats, peers: Floats, customers: Sequence[NDArray[np.intp]], rng: np.random.Generator) -> Floats:
    """A pool of as many peers as there are members, each with a member's weight."""
    known = rng.integers(len(customers), size=len(customers))
    chosen = [int(rng.choice(customers[at])) for at in rng.choice(known, len(members))]
    pools = peers[chosen]
    pools[:, :, 0] = members[:, :, 0]
    return merged(pools)
