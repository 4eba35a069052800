"""When the linker looks: passes at ends of whole minutes of event time, so that live and a replay look at the same moments.

A pass at B knows every trace of before B that was cast until its partition came to B + SETTLE_US. A pass is left out while
little is new: less than a share FRESH of the keys since the last one, and the last one not PAUSE_US ago. Keys that are
clearly like others do not count as new.
"""

from __future__ import annotations

PASS_US = 60_000_000
SETTLE_US = 120_000_000
"""From a pass's time until it is made: an exchange that began before it may still be answered and applied."""

PAUSE_US = 600_000_000
FRESH = 0.01


def newest(fleet_us: int) -> int:
    """The latest moment at which a pass may be made once exchanges of `fleet_us` have come; a whole number of PASS_US."""
    return max(0, fleet_us - SETTLE_US) // PASS_US * PASS_US


def worthwhile(at_us: int, last_us: int, fresh: int, known: int) -> bool:
    """Whether a pass at a moment is made.

    Args:
        at_us: the moment.
        last_us: of the last pass; 0 before the first.
        fresh: keys with a trace of between the two, of those that may belong to something (`Linker.fresh`).
        known: keys with a trace.
    """
    if not fresh:
        return False
    return at_us - last_us >= PAUSE_US or fresh >= FRESH * known
