"""Statistics of a group of keys, from their traces; the higher, the more they look like one operation."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from detectors.campaign.fleet import pools
from detectors.campaign.trace import Trace
from detectors.pooled.rff import FEATURES
from detectors.sketch.clockface import HOURS
from detectors.sketch.decay import HOUR_US

__all__ = ["Trace"]

MOST = 48
"""Members that a statistic reads: more would not make it clearer."""

UNKNOWN = float("nan")
LEAST = 3

LEAST_POOLED = 10.0
"""Exchanges behind a pool that says what a key is about."""

LEAST_CONTENTS = 24
CROWD_OVERLAP = 0.05
"""Share of contents that at least two of a crowd of honest users of one wording ask: of an app's users or a course more."""
EXACT = 0.6

HANDOVER_US = HOUR_US // 2
LEAST_PIVOT = 0.2
_WEEK = (1 << HOURS) - 1


def signup_burst(traces: Sequence[Trace]) -> float:
    """Minus the logarithm of the time within which the closest half of the accounts were made."""
    made = np.sort(np.array([trace.created_us for trace in traces if trace.created_us], np.float64))
    half = (len(made) + 1) // 2
    if len(made) < LEAST:
        return UNKNOWN
    return -log(float((made[half - 1 :] - made[: len(made) - half + 1]).min()) / HOUR_US + 0.1)


def equal_load(traces: Sequence[Trace]) -> float:
    """Minus the spread (standard deviation of logarithms) of exchanges per day since the first."""
    rates = np.array([_per_day(trace) for trace in traces if trace.exchanges >= LEAST])
    return -float(np.std(np.log(rates))) if len(rates) >= LEAST else UNKNOWN


def same_hours(traces: Sequence[Trace]) -> float:
    """Mean Jaccard similarity of neighbours' active hours, of the last week."""
    rings = [
        (int.from_bytes(trace.hours[:21], "little"), int.from_bytes(trace.hours[21:], "little"))
        for trace in traces
        if trace.exchanges >= LEAST
    ]
    if len(rings) < LEAST:
        return UNKNOWN
    now = max(newest for _, newest in rings)
    sets = [bits << (now - newest) & _WEEK if now - newest < HOURS else 0 for bits, newest in rings]
    pairs = zip(sets, [*sets[1:], sets[0]], strict=True)
    return float(np.mean([(a & b).bit_count() / max(1, (a | b).bit_count()) for a, b in pairs]))


def same_contents(traces: Sequence[Trace]) -> float:
    """Minus the mean squared distance of the pools from their common mean, without what chance makes of it."""
    held = [trace for trace in traces if trace.pooled >= LEAST_POOLED]
    if len(held) < LEAST:
        return UNKNOWN
    counts, means = pools(held)
    waves = means[:, :FEATURES].astype(np.float64)
    chance = (1.0 - (waves**2).sum(axis=1)) / (counts - 1.0)
    gaps = ((waves - waves.mean(axis=0)) ** 2).sum(axis=1)
    return -float(np.mean(gaps - chance))


def succession(traces: Sequence[Trace]) -> float:
    """Keys on either side of a handover: as many fell silent for good before it as began within HANDOVER_US after it.

    0 where no two of them did: groups without a handover are what one with it is compared with.
    """
    now_us = max(trace.at_us for trace in traces)
    silent = sorted(trace.at_us for trace in traces if now_us - trace.at_us > 4 * HANDOVER_US)
    begun = np.array(sorted(trace.first_us for trace in traces))
    best = 0
    for number, at_us in enumerate(silent, 1):
        # A key of one exchange fell silent as it began, and does not follow itself.
        new = int(np.searchsorted(begun, at_us + HANDOVER_US, "right") - np.searchsorted(begun, at_us, "right"))
        near = sum(1 for other in silent[:number] if at_us - other <= HANDOVER_US)
        best = max(best, min(near, new))
    return float(best) if best >= 2 else 0.0


def pivot(traces: Sequence[Trace]) -> float:
    """Mean share of the last day's exchanges that went to models new to the key; 0 below LEAST_PIVOT."""
    mean = float(np.mean([trace.pivot for trace in traces]))
    return mean if mean >= LEAST_PIVOT else 0.0


def content_counts(traces: Sequence[Trace]) -> NDArray[np.int64]:
    """For every sampled content, how many of the keys asked it."""
    raw = np.frombuffer(b"".join(trace.contents for trace in traces), np.uint8).reshape(-1, 3).astype(np.int64)
    values = raw[:, 0] | raw[:, 1] << 8 | raw[:, 2] << 16
    found: NDArray[np.int64] = np.unique(values, return_counts=True)[1].astype(np.int64)
    return found


def disjoint_nats(again: int, contents: int) -> float:
    """Logarithm of how unlikely so little overlap is in an honest crowd: Chernoff's bound of a binomial tail."""
    share = again / contents
    if share >= CROWD_OVERLAP:
        return 0.0
    kept = 1.0 - share
    gain = kept * log(kept / (1.0 - CROWD_OVERLAP))
    if share > 0.0:
        gain += share * log(share / CROWD_OVERLAP)
    return contents * gain


def _per_day(trace: Trace) -> float:
    return trace.exchanges / max(0.05, (trace.at_us - trace.first_us) / (24 * HOUR_US))
