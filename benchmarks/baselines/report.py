"""Tables in Markdown, figures as JSON, and the picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.offline import drawing  # noqa: F401 - before matplotlib, whose first import writes into the user's home

# isort: split
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.baselines.figures import FALSE_RATES, GOALS, Rates, order
from benchmarks.windows.protocol import interval

OURS = "Stillwatch"
_COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#8C8C8C", "#56B4E9", "#CC79A7", "#B8A800", "#009E73", "#4D4D4D")


def tables(found: Mapping[str, Rates], aside: Collection[str] = ()) -> Iterator[str]:
    """Lines: rates at each false-positive rate with the best of the others, where that is not us, then what methods flag.

    Args:
        found: by method, ours among them.
        aside: methods that are told and not compared with.
    """
    ours = found[OURS]
    below: list[str] = []
    level: list[str] = []
    for rate in FALSE_RATES:
        yield f"\n### Attack keys found at {rate:.1%} false positives\n"
        yield "| Keys | n | " + " | ".join(found) + " | Best of the others | Ours over it |"
        yield "| --- | ---: |" + " ---: |" * (len(found) + 1) + " ---: |"
        for group in order([name for name, of in ours.found if of == rate]):
            rates = {name: one.found[group, rate].rate for name, one in found.items()}
            others = {name: value for name, value in rates.items() if name != OURS and name not in aside}
            best = max(others, key=lambda name: others[name])
            cells = " | ".join(f"{value:.3f}" for value in rates.values())
            margin = rates[OURS] - others[best]
            yield f"| {group} | {ours.found[group, rate].keys} | {cells} | {best} | {margin:+.3f} |"
            if margin <= 0.0:
                told = f"{group} at {rate:.1%} ({rates[OURS]:.3f}; {best} {others[best]:.3f})"
                (below if margin < 0.0 else level).append(told)
    yield "\nBelow the best of the others: " + ("; ".join(below) or "no row") + "."
    yield "\nLevel with the best of the others: " + ("; ".join(level) or "no row") + "."
    for group, goal in GOALS.items():
        count = ours.found[group, FALSE_RATES[0]]
        low, high = interval(count.hits, count.keys) if count.keys else (0.0, 1.0)
        told = "met" if count.keys and count.rate >= goal else "missed" if count.keys else "not measured"
        yield f"\nGoal, {group}: {count.hits} / {count.keys} (95 % interval {low:.2f} to {high:.2f}), ≥ {goal:.2f}: {told}."
    yield "\n### At each method's own threshold\n"
    yield "| | Honest keys flagged | Authorised keys flagged | Answered before a busy attack key was flagged, median |"
    yield "| --- | ---: | ---: | ---: |"
    for name, one in found.items():
        false, known = one.false, one.authorised
        yield f"| {name} | {_share(false.hits, false.keys)} | {known.hits} / {known.keys} | {_median(one.waits)} |"
    yield "\n### Honest keys flagged, by kind of customer\n"
    yield "| | " + " | ".join(found) + " |"
    yield "| --- |" + " ---: |" * len(found)
    for stratum in sorted({name for one in found.values() for name in one.flagged}):
        cells = " | ".join(f"{one.flagged[stratum].hits} / {one.flagged[stratum].keys}" for one in found.values())
        yield f"| {stratum} | {cells} |"


def scorer_table(reports: Mapping[str, Sequence[dict[str, Any]]]) -> Iterator[str]:
    """Lines: what the benchmark's own scorer says of each method's verdicts, a cell for every run."""
    yield "\n### By the benchmark's scorer, a figure for each run\n"
    yield "| | AUROC | Average precision | Campaigns found | Distinct answers before a campaign's first alarm, median |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, runs in reports.items():
        figures = (
            [f"{run['ranking']['auroc']['value']:.3f}" for run in runs],
            [f"{run['ranking']['average_precision']['value']:.3f}" for run in runs],
            [f"{run['campaigns']['recall']['hits']} / {run['campaigns']['recall']['n']}" for run in runs],
            [_number(run["leak"]["before_alarm_distinct_count"]["median"]) for run in runs],
        )
        yield f"| {name} | " + " | ".join("; ".join(cells) for cells in figures) + " |"


def as_json(found: Mapping[str, Rates]) -> dict[str, Any]:
    """Every figure of the tables, as counts."""
    return {
        name: {
            "found": [
                {"group": group, "false_rate": rate, "hits": one.hits, "keys": one.keys}
                for (group, rate), one in rates.found.items()
            ],
            "flagged": {stratum: {"hits": one.hits, "keys": one.keys} for stratum, one in sorted(rates.flagged.items())},
            "authorised": {"hits": rates.authorised.hits, "keys": rates.authorised.keys},
            "waits": [None if math.isinf(wait) else wait for wait in rates.waits],
        }
        for name, rates in found.items()
    }


def picture(found: Mapping[str, Rates], path: Path) -> None:
    """Attack keys found by family, ours beside the others; honest keys flagged by us, by kind of customer."""
    rate = FALSE_RATES[0]
    families = [group for group in order([name for name, of in found[OURS].found if of == rate]) if group[:6] == "family"]
    figure = Figure(figsize=(13, 7.5), dpi=100, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    at = np.arange(len(families), dtype=np.float64)
    for place, (name, one) in enumerate(found.items()):
        values = [one.found[group, rate].rate for group in families]
        colour = _COLOURS[place % len(_COLOURS)]
        if name == OURS:  # hollow, so that what lies on the same spot is seen
            left.scatter(values, at, s=120, facecolors="none", edgecolors=colour, linewidths=2.4, marker="D", label=name)
        else:
            left.scatter(values, at, s=36, color=colour, alpha=0.8, label=name)
    left.set_yticks(at, [f"{name.removeprefix('family ')} ({found[OURS].found[name, rate].keys})" for name in families])
    left.invert_yaxis()
    left.set_xlim(-0.03, 1.03)
    left.xaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_title(f"Attack keys found at {rate:.1%} false positives, by family (keys)", fontsize=11)
    left.legend(fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=5)
    strata = sorted(found[OURS].flagged.items())
    spots = np.arange(len(strata), dtype=np.float64)
    rates = [one.rate for _, one in strata]
    tops = [interval(one.hits, one.keys)[1] for _, one in strata]
    right.barh(spots, tops, color="#DCE6EF", label="upper end of the 95 % interval, keys taken as independent")
    right.barh(spots, rates, color="#D55E00", label="flagged")
    right.set_yticks(spots, [f"{name} ({one.hits}/{one.keys})" for name, one in strata])
    right.invert_yaxis()
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    right.set_title(f"Honest keys flagged by {OURS}", fontsize=11)
    right.legend(fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.3, -0.06))
    for axes in (left, right):
        axes.grid(visible=True, axis="x", color="#E4E4E4", linewidth=0.6)
        axes.set_axisbelow(True)
    figure.savefig(path, pil_kwargs={"optimize": True})


def _share(hits: int, keys: int) -> str:
    return f"{hits} / {keys} ({hits / keys:.2%})" if keys else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _median(waits: list[float]) -> str:
    middle = sorted(waits)[(len(waits) - 1) // 2] if waits else math.nan
    never = sum(map(math.isinf, waits))
    return "–" if not waits else f"{'never' if math.isinf(middle) else f'{middle:.0f}'} ({never} of {len(waits)} never)"
