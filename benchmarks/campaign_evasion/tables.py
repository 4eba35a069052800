"""The tables of the study, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log

from benchmarks.campaign_evasion.linkage import Outcome
from detectors.campaign.channels import KINDS
from detectors.campaign.judging import KIND_NATS


def rows(found: Mapping[str, Sequence[Outcome]], texts: Mapping[str, str]) -> Iterator[str]:
    """Settings, one a line.

    Args:
        found: name → outcome of every seed; the first is the naive operation, whose costs are 1.
        texts: name → what the operator does.
    """
    names = ("Accounts", "Requests", "Linked", "Alone", "Either", "Before alarm", "Taken")
    yield f"| What the operator does | {' | '.join(names)} | Channels that count |"
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
            *(f"{_mean(each, field)} ({_mean(each, f'{field}_alone')})" for field in ("before", "kept")),
            channels(each),
        ]
        yield "| " + " | ".join(cells) + " |"


def ablated(found: Mapping[str, Sequence[Outcome]]) -> Iterator[str]:
    """Changes of the traces, one a line."""
    yield "| What is left of the traces | Linked | Either | Before alarm | Kinds that count | Channels that count |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for name, each in found.items():
        kinds = [kinds_of(one) for one in each]
        cells = [
            name,
            spread([one.linked for one in each]),
            spread([one.found for one in each]),
            _mean(each, "before"),
            f"{sum(kinds) / len(kinds):.1f}",
            channels(each),
        ]
        yield "| " + " | ".join(cells) + " |"


def kinds_of(outcome: Outcome) -> int:
    """Independent kinds of evidence that count for CONFIRMED."""
    return len({KINDS[name] for name, nats in outcome.evidence.items() if nats >= KIND_NATS})


def channels(each: Sequence[Outcome]) -> str:
    """Channels that count as evidence in half of the seeds or more, in the order of their mean weight."""
    weights: dict[str, list[float]] = {}
    for one in each:
        for name, nats in one.evidence.items():
            if nats >= KIND_NATS:
                weights.setdefault(name, []).append(nats)
    told = sorted((-sum(found), name) for name, found in weights.items() if 2 * len(found) >= len(each))
    return ", ".join(name for _, name in told) or "–"


def spread(values: Sequence[float]) -> str:
    """Mean of shares in per cent, with the least and the largest where they differ."""
    mean, least, most = sum(values) / len(values), min(values), max(values)
    return f"{100 * mean:.0f}" if most - least < 0.005 else f"{100 * mean:.0f} ({100 * least:.0f}–{100 * most:.0f})"


def _mean(each: Sequence[Outcome], field: str) -> str:
    return f"{sum(getattr(one, field) for one in each) / len(each):.1%}".replace("%", " %")


def _ratio(values: Sequence[float], base: Sequence[float]) -> float:
    return exp(sum(log(value / other) for value, other in zip(values, base, strict=True)) / len(values))
