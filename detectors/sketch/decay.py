"""Forward decay: counters that forget, without being touched while time passes.

An observation at time t enters a window's sum with weight 2^((t − L) / H), where H is the window's half-life and L its
landmark; the decayed value at `now` is the sum times 2^(−(now − L) / H) (Cormode et al., "Forward decay", ICDE 2009). So
a sum does not depend on the order of its observations (up to the rounding of additions), a late one simply weighs less,
and two sums merge by addition.

A window of length W has H = W·ln 2, which makes the decayed count of a steady stream equal its count in W. Landmarks lie on
a fixed grid of 64 half-lives since 1970, and moving from one to the next multiplies by 2^−64, which is exact in binary
floating point: neither the codec nor a merge rounds.
"""

from __future__ import annotations

from math import log

GRID = 64
"""Half-lives between landmarks: weights stay in [1, 2^64] for events in time, far inside a float."""

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


class Window:
    """The constants of one decayed window; `length_us` is its nominal length."""

    __slots__ = ("grid_us", "half_life_us", "length_us")

    def __init__(self, length_us: int) -> None:
        self.length_us = length_us
        self.half_life_us = round(length_us * log(2))
        self.grid_us = GRID * self.half_life_us

    def landmark(self, at_us: int) -> int:
        """Index of the landmark at or before a time."""
        return at_us // self.grid_us

    def weight(self, at_us: int, landmark: int) -> float:
        """Weight with which an observation at `at_us` enters sums kept at this landmark; below 1 when it is older."""
        return float(2.0 ** ((at_us - landmark * self.grid_us) / self.half_life_us))

    def fade(self, now_us: int, landmark: int) -> float:
        """Factor that turns a sum kept at this landmark into the decayed value at `now_us`."""
        return float(2.0 ** min(1000.0, (landmark * self.grid_us - now_us) / self.half_life_us))

    def shift(self, old: int, new: int) -> float:
        """Exact factor that moves a sum from one landmark to a later one; 0 when nothing can be left of it."""
        steps = GRID * (new - old)
        return float(2.0**-steps) if steps < 1024 else 0.0


HOUR = Window(HOUR_US)
DAY = Window(DAY_US)
WEEK = Window(7 * DAY_US)
