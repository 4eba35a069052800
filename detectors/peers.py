"""Peer groups: entities that should look alike — plan × age band × workload, with wider groups to fall back on.

The workload class is read off the shape of the traffic (routes, tools, turns, lengths, templates), never off the intents
that scorers judge: a harvester must be compared with honest customers of the same shape, not with other harvesters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

AGE_BANDS_D = ((7.0, "new"), (30.0, "young"))
"""Days below which an account is called so; campaigns concentrate on accounts of days."""

WORKLOADS = ("idle", "embed", "complete", "agent", "extract", "batch", "chat", "ask")


def age_band(age_d: float | None) -> str:
    """new (under a week), young (under a month), settled, or unknown."""
    if age_d is None:
        return "unknown"
    return next((name for limit, name in AGE_BANDS_D if age_d < limit), "settled")


def workload(shares: Mapping[str, float]) -> str:
    """Class of a traffic's shape.

    Args:
        shares: answered (count), embeddings, completions (shares of answered), tools, single_turn, short, templated
            (shares of generated), out_in (output over input tokens).
    """
    if shares["answered"] < 1.0:
        return "idle"
    if shares["embeddings"] > 0.5:
        return "embed"
    if shares["completions"] > 0.5:
        return "complete"
    if shares["tools"] > 0.5:
        return "agent"
    if shares["short"] > 0.5 and shares["out_in"] < 0.25:
        return "extract"  # long in, a word out: classifiers, routers, graders
    if shares["single_turn"] > 0.8:
        return "batch" if shares["templated"] > 0.5 else "ask"
    return "chat"


def groups(plan: str, age_d: float | None, kind: str, entity_kind: str = "key") -> tuple[str, ...]:
    """Peer groups, most specific first: plan/age/workload, age/workload, workload, all.

    What is no key has groups of its own kind: the sums of an organisation are no key's, and keys are no peers for it.
    """
    age = age_band(age_d)
    names = (f"{plan or 'none'}/{age}/{kind}", f"*/{age}/{kind}", f"*/*/{kind}", "all")
    return names if entity_kind == "key" else tuple(f"{entity_kind}:{name}" for name in names)


def kinds(rows: Sequence[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], NDArray[np.intp]]:
    """The different tuples of groups among rows, and which of them each row has."""
    known: dict[tuple[str, ...], int] = {}
    codes = np.fromiter((known.setdefault(names, len(known)) for names in rows), np.intp, len(rows))
    return list(known), codes
