"""Attacker cost multiplier: how much dearer an answer must become until less than half of an operation's keys are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log

HALF = 0.5


@dataclass(frozen=True, slots=True)
class Multiplier:
    """A cost at which half is found, as a multiple of that at the beginning of an axis.

    Attributes:
        middle: of the mean over seeds; 1.0 where less than half is found at the beginning, inf where half or more is at
            the highest cost that was tried.
        low, high: smallest and largest of the seeds'.
        tried: the highest cost that was tried.
    """

    middle: float
    low: float
    high: float
    tried: float

    def __str__(self) -> str:
        def one(value: float) -> str:
            return f"> {self.tried:.1f}" if value == inf else "at once" if value <= 1.0 else f"{value:.1f}"

        if self.low == self.high:
            return one(self.middle)
        return f"{one(self.middle)} ({one(self.low)} … {one(self.high)})"


def crossing(costs: Sequence[float], found: Sequence[float]) -> float:
    """The cost at which the share that is found falls below a half.

    Between two points it is interpolated along the logarithm of the cost. Where it falls below a half more than once the
    first time counts: an attacker pays no more than needed. inf where it never does; the lowest cost where it is below a
    half from the beginning.

    Args:
        costs: ascending, positive.
        found: share at each.

    Raises:
        ValueError: there are no points, or not as many shares as costs.
    """
    if not costs or len(costs) != len(found):
        raise ValueError("as many shares as costs are needed, and at least one")
    at = next((at for at, share in enumerate(found) if share < HALF), None)
    if at is None:
        return inf
    if at == 0:
        return costs[0]
    over, under = found[at - 1], found[at]
    part = (over - HALF) / (over - under)
    return exp(log(costs[at - 1]) + part * (log(costs[at]) - log(costs[at - 1])))


def multiplier(costs: Sequence[Sequence[float]], found: Sequence[Sequence[float]]) -> Multiplier:
    """Of several seeds.

    Args:
        costs: for each seed, multiples of the cost at the beginning of the axis, ascending from 1.0.
        found: the shares at them.
    """
    each = [crossing(*one) for one in zip(costs, found, strict=True)]
    points = range(len(costs[0]))
    mean_cost = [sum(one[at] for one in costs) / len(costs) for at in points]
    mean_found = [sum(one[at] for one in found) / len(found) for at in points]
    return Multiplier(crossing(mean_cost, mean_found), min(each), max(each), max(mean_cost))
