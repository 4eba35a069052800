"""Detection power of an embedding: how many attacked windows a difference of means tells, at one rate of false alarms.

The statistic is the unbiased squared discrepancy of a window and the whole reference, with the kernel of
`benchmarks.published.mmd`. Half of a pair's honest texts are the reference; honest windows, and the honest share of
attacked ones, are drawn from the other half. The threshold is what `RATE` of those honest windows exceed, so that every
embedding has the same realised false positives and no null stands between them. Windows of one pair share texts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.published.mmd import kernel, median_distance, membership, within

SHARES = (0.1, 0.25)
SIZES = (100, 400)
RATE = 0.005

Powers = dict[tuple[int, float], float]
"""By window size and attacker's share."""


def powers(honest: NDArray[np.float32], attack: NDArray[np.float32], windows: int, seed: int) -> Powers:
    """Share of attacked windows above the threshold.

    Args:
        honest: unit vectors of shape (n, width), n at least 2.2 windows of the largest size.
        attack: of shape (m, width).
        windows: honest ones of each size; attacked ones are half as many for each share.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(honest))
    reference, test = honest[order[: len(order) // 2]], honest[order[len(order) // 2 :]]
    median = median_distance(reference, np.random.default_rng(0))
    pool = np.concatenate([test, attack])
    among = kernel(pool, pool, median)
    to_reference = kernel(pool, reference, median).mean(axis=1, dtype=np.float64)

    def scores(places: NDArray[np.intp]) -> NDArray[np.float64]:
        rows = membership(len(pool), places)
        found: NDArray[np.float64] = within(among, rows) - 2.0 * to_reference[places].mean(axis=1)
        return found

    found: Powers = {}
    for size in SIZES:
        clean = scores(np.stack([rng.choice(len(test), size, replace=False) for _ in range(windows)]))
        threshold = float(np.quantile(clean, 1.0 - RATE, method="higher"))
        for share in SHARES:
            bad = round(share * size)
            places = [
                np.concatenate(
                    [
                        rng.choice(len(test), size - bad, replace=False),
                        len(test) + rng.choice(len(attack), bad, replace=False),
                    ]
                )
                for _ in range(windows // 2)
            ]
            found[size, share] = float((scores(np.stack(places)) > threshold).mean())
    return found
