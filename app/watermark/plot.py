"""Pictures of an investigation: every key's p-value beside codewords never issued, shares, and the documents in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from app.offline import drawing  # noqa: F401 - before matplotlib, whose first import writes into the user's home

# isort: split
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from app.offline.plots import BLUE, INK, blank, canvas, label, save
from app.watermark.findings import Cell, Curve, Findings, Key

MOST = 7
"""Named keys that have a colour of their own; the others share one."""

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B8A400")
OTHERS = "#7B4FA3"
_MODEL, _NOTHING, _DECOY = "#8C8C8C", "#ECECEC", "#999999"
_SHARES = 20
_FULL = 15.0
"""Decimal digits of evidence from which a cell has its full colour."""

_LINEAR = 6.0
"""Decimal digits up to which the axis of p-values is linear; all that chance gives among a million keys lies there."""


def keys(findings: Findings, path: Path) -> None:
    """P-values, smallest first, over what chance would give: issued codewords, never-issued ones, and who is named."""
    figure, axes = canvas(9, 4.6)
    named = findings.named
    _points(axes, findings.decoys, _DECOY, "s", f"never issued ({findings.decoys.total:,})")
    _points(axes, findings.curve, BLUE, "o", f"issued ({findings.tested:,})", skip=len(named))
    total = findings.curve.total
    for rank, key in enumerate(named, 1):
        x = _expected(rank, total)
        axes.plot([x], [-key.log10_p], marker="D", color=_colour(rank - 1), markersize=7, linestyle="", zorder=4)
    right = max(_expected(1, total), _expected(1, findings.decoys.total))
    axes.plot([0, right], [0, right], color=INK, linewidth=0.8, linestyle="--", label="what chance gives, at most")
    bound = math.log10(total / findings.fwer)
    axes.axhline(bound, color=COLOURS[0], linewidth=1.0, linestyle=":")
    axes.text(0.01, bound, f"named from about here: p = 10^-{bound:.1f}", fontsize=8, va="bottom", color=COLOURS[0],
              transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set_yscale("symlog", linthresh=_LINEAR, linscale=1.6)
    highest = max([bound, *(-key.log10_p for key in named)])
    ticks = [tick for tick in (0, 2, 4, 6, 10, 20, 50, 100, 200, 500, 1000, 3000) if tick <= 1.4 * highest]
    axes.set_yticks(ticks, [f"{tick}" if tick else "0" for tick in ticks])
    axes.set_ylim(-0.2, 1.5 * highest)
    # Room on the left for names.
    axes.set_xlim(-0.02 * right, 1.06 * right)
    axes.set_xlabel("−log10 of the p-value that chance gives a key of this rank", fontsize=9)
    axes.set_ylabel("−log10 of the key's p-value", fontsize=9)
    axes.tick_params(labelsize=8)
    marks = [
        Line2D(
            [], [], color=_DECOY, marker="s", linestyle="", markersize=4, label=f"never issued ({findings.decoys.total:,})"
        ),
        Line2D([], [], color=BLUE, marker="o", linestyle="", markersize=4, label=f"issued ({findings.tested:,})"),
        Line2D([], [], color=INK, linestyle="--", linewidth=0.8, label="what chance gives"),
    ]
    if named:
        marks.insert(0, Line2D([], [], color=INK, marker="D", linestyle="", label=f"named ({len(named):,})"))
    axes.set_title("How well each key fits the text, beside codewords that were never issued", fontsize=10, pad=24)
    axes.add_artist(_who(axes, named))
    axes.legend(handles=marks, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=8)
    save(figure, path)


def shares(findings: Findings, path: Path) -> None:
    """Share of the marked text of each named key, with its interval."""
    shown = [(number, key) for number, key in enumerate(findings.named) if key.share is not None][:_SHARES]
    figure, axes = canvas(9, 1.3 + 0.36 * max(1, len(shown)))
    for row, (number, key) in enumerate(reversed(shown)):
        share, low, high = (100 * (value or 0.0) for value in (key.share, key.share_low, key.share_high))
        axes.barh([row], [share], color=_colour(number), height=0.62, alpha=0.85)
        axes.plot([low, high], [row, row], color=INK, linewidth=1.4, marker="|", markersize=9)
        axes.text(max(high, share), row, f"  {share:.0f} % ({low:.0f} to {high:.0f})", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(shown)), [label(key.name) for _, key in reversed(shown)], fontsize=8, parse_math=False)
    axes.set_ylim(-0.6, max(1, len(shown)) - 0.4)
    most = max((100 * (key.share_high or 0.0) for _, key in shown), default=1.0)
    axes.set_xlim(0, max(5.0, 1.28 * most))
    axes.set_xlabel("share of the marked text (%), line: 95 % interval", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title("How much of the marked text each named key accounts for", fontsize=10)
    save(figure, path)


def documents(findings: Findings, path: Path) -> None:
    """The documents in the corpus's order, row by row, in the colour of the key whose mark they carry."""
    cells = findings.cells
    columns = min(80, max(20, math.ceil(math.sqrt(3.2 * max(1, len(cells))))))
    rows = -(-max(1, len(cells)) // columns)
    figure = blank(9, 1.35 + 0.105 * rows * 80 / columns)
    axes = figure.subplots()
    squares = [Rectangle((at % columns, at // columns), 0.9, 0.9) for at in range(len(cells))]
    axes.add_collection(PatchCollection(squares, facecolors=[_shade(cell) for cell in cells], linewidths=0))
    axes.set_xlim(-0.1, columns)
    axes.set_ylim(rows, -0.1)
    axes.set_aspect("equal")
    axes.set_axis_off()
    each = cells[0].documents if cells else 1
    what = "a square is a document" if each == 1 else f"a square is {each:,} documents, by the strongest of them"
    figure.suptitle(f"Documents in their order, row by row; {what}; the darker, the stronger", fontsize=10)
    _legend(figure, findings)
    save(figure, path)


def _who(axes: Axes, named: Sequence[Key]) -> Legend:
    """The names, on the left, where no p-value can be."""
    marks = [
        Line2D([], [], color=_colour(number), marker="D", linestyle="", label=label(key.name))
        for number, key in enumerate(named[:MOST])
    ]
    if len(named) > MOST:
        marks.append(Line2D([], [], color=OTHERS, marker="D", linestyle="", label=f"{len(named) - MOST:,} more"))
    made = axes.legend(handles=marks, loc="upper left", frameon=False, fontsize=8, labelspacing=0.25, handletextpad=0.2)
    for text in made.get_texts():
        text.set_parse_math(False)
    return made


def _legend(figure: Figure, findings: Findings) -> None:
    named = findings.named
    seen = {cell.key for cell in findings.cells}
    marks = [
        Patch(color=_colour(number), label=label(key.name)) for number, key in enumerate(named[:MOST]) if number in seen
    ]
    if any(key >= MOST for key in seen):
        marks.append(Patch(color=OTHERS, label="other named keys"))
    marks += [
        Patch(color=_MODEL, label="the model's mark, no named key"),
        Patch(color=_NOTHING, label="no mark of its own strength"),
    ]
    made = figure.legend(handles=marks, loc="outside lower center", ncols=min(4, len(marks)), frameon=False, fontsize=8)
    for text in made.get_texts():
        text.set_parse_math(False)


def _shade(cell: Cell) -> tuple[float, float, float]:
    colour = np.array(to_rgb(_colour(cell.key) if cell.key >= 0 else _MODEL))
    nothing = np.array(to_rgb(_NOTHING))
    if cell.key < 0 and cell.log10_p > -3.0:
        weight = 0.0
    else:
        weight = 0.35 + 0.65 * min(1.0, max(0.0, (-cell.log10_p - 3.0) / (_FULL - 3.0)))
    red, green, blue = (nothing + (colour - nothing) * weight).tolist()
    return red, green, blue


def _points(axes: Axes, curve: Curve, colour: str, marker: str, name: str, skip: int = 0) -> None:
    chosen = [(rank, value) for rank, value in zip(curve.ranks, curve.log10_p, strict=True) if rank > skip]
    x = [_expected(rank, curve.total) for rank, _ in chosen]
    axes.plot(x, [-value for _, value in chosen], color=colour, marker=marker, markersize=3, linestyle="", label=name)


def _expected(rank: int, total: int) -> float:
    return -math.log10((rank - 0.5) / total)


def _colour(number: int) -> str:
    return COLOURS[number] if number < MOST else OTHERS
