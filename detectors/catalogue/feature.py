"""One column of the catalogue, and the forms that many of them share."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

Side = Literal["high", "low", "both"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column.

    Attributes:
        name: stable identifier.
        unit: of the value.
        low: smallest possible value.
        high: largest possible value; inf when unbounded.
        window: what time it looks back on.
        suspicious: side on which harvesting is expected.
        scale: "log" when values span orders of magnitude and should be compared by ratio, else "linear".
        meaning: what it measures.
        absent: when it is undefined.
        raises: honest customers on its suspicious side.
        fakes: what moves it back, and at what cost.
        source: where it comes from.
        scope: what it is computed for.
    """

    name: str
    unit: str
    low: float
    high: float
    window: str
    suspicious: Side
    scale: Literal["linear", "log"]
    meaning: str
    absent: str
    raises: str
    fakes: str
    source: str
    scope: str = "key"


FEW = "fewer than five answered exchanges that write text in the window"
NEVER = "never"
WORDLESS = "fewer than five exchanges with text"
UNOUTLINED = "fewer than five different requests with text"
UNJUDGED = (
    "it brings no reasoning back, it is the key of an organisation (which is judged), or it cannot be known yet what it "
    "was given: see `detectors.profile.provenance`"
)


def share(name: str, side: Side, meaning: str, raises: str, fakes: str, source: str, absent: str = FEW) -> Feature:
    """A share of the week."""
    return Feature(name, "share", 0.0, 1.0, "7 d", side, "linear", meaning, absent, raises, fakes, source)


def floor(name: str, what: str, raises: str) -> Feature:
    """The lower end of the interval of such a share."""
    return share(
        f"{name}_floor", "high", f"lower end of the 95 % interval of the share of exchanges that {what}", raises,
        "cover traffic: its price", "Wilson 1927; disclosed campaigns",
    )  # fmt: skip


def count(name: str, meaning: str, raises: str, fakes: str, source: str) -> Feature:
    """A number of exchanges of the week."""
    return Feature(name, "exchanges", 0.0, inf, "7 d", "high", "log", meaning, NEVER, raises, fakes, source)
