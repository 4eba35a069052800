"""What an entity's exchanges are about, from its pool, and what its account of valuable responses says."""

from __future__ import annotations

from math import sqrt

from detectors.features.parts import MIN_EXCHANGES, Found
from detectors.leak import Accountant
from detectors.pooled.rff import FEATURES
from detectors.pooled.rows import BIN_CENTRES, BINS
from detectors.sketch.pool import SCALES, Pool

LOW_BIN = BINS // 2 - 2
"""Harvest ratios of e⁻² and less;"""

HIGH_BIN = BINS // 2 + 1
"""of e² and more;"""

PEAK_BIN = BINS // 2 + 2
"""of e⁴ and more;"""

TOP_BIN = BINS // 2 + 3
"""of e⁶ and more."""

SHIFT_LEAST = 300.0
"""Exchanges from which the long scale says something that the short one does not."""

_POOLED = (
    "topic_spread", "topic_shift", "harvest_mean", "harvest_spread", "harvest_low_share", "harvest_high_share",
    "harvest_peak_share", "harvest_top_share", "harvest_recent_mean",
)  # fmt: skip


def contents(pool: Pool) -> Found:
    """Of the scale in the middle: long enough for a share, short enough for a change."""
    count = pool.counts[1]
    if count < MIN_EXCHANGES:
        return dict.fromkeys(_POOLED)
    recent, long = pool.means[0], pool.means[2]
    shift: float | None = None
    if pool.counts[2] >= SHIFT_LEAST:
        # Chance moves a mean of n by the spread over n; the short scale is a part of the long one.
        gap = recent[:FEATURES] - long[:FEATURES]
        spread = max(0.0, 1.0 - float(long[:FEATURES] @ long[:FEATURES]))
        shift = float(gap @ gap) - spread * max(0.0, 1.0 / pool.counts[0] - 1.0 / pool.counts[2])
    mean, shares = pool.means[1, :FEATURES], pool.means[1, FEATURES:]
    worth = min(count, float(SCALES[1]))
    within = (float(mean @ mean) * worth - 1.0) / (worth - 1.0)
    centre = float(shares @ BIN_CENTRES)
    return {
        "topic_shift": shift,
        "harvest_spread": sqrt(max(0.0, float(shares @ BIN_CENTRES**2) - centre * centre)),
        "harvest_low_share": float(shares[: LOW_BIN + 1].sum()),
        "harvest_top_share": float(shares[TOP_BIN:].sum()),
        "harvest_recent_mean": float(recent[FEATURES:] @ BIN_CENTRES),
        "topic_spread": 1.0 - within,
        "harvest_mean": centre,
        "harvest_high_share": float(shares[HIGH_BIN:].sum()),
        "harvest_peak_share": float(shares[PEAK_BIN:].sum()),
    }


def leak(account: Accountant) -> Found:
    """What the leak accountant says."""
    judged = account.responses >= MIN_EXCHANGES
    return {
        "leak_evidence": account.highest if judged else None,
        "leak_taken": account.taken,
        "leak_mean": account.taken / account.responses if judged else None,
    }
