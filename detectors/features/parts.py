"""Shares of decayed counts, and when one is too few to be called so."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

Counts = Mapping[str, float]
"""Decayed counters by name, see `tally.COUNTERS`."""

Found = dict[str, float | None]
"""Features by name; None where undefined."""

MIN_EXCHANGES = 5.0
"""Below this a share is an anecdote."""

SURE = 1.645
"""Standard errors below which the true share lies with a chance of one in twenty."""


def part(part: float, whole: float, least: float = MIN_EXCHANGES) -> float | None:
    """A share; None where the whole is below `least`."""
    return part / whole if whole >= least else None


def floor(part: float, whole: float) -> float | None:
    """Lower end of the one-sided 95 % interval of a share (Wilson 1927), so that a share of few does not mislead."""
    if whole < MIN_EXCHANGES:
        return None
    share = min(1.0, max(0.0, part / whole))
    square = SURE * SURE / whole
    half = SURE * sqrt(max(0.0, share * (1.0 - share) / whole + square / (4.0 * whole)))
    return max(0.0, (share + square / 2.0 - half) / (1.0 + square))


def deviation(total: float, squares: float, count: float) -> float:
    """Standard deviation from sums."""
    return sqrt(max(0.0, squares / count - (total / count) ** 2))
