"""The pictures of a model's report: what it finds at which price, drawn from `figures` as they are stored.

Each function draws one PNG and returns whether there was anything to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from app.offline import drawing  # noqa: F401 - before matplotlib, whose first import writes into the user's home

# isort: split
from matplotlib.axes import Axes

from app.offline.figures import Figures, Group, Interval, Point
from app.offline.plots import BLUE, INK, blank, canvas, label, save

LEAST_RATE = 1e-4
ORANGE = "#D55E00"
PALE = "#BBBBBB"
MAX_GROUPS = 40

ROC, RELIABILITY, GROUPS, ABLATION, DETECTION = "roc.png", "reliability.png", "groups.png", "ablation.png", "detection.png"


def roc(found: Figures, path: Path) -> bool:
    """Recall over false positives; the log axis shows the part that a provider can afford."""
    if not found.roc:
        return False
    figure, axes = canvas(8, 5)
    axes.step(*_xy(found.roc, LEAST_RATE), where="post", color=BLUE, linewidth=1.6, label="by score")
    for recall in found.recalls:
        if recall.found.value is not None and recall.found.low is not None and recall.found.high is not None:
            axes.plot([recall.rate] * 2, [recall.found.low, recall.found.high], color=INK, linewidth=1.2)
            axes.plot([recall.rate], [recall.found.value], marker="o" if recall.supported else "x", color=INK, markersize=5)
    own = found.own_false.value, found.own_recall.value
    if own[0] is not None and own[1] is not None:
        axes.plot(
            [max(own[0], LEAST_RATE)], [own[1]], marker="D", color=ORANGE, linestyle="", label="at the policy's level"
        )
    axes.axvspan(LEAST_RATE, 1.0 / max(1, found.honest), color="#EEEEEE", label="fewer than one honest key")
    axes.set_xscale("log")
    axes.set_xlim(LEAST_RATE, 1.0)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("share of honest keys above the score (log)", fontsize=9)
    axes.set_ylabel("share of abusive keys above the score", fontsize=9)
    axes.set_title(f"What is found at which price: {found.abusive:,} abusive, {found.honest:,} honest keys", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    save(figure, path)
    return True


def reliability(found: Figures, path: Path) -> bool:
    """Promised against realised share of honest keys above a score; and how many of each tenth of the keys are abusive."""
    if not found.reliability:
        return False
    figure, axes = canvas(8, 4.6)
    x, y = _xy(found.reliability)
    floor = 0.5 / max(1, found.honest)
    some = [(at, value) for at, value in zip(x, y, strict=True) if value > 0.0]
    none = [at for at, value in zip(x, y, strict=True) if value <= 0.0]
    if some:
        axes.plot(*zip(*some, strict=True), color=BLUE, marker="o", markersize=3.5, label="realised, with 95 % interval")
    if none:
        # A share of none has no place on a log axis: marked at its lower edge, below half a key.
        told = f"none of {found.honest:,} honest keys, and the 95 % interval"
        axes.plot(none, [floor] * len(none), "v", color=BLUE, markerfacecolor="none", markersize=5, label=told)
    lows = [max(point.low if point.low is not None else point.y, floor) for point in found.reliability]
    highs = [max(point.high if point.high is not None else point.y, floor) for point in found.reliability]
    axes.fill_between(x, lows, highs, color=BLUE, alpha=0.18)
    axes.plot(x, x, color=INK, linestyle="--", linewidth=1, label="as promised")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("1 − score: the share of honest keys that should reach the score", fontsize=9)
    axes.set_ylabel("share of honest keys that did", fontsize=9)
    axes.set_title("Does a score mean what it says", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)
    return True


def groups(found: Figures, path: Path) -> bool:
    """False positives of every stratum above, recall of every kind of abuse below, at the policy's level."""
    honest = [group for group in found.groups if not group.abusive]
    abusive = [group for group in found.groups if group.abusive]
    sides = [side for side in (honest, abusive) if side]
    if not sides:
        return False
    shown = [sorted(side, key=lambda one: (-(one.flagged.value or 0.0), one.name))[:MAX_GROUPS] for side in sides]
    figure = blank(9, 1.4 * len(shown) + 0.26 * sum(map(len, shown)))
    heights = [len(side) + 2 for side in shown]
    rows = figure.subplots(len(shown), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, side in zip(rows, shown, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        _bars(axes, side)
    save(figure, path)
    return True


def _bars(axes: Axes, side: Sequence[Group]) -> None:
    abusive = side[0].abusive
    rows = list(range(len(side)))[::-1]
    values = [100 * (one.flagged.value or 0.0) for one in side]
    axes.barh(rows, values, color=ORANGE if abusive else BLUE, hatch="//" if abusive else "", edgecolor="white")
    for row, one in zip(rows, side, strict=True):
        value = one.flagged.value or 0.0
        axes.plot([100 * value], [row], "o", color=INK, markersize=3)
        if one.flagged.low is not None and one.flagged.high is not None:
            ends = [100 * one.flagged.low, 100 * one.flagged.high]
            axes.plot(ends, [row, row], color=PALE, linewidth=1, marker="|", markersize=5, zorder=0)
        told = f"  {round(value * one.keys):,} of {one.keys:,}"
        axes.text(100 * (one.flagged.high or value), row, told, va="center", fontsize=7)
    axes.set_yticks(rows, [label(one.name) for one in side], fontsize=7, parse_math=False)
    axes.tick_params(labelsize=7)
    axes.set_xlim(0, 112 if abusive else max(1.0, 1.25 * max(100 * (one.flagged.high or 0.0) for one in side), *values))
    axes.set_xlabel("flagged keys (%); pale: 95 % interval", fontsize=8)
    axes.set_title("Abusive keys found" if abusive else "False positives by stratum", loc="left", fontsize=9)


def ablation(found: Figures, path: Path) -> bool:
    """What is lost without each scorer, at one honest key in a hundred."""
    whole = next((recall.found.value for recall in found.recalls if recall.rate == 0.01), None)
    lost = [
        (one.without, 100 * (whole - one.recall)) for one in found.ablation if one.recall is not None and whole is not None
    ]
    if not lost:
        return False
    lost.sort(key=lambda one: (one[1], one[0]))
    figure, axes = canvas(8, 1.3 + 0.3 * len(lost))
    axes.barh([name for name, _ in lost], [points for _, points in lost], color=BLUE)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("points of recall lost without the scorer, at 1 % false positives", fontsize=9)
    axes.set_title("What each scorer adds to the others", fontsize=10)
    axes.tick_params(labelsize=8)
    save(figure, path)
    return True


def detection(found: Figures, path: Path) -> bool:
    """Share of the abusive keys that were flagged within so many of their requests."""
    if not found.detection:
        return False
    figure, axes = canvas(8, 4.4)
    axes.step(*_xy(found.detection), where="post", color=ORANGE, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("requests of the key in the judged part (log)", fontsize=9)
    axes.set_ylabel("share of abusive keys flagged", fontsize=9)
    axes.set_title("Time to detection", fontsize=10)
    save(figure, path)
    return True


PICTURES: dict[str, Callable[[Figures, Path], bool]] = {
    ROC: roc,
    RELIABILITY: reliability,
    GROUPS: groups,
    ABLATION: ablation,
    DETECTION: detection,
}


def _xy(points: Sequence[Point], least_x: float = 0.0) -> tuple[list[float], list[float]]:
    return [max(point.x, least_x) for point in points], [point.y for point in points]


def percent(found: Interval) -> str:
    """ "12.5 % (8.1–17.0)", "12.5 %" without an interval, "–" without a value."""
    if found.value is None:
        return "–"
    bounds = "" if found.low is None or found.high is None else f" ({100 * found.low:.1f}–{100 * found.high:.1f})"
    return f"{100 * found.value:.1f} %{bounds}"
