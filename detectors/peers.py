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


Kinds = tuple[list[tuple[str, ...]], NDArray[np.intp]]


class _Newest:
    """The newest answer: all scorers ask about the groups of one matrix, one after the other, and it takes each as long as
    the scoring itself. What was asked about is held, so that its identity is its own."""

    pair: tuple[Sequence[tuple[str, ...]], Kinds] | None = None


def kinds(rows: Sequence[tuple[str, ...]]) -> Kinds:
    """The different tuples of groups among rows, and which of them each row has; not to be written to."""
    newest = _Newest.pair
    if newest is not None and newest[0] is rows:
        return newest[1]
    known: dict[tuple[str, ...], int] = {}
    codes = np.fromiter((known.setdefault(names, len(known)) for names in rows), np.intp, len(rows))
    found = list(known), codes
    if isinstance(rows, tuple):  # a list may be another one the next time
        _Newest.pair = rows, found
    return found
