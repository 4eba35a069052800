"""Probabilities as people read them, from logarithms; never told smaller than they are."""

from __future__ import annotations

import math


def power(log10_p: float) -> str:
    """A p-value as people write it; never smaller than it is."""
    if log10_p > -4:
        return f"{math.ceil(10 ** (log10_p + 4)) / 1e4:.4f}".rstrip("0").rstrip(".")
    return f"10^-{math.floor(-log10_p * 10) / 10:.1f}"


def odds(log10_p: float) -> str:
    """A probability in words; never smaller than it is."""
    digits = -log10_p + 1e-9
    return f"1 in {math.floor(10**digits):,}" if digits < 9 else f"1 in 10^{math.floor(digits)}"
