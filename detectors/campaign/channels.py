"""Evidence channels: what ties the keys of a group, each against its own chance.

Two sorts. A *shared mark* is as good as it is rare among settled customers. A *statistic* of the group (how evenly loaded
its keys are, how close in time their accounts were made, …) is compared with the same statistic of groups of as many keys
drawn from the rest of the fleet; the p-value becomes an e-value (`KAPPA`). No channel is ever needed, and each is capped.

Kinds are independent of each other: what is said, what client says it, who pays, when, what about, what came after what.
Two channels of one kind are one piece of evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.campaign import statistics
from detectors.campaign.cells import Cells
from detectors.campaign.contract import Evidence
from detectors.campaign.fleet import Columns, Ints
from detectors.campaign.trace import Kind

CAP_NATS = 6.0
LEAST_NATS = 1.0
"""Evidence below which a channel is not told about."""

DRAWS = 199
KAPPA = 0.5
"""Of the calibrator κ·p^(κ−1): the choice without a parameter of Vovk and Wang (2021)."""

LEAST_SHARE = 0.3
"""Share of the members that must show what a channel of shared marks says."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A channel of shared marks."""

    name: str
    kind: str
    marks: tuple[Kind, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A channel that is a statistic; higher is more like one operation.

    Attributes:
        of: traces → statistic; NaN where it cannot be told.
    """

    name: str
    kind: str
    of: Callable[[Sequence[statistics.Trace]], float]
    text: str


MARKED = (
    Marked(
        "wording", "wording", (Kind.HEAD, Kind.TAIL, Kind.GRAM), "the same words stand in the requests of {n} of {all} keys"
    ),
    Marked("contract", "wording", (Kind.CONTRACT,), "{n} of {all} keys force answers into the same form"),
    Marked("setup", "client", (Kind.SETUP,), "{n} of {all} keys share client, model and sampling settings with another"),
    Marked("system_prompt", "client", (Kind.SYSTEM,), "{n} of {all} keys share a system prompt with another"),
    Marked("payment", "identity", (Kind.PAYMENT,), "{n} of {all} keys are paid for by the instrument of another"),
    Marked("network", "identity", (Kind.NETWORK,), "{n} of {all} keys call from the network of another"),
    Marked(
        "reasoning", "provenance", (Kind.BLOCK,), "{n} of {all} keys bring back a block of reasoning given to none of them"
    ),
)
MEASURED = (
    Measured("signup", "identity", statistics.signup_burst, "their accounts were made within a short time of each other"),
    Measured("load", "timing", statistics.equal_load, "they are loaded evenly, as by one dispatcher"),
    Measured("synchrony", "timing", statistics.same_hours, "they are active in the same hours"),
    Measured("centre", "contents", statistics.same_contents, "they ask about the same things in the same proportions"),
    Measured(
        "succession", "succession", statistics.succession, "some of them began within minutes of others falling silent"
    ),
    Measured("pivot", "models", statistics.pivot, "they moved to models new to them within a day"),
)
KINDS = {channel.name: channel.kind for channel in (*MARKED, *MEASURED)} | {"partition": "contents", "repeats": "contents"}


def shared(cells: Cells, members: Ints) -> tuple[list[Evidence], dict[int, list[str]]]:
    """Channels of shared marks.

    Returns:
        The evidence, and for every member the names of the channels that tie it, the strongest first.
    """
    inside = np.zeros(int(max(cells.keys.max(initial=0), members.max(initial=0))) + 1, np.bool_)
    inside[members] = True
    cell = np.repeat(np.arange(len(cells)), np.diff(cells.starts))
    here = inside[cells.keys]
    cell, keys = cell[here], cells.keys[here]
    size = np.bincount(cell, minlength=len(cells))
    kinds = (cells.marks >> np.uint64(32)).astype(np.int64)
    evidence: list[Evidence] = []
    ties: dict[int, list[str]] = {int(key): [] for key in members}
    for channel in MARKED:
        wanted = np.isin(kinds, [int(kind) for kind in channel.marks]) & (size >= 2)
        tied = np.unique(keys[wanted[cell]])
        if not len(tied):
            continue
        for key in tied.tolist():
            ties[key].append(channel.name)
        share = len(tied) / len(members)
        usual = float(np.average(cells.honest[wanted], weights=size[wanted]))
        nats = float(np.average(cells.nats[wanted], weights=size[wanted])) if share >= LEAST_SHARE else 0.0
        text = channel.text.format(n=len(tied), all=len(members))
        evidence.append(Evidence(channel.name, channel.kind, min(CAP_NATS, nats), share, usual, text))
    weight = {one.channel: one.nats for one in evidence}
    return evidence, {key: sorted(names, key=lambda name: -weight[name]) for key, names in ties.items()}


def measured(fleet: Columns, members: Ints, seed: int) -> list[Evidence]:
    """Channels of statistics, each against groups drawn from the rest of the fleet."""
    rest = np.setdiff1d(np.arange(len(fleet.traces)), members)
    size = min(len(members), statistics.MOST)
    if len(rest) < 3 * size:
        return []
    dice = np.random.default_rng(seed)
    mine = [fleet.traces[at] for at in members[:size].tolist()]
    drawn = [[fleet.traces[at] for at in dice.choice(rest, size, replace=False).tolist()] for _ in range(DRAWS)]
    found = []
    for channel in MEASURED:
        own = channel.of(mine)
        if np.isnan(own):
            continue
        others = np.array([channel.of(group) for group in drawn])
        others = others[~np.isnan(others)]
        p_value = (1 + int(np.count_nonzero(others >= own))) / (1 + len(others))
        nats = min(CAP_NATS, float(np.log(KAPPA) + (KAPPA - 1.0) * np.log(p_value)))
        if nats > 0.0:
            alike = int(np.count_nonzero(others >= own))
            text = f"{channel.text}, as of {len(others)} groups drawn from other keys {alike or 'none'}"
            found.append(Evidence(channel.name, channel.kind, nats, 1.0, p_value, text))
    return found


def contents(traces: Sequence[statistics.Trace], worded: bool) -> list[Evidence]:
    """Partition of one pool, or its items repeated just so often; told only of keys that share a wording."""
    if not worded:
        return []
    counts: NDArray[np.int64] = statistics.content_counts(traces)
    if len(counts) < statistics.LEAST_CONTENTS:
        return []
    again = counts[counts > 1]
    share = len(again) / len(counts)
    found = []
    nats = statistics.disjoint_nats(len(again), len(counts))
    if nats > 0.0:
        text = f"under one wording, {share:.1%} of their contents are asked by two of them: as if one pool were dealt out"
        found.append(Evidence("partition", "contents", min(CAP_NATS, nats), 1.0, statistics.CROWD_OVERLAP, text))
    if len(again) >= statistics.LEAST_CONTENTS:
        most = np.bincount(again).argmax()
        exact = float(np.mean(again == most))
        if exact >= statistics.EXACT and most >= 3:
            text = f"{exact:.0%} of the contents that several of them ask are asked by exactly {most}"
            found.append(Evidence("repeats", "contents", 3.0, exact, 0.05, text))
    return found
