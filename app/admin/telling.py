"""The one reason of a verdict that says most to a person who sees no other."""

from __future__ import annotations

from detectors.contract import Reason, Verdict

TELLING = 90.0
"""Share of comparable keys, 0–100, that must be on the other side of a value for it to stand out by itself."""

ACCOUNT = frozenset({"account_age_d"})
"""Features that describe the account: they add weight to what it does, and say little alone."""


def telling(verdict: Verdict) -> Reason | None:
    """What stands out on its suspicious side first, and of that what the key does before what its account is.

    Among equals the order of the verdict holds, which is that of the weights. A reason without peers is neither: such
    as stand out come before it, and such as do not after it. None where the verdict has no reason.
    """
    return min(verdict.reasons, key=_rank, default=None)


def _rank(reason: Reason) -> tuple[int, bool]:
    if reason.percentile is None:
        standing = 1
    else:
        beyond = reason.percentile if reason.direction == "high" else 100.0 - reason.percentile
        standing = 0 if beyond >= TELLING else 2
    return (standing, reason.feature in ACCOUNT)
