"""Many p-values at once: which entities to call at a look, and several scorers' opinions about one entity as one.

`called` is Benjamini and Hochberg's procedure (JRSS B 1995): of those that are called at a look, at most a share `q` is
expected to be honest. Conformal p-values of different entities that share their peers depend on each other in the way that
the procedure bears (positively; Bates et al., Annals of Statistics 2023). A look at n peers resolves 1 / (n + 1): with m
entities, fewer than m / (q (n + 1)) of them at that floor are never enough to call one, however odd they are (`least`).

`fused` is the Cauchy combination (Liu and Xie, JASA 2020): whatever depends on what, its level is right for small p-values.
Scorers that agree gain little, and one that is sure suffices. p-values near 1 would cancel the others; they are capped.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CAP = 0.9
"""Highest p-value that is combined: conformal ones are often exactly 1, whose tangent would drown every other."""


def called(p_values: NDArray[np.float64], q: float, most: int | None = None) -> NDArray[np.bool_]:
    """Mask of the entities to call at a look.

    Args:
        p_values: float64 of shape (m,); NaN for an entity that is not judged, which counts for nothing.
        q: expected share of honest entities among those called, in (0, 1).
        most: budget: at most so many, the smallest p-values first, and in a tie the ones that stand first.

    Raises:
        ValueError: q is not in (0, 1).
    """
    if not 0.0 < q < 1.0:
        raise ValueError("q must lie between 0 and 1")
    mask = np.zeros(len(p_values), np.bool_)
    judged = np.flatnonzero(~np.isnan(p_values))
    order = judged[np.argsort(p_values[judged], kind="stable")]
    under = np.flatnonzero(p_values[order] <= q * np.arange(1, len(order) + 1) / max(1, len(order)))
    count = int(under[-1]) + 1 if len(under) else 0
    mask[order[: count if most is None else min(count, most)]] = True
    return mask


def least(entities: int, peers: int, q: float) -> int:
    """How many entities must be at the floor 1 / (peers + 1) before a look can call any of them."""
    return max(1, math.ceil(entities / (q * (peers + 1)) - 1e-9))


def fused(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One p-value of each entity from those of several scorers.

    Args:
        p_values: float64 of shape (scorers, m) in (0, 1]; NaN where a scorer abstains.

    Returns:
        float64 of shape (m,); NaN where every scorer abstains.
    """
    present = ~np.isnan(p_values)
    opinions = np.where(present, np.tan((0.5 - np.minimum(np.where(present, p_values, 0.5), CAP)) * np.pi), 0.0)
    count = present.sum(axis=0)
    mean = opinions.sum(axis=0) / np.maximum(count, 1)
    found: NDArray[np.float64] = np.where(count > 0, 0.5 - np.arctan(mean) / np.pi, np.nan)
    return found
