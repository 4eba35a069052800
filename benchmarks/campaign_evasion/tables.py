"""The tables of the study, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log

from benchmarks.campaign_evasion.linkage import Outcome
from detectors.campaign.channels import KINDS

COUNTED = 2.5
"""Nats from which a kind of evidence counts for CONFIRMED (`judging.KIND_NATS`)."""


def rows(found: Mapping[str, Sequence[Outcome]], texts: Mapping[str, str]) -> Iterator[str]:
    """Settings, one a line.

    Args:
        found: name → outcome of every seed; the first is the naive operation, whose costs are 1.
        texts: name → what the operator does.
    """
    names = ("Accounts", "Requests", "Linked", "Alone", "Either", "Before alarm", "… alone", "Taken", "… alone")
    yield f"| What the operator does | {' | '.join(names)} | Channels (nats) |"
    yield f"| --- |{' ---: |' * len(names)} --- |"
    naive = next(iter(found.values()))
    for name, each in found.items():
        accounts = _ratio([one.operation.accounts for one in each], [one.operation.accounts for one in naive])
        requests = _ratio([one.operation.per_answer for one in each], [one.operation.per_answer for one in naive])
        cells = [
            texts[name],
            f"×{accounts:.1f}",
            f"×{requests:.1f}",
            *(spread([getattr(one, field) for one in each]) for field in ("linked", "alone", "found")),
            *(percent([getattr(one, field) for one in each]) for field in ("before", "before_alone", "kept", "kept_alone")),
            channels(each),
        ]
        yield "| " + " | ".join(cells) + " |"


def ablated(found: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    """Changes of the traces, one a line."""
    yield "| What is left of the traces | Linked | Either | Before alarm | Kinds that count | Channels (nats) |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for name, each in found.items():
        kinds = [kinds_of(one) for one in each]
        cells = [
            name,
            spread([one.linked for one in each]),
            spread([one.found for one in each]),
            percent([one.before for one in each]),
            f"{sum(kinds) / len(kinds):.1f}",
            channels(each),
        ]
        yield "| " + " | ".join(cells) + " |"


def kinds_of(outcome: Outcome) -> int:
    """Independent kinds of evidence that count for CONFIRMED."""
    return len({KINDS[name] for name, nats in outcome.evidence.items() if nats >= COUNTED})


def channels(each: Sequence[Outcome]) -> str:
    """Channels by their mean weight over the seeds, the heaviest first."""
    total: dict[str, float] = {}
    for one in each:
        for name, nats in one.evidence.items():
            total[name] = total.get(name, 0.0) + nats / len(each)
    told = sorted(((nats, name) for name, nats in total.items() if nats >= 0.5), reverse=True)
    return ", ".join(f"{name} {nats:.1f}" for nats, name in told) or "–"


def spread(values: Sequence[float]) -> str:
    """Mean of shares in per cent, with the least and the largest where they differ."""
    mean, least, most = sum(values) / len(values), min(values), max(values)
    return f"{mean:.0%}" if most - least < 0.005 else f"{mean:.0%} ({100 * least:.0f}–{100 * most:.0f})"


def percent(values: Sequence[float]) -> str:
    """Mean of shares in per cent, with a decimal."""
    return f"{100 * sum(values) / len(values):.1f} %"


def _ratio(values: Sequence[float], base: Sequence[float]) -> float:
    return exp(sum(log(value / other) for value, other in zip(values, base, strict=True)) / len(values))
