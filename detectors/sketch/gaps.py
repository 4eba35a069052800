"""Inter-arrival gaps as five sums: count, Σ gap, Σ gap², Σ ln gap, Σ (ln gap)².

The sums are kept in decayed counters; this file says what enters them and how they are read. A merged profile holds the
gaps within its members, not the gaps of their interleaving: that cannot be had from sums, and is the more telling of the
two.
"""

from __future__ import annotations

from math import exp, log, sqrt

FLOOR_US = 1_000
"""Gaps below a millisecond count as one: logarithms of simultaneous arrivals would otherwise rule the moments."""


def increments(gap_us: int) -> tuple[float, float, float, float, float]:
    """What one gap adds to the sums. Seconds."""
    gap = max(gap_us, FLOOR_US) / 1e6
    ln = log(gap)
    return 1.0, gap, gap * gap, ln, ln * ln


def variation(count: float, total: float, squares: float) -> float:
    """Coefficient of variation (standard deviation ÷ mean) of the gaps; 1 for a Poisson stream, 0 for a metronome."""
    mean = total / count
    return sqrt(max(0.0, squares / count - mean * mean)) / mean if mean > 0 else 0.0


def regularity(count: float, log_total: float, log_squares: float) -> float:
    """exp(−standard deviation of ln gap): 1 for a metronome, 0.28 for a Poisson stream, near 0 for bursts with pauses."""
    mean = log_total / count
    return exp(-sqrt(max(0.0, log_squares / count - mean * mean)))
