"""The shape of a campaign's use, told in round shares: when in the day its keys work, and what they have the model do.

Both are of all members together and say nothing of one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.campaign.trace import Trace, unpacked
from detectors.sketch.clockface import HourRing
from detectors.tally import INDEX

CAPABILITIES = {
    "code": "code",
    "maths": "maths",
    "made": "generation",
    "graded": "grading",
    "text": "text",
    "extract": "extraction",
    "reasoning": "reasoning",
    "tools": "tools",
}
"""Counter of `detectors.tally` → what others read. Reasoning and tools go beside the rest: shares need not add up to 1."""

STEP = 0.05
"""Shares are rounded to this: enough to see what a campaign is after."""

_BITS_BYTES = 21


def active_hours(traces: Sequence[Trace]) -> tuple[float, ...]:
    """Share of the members' active hours of the last week that fell on each hour of the day, UTC; empty without any.

    Returns:
        24 shares of two decimals.
    """
    counts = [0] * 24
    for trace in traces:
        if len(trace.hours) != _BITS_BYTES + 4:
            continue
        ring = HourRing()
        ring.bits = int.from_bytes(trace.hours[:_BITS_BYTES], "little")
        ring.newest = int.from_bytes(trace.hours[_BITS_BYTES:], "little")
        counts = [a + b for a, b in zip(counts, ring.by_hour_of_day(), strict=True)]
    whole = sum(counts)
    return tuple(round(count / whole, 2) for count in counts) if whole else ()


def capability_target(traces: Sequence[Trace]) -> dict[str, float]:
    """Capability → share of the members' answers that were about it, in steps of STEP; without those below one step."""
    sums = np.zeros(len(INDEX))
    for trace in traces:
        found = unpacked(trace.sums)
        if len(found) == len(sums):
            sums += found
    whole = sums[INDEX["generated"]]
    if whole <= 0.0:
        return {}
    shares = {
        name: round(min(1.0, float(sums[INDEX[counter]] / whole)) / STEP) * STEP for counter, name in CAPABILITIES.items()
    }
    return {name: round(share, 2) for name, share in shares.items() if share > 0.0}
