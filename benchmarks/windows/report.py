"""Tables in Markdown, and the picture of power by share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.offline import drawing  # noqa: F401 - before matplotlib, whose first import writes into the user's home

# isort: split
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.windows.protocol import LEVELS, SHARES, interval
from benchmarks.windows.results import Results

SAME, PUBLISHED = LEVELS
ROWS = (
    ("PRADA", PUBLISHED),
    ("SEAT", PUBLISHED),
    ("CAP", PUBLISHED),
    ("Mahalanobis", PUBLISHED),
    ("MMD", PUBLISHED),
    ("PRADA", SAME),
    ("SEAT", SAME),
    ("CAP", SAME),
    ("Mahalanobis", SAME),
    ("MMD, matched null", SAME),
    ("Stillwatch", SAME),
)
"""Methods at the level of p-values that alarms: the paper's, then the one that all are compared at."""

_STYLES = {
    "PRADA": ("#56B4E9", ":"),
    "SEAT": ("#CC79A7", "-."),
    "CAP": ("#B8A800", ":"),
    "Mahalanobis": ("#009E73", "-."),
    "MMD": ("#E69F00", "--"),
    "MMD, matched null": ("#D55E00", "--"),
    "Stillwatch": ("#0072B2", "-"),
}
"""Okabe and Ito (2008); line styles differ, too."""


def tables(results: Results, sizes: list[int]) -> Iterator[str]:
    """Lines: of each size the means and false alarms, then every pair."""
    for size in sizes:
        pairs = results.pairs(size)
        if not pairs:
            continue
        yield f"\n### Windows of {size:,} queries, {len(pairs)} pairs\n"
        shares = " | ".join(f"{share:.0%}" for share in SHARES)
        yield f"| Method, level | {shares} | False alarms, disjoint windows (95 % interval) | False alarms, all windows |"
        yield "| --- |" + " ---: |" * (len(SHARES) + 2)
        for method, level in _present(results, size):
            power = " | ".join(f"{value:.0%}" for value in results.mean_power(size, method, level))
            alarms, count, low, high = results.false_alarms(size, method, level, disjoint=True)
            of_all, all_count, _, _ = results.false_alarms(size, method, level, disjoint=False)
            disjoint = f"{alarms} / {count} ({low:.1%}–{high:.1%})"
            yield f"| {method}, {level:.1%} | {power} | {disjoint} | {of_all} / {all_count}, {of_all / all_count:.1%} |"
        yield f"\nEvery pair, windows of {size:,}, detected at shares of {', '.join(f'{share:.0%}' for share in SHARES)}:\n"
        shown = [row for row in _present(results, size) if row[1] == SAME or row[0] == "MMD"]
        yield "| Pair | " + " | ".join(f"{method}, {level:.1%}" for method, level in shown) + " |"
        yield "| --- |" + " ---: |" * len(shown)
        for pair in pairs:
            cells = (results.power(size, method, level).get(pair) for method, level in shown)
            yield f"| {pair} | " + " | ".join(_cell(cell) for cell in cells) + " |"


def honest_table(found: dict[str, dict[int, list[float]]], level: float = SAME) -> Iterator[str]:
    """Lines: our own false alarms on disjoint windows, by source and in all."""
    sizes = list(next(iter(found.values())))
    yield "\n| Honest source | " + " | ".join(f"Windows of {size:,}" for size in sizes) + " |"
    yield "| --- |" + " ---: |" * len(sizes)
    whole = {size: [value for by_size in found.values() for value in by_size[size]] for size in sizes}
    for name, by_size in {**found, "all": whole}.items():
        yield f"| {name} | " + " | ".join(_alarms(by_size[size], level) for size in sizes) + " |"


def picture(results: Results, sizes: list[int], path: Path) -> None:
    """Power by share of attacking texts, mean over pairs, a panel for each size at which methods can be compared.

    The legend says how often each alarmed on honest windows, since some do so far more often than their level says.
    """
    sizes = [size for size in sizes if len(_present(results, size)) > 1]
    figure = Figure(figsize=(5.8 * len(sizes), 5.6), dpi=100, facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, sizes, strict=True):
        for method, level in _present(results, size):
            if level != SAME and method != "MMD":
                continue
            colour, style = _STYLES[method]
            alarms, count, _, _ = results.false_alarms(size, method, level, disjoint=False)
            name = f"{method}, as published" if method == "MMD" else method
            legend = f"{name} ({alarms / count:.1%})"
            axes.plot(
                SHARES, results.mean_power(size, method, level), style, color=colour, label=legend, marker="o",
                markersize=4, linewidth=2.6 if method == "Stillwatch" else 1.5,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(SHARES, [f"{share:.0%}" for share in SHARES])
        axes.minorticks_off()
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(visible=True, color="#E4E4E4", linewidth=0.6)
        axes.set_title(f"Windows of {size:,} queries, mean of {len(results.pairs(size))} pairs", fontsize=11)
        axes.set_xlabel("Attacking queries in the window; in brackets: honest windows that alarm")
        axes.legend(fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    panels[0].set_ylabel(f"Attacked windows with p ≤ {SAME:.1%} (MMD as published: {PUBLISHED:.0%})")
    figure.savefig(path, pil_kwargs={"optimize": True})


def _present(results: Results, size: int) -> list[tuple[str, float]]:
    names = {method for _, of, method in results.tallies if of == size}
    return [(method, level) for method, level in ROWS if method in names]


def _alarms(values: list[float], level: float) -> str:
    alarms = sum(value <= level for value in values)
    low, high = interval(alarms, len(values))
    return f"{alarms} / {len(values)} ({low:.2%}–{high:.2%})"


def _cell(power: list[float] | None) -> str:
    return "–" if power is None else " / ".join(f"{100 * value:.0f}" for value in power)
