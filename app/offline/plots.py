"""The report's pictures: PNG, drawn without a display, in colours that colour-blind readers can tell apart.

Colours are those of Okabe and Ito (2008); every series also differs in shape or hatch. Text from the log is never parsed as
mathematics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from app.offline import drawing  # noqa: F401 - before matplotlib, whose first import writes into the user's home

# isort: split
import matplotlib.dates as dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from app.offline.tracks import HOUR_US, Track
from detectors.contract import Level

LEVEL_COLOURS = {Level.CLEAR: "#999999", Level.WATCH: "#56B4E9", Level.SUSPECT: "#E69F00", Level.CONFIRMED: "#D55E00"}
_HATCHES = {Level.CLEAR: "", Level.WATCH: "..", Level.SUSPECT: "//", Level.CONFIRMED: "xx"}
BLUE = "#0072B2"
INK = "#333333"
_DPI = 110
_LABEL_CHARS = 48


@dataclass(frozen=True, slots=True)
class Driver:
    """How much one feature explains of the flagged keys' verdicts."""

    feature: str
    keys: int
    weight: float  # mean share of the score over all flagged keys, 0–1


def score_distribution(tracks: Sequence[Track], path: Path) -> None:
    """Histogram of the keys' highest scores, a row per level: counts of clear keys would flatten those of the others."""
    found = {level: [track.score for track in tracks if track.judged and track.level == level] for level in Level}
    shown = [level for level in Level if found[level]]
    figure = Figure(figsize=(9, 1.1 + 1.25 * len(shown)), dpi=_DPI, layout="constrained")
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, level in zip(rows, shown, strict=True):
        axes.hist(
            found[level],
            bins=np.linspace(0.0, 1.0, 51),
            color=LEVEL_COLOURS[level],
            hatch=_HATCHES[level],
            edgecolor="white",
            linewidth=0.4,
        )
        axes.set_title(f"{level.name.lower()}: {_keys(len(found[level]))}", loc="left", fontsize=9, pad=3)
        axes.set_xlim(0, 1)
        axes.set_ylabel("keys", fontsize=8)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1].set_xlabel("highest score of the key in the judged part (0: like its peers, 1: most suspicious)", fontsize=9)
    figure.suptitle("Scores of the judged keys, by highest level (each row has its own scale)", fontsize=10)
    save(figure, path)


def timelines(tracks: Sequence[Track], path: Path, start_us: int, end_us: int) -> None:
    """Requests per hour (bars) and score (line with a mark at the first alarm) of each key, one row per key."""
    # Margins in inches, not a layout engine: with two axes a row it would take most of the report's time.
    top, row, bottom = 0.55, 1.15, 0.6
    height = top + row * len(tracks) + bottom
    figure = Figure(figsize=(10, height), dpi=_DPI)
    figure.subplots_adjust(left=0.065, right=0.935, top=1 - top / height, bottom=bottom / height, hspace=0.45)
    rows = figure.subplots(len(tracks), 1, sharex=True, squeeze=False)[:, 0]
    for axes, track in zip(rows, tracks, strict=True):
        _timeline(axes, track, start_us, end_us)
    rows[-1].set_xlabel("event time (UTC)", fontsize=8)
    locator = dates.AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]
    rows[-1].xaxis.set_major_locator(locator)
    rows[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    rows[-1].xaxis.get_offset_text().set_fontsize(7)
    figure.suptitle(
        "Requests per hour (grey bars, left), score (line, right), first alarm (▼)", fontsize=10, y=1 - 0.15 / height
    )
    save(figure, path)


def _timeline(axes: Axes, track: Track, start_us: int, end_us: int) -> None:
    counts = dict(track.hours.items())
    edges = range(start_us // HOUR_US * HOUR_US, end_us + HOUR_US, HOUR_US)
    axes.stairs(
        [counts.get(at_us, 0) for at_us in edges[:-1]], [_moment(at_us) for at_us in edges], fill=True, color="#BBBBBB"
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("req/h", fontsize=7)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(labelsize=7)
    axes.set_title(f"{label(track.key_id)} · {track.level.name.lower()}", fontsize=8, loc="left", pad=2, parse_math=False)
    right = axes.twinx()
    right.set_ylim(-0.05, 1.25)
    right.set_yticks([0, 0.5, 1])
    right.tick_params(labelsize=7, colors=BLUE)
    right.set_ylabel("score", fontsize=7, color=BLUE)
    times = [_moment(point.at_us) for point in track.points]
    scores = [point.score for point in track.points]
    right.step(times, scores, where="post", color=BLUE, linewidth=1.2, marker=".", markersize=2.5)
    if track.flagged_us is not None:
        right.plot([_moment(track.flagged_us)], [1.12], marker="v", color=LEVEL_COLOURS[Level.CONFIRMED], markersize=7)
    axes.set_xlim(_moment(start_us), _moment(end_us))


def drivers(found: Sequence[Driver], path: Path) -> None:
    """Which features the flagged keys' verdicts rest on, strongest on top."""
    figure, axes = canvas(9, 1.2 + 0.32 * len(found))
    order = list(reversed(found))
    axes.barh([d.feature for d in order], [100 * d.weight for d in order], color=BLUE)
    for row, driver in enumerate(order):
        axes.text(100 * driver.weight, row, f" {_keys(driver.keys)}", va="center", fontsize=8, color=INK)
    axes.set_xlabel("mean share of a flagged key's score (%); beside the bar, how many flagged keys name it", fontsize=9)
    axes.set_xlim(0, max(1.0, 118 * max(d.weight for d in found)))
    axes.set_title("What decided")
    axes.tick_params(axis="y", labelsize=8)
    save(figure, path)


def levels_by_plan(counts: dict[str, dict[Level, int]], path: Path) -> None:
    """Share of each plan's judged keys at each level above clear."""
    figure, axes = canvas(9, 1.4 + 0.4 * len(counts))
    plans = sorted(counts, reverse=True)
    rows = range(len(plans))
    left = np.zeros(len(plans))
    totals = np.array([max(1, sum(counts[plan].values())) for plan in plans])
    for level in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED):
        share = 100 * np.array([counts[plan].get(level, 0) for plan in plans]) / totals
        axes.barh(
            rows,
            share,
            left=left,
            color=LEVEL_COLOURS[level],
            hatch=_HATCHES[level],
            edgecolor="white",
            label=level.name.lower(),
        )
        left += share
    for row, plan in enumerate(plans):
        axes.text(left[row], row, f" of {_keys(sum(counts[plan].values()))}", va="center", fontsize=8, color=INK)
    axes.set_yticks(rows, [label(plan) for plan in plans], fontsize=8, parse_math=False)
    axes.set_xlim(0, max(1.0, float(left.max()) * 1.18))
    axes.set_xlabel("keys above clear, by highest level (% of the plan's judged keys)", fontsize=9)
    axes.tick_params(labelsize=8)
    figure.suptitle("Levels by plan", fontsize=10, x=0.02, ha="left")
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8)
    save(figure, path)


def blank(width: float, height: float) -> Figure:
    """A picture without anything on it; inches."""
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """One empty diagram; inches."""
    figure = blank(width, height)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _keys(number: int) -> str:
    return f"{number:,} key{'' if number == 1 else 's'}"


def label(text: str) -> str:
    """A name from the log in letters that the font has, and no longer than fits."""
    drawn = "".join(letter if letter.isprintable() and ord(letter) < 0x250 else "□" for letter in text)
    return drawn if len(drawn) <= _LABEL_CHARS else f"{drawn[: _LABEL_CHARS - 1]}…"


def save(figure: Figure, path: Path) -> None:
    """Write the picture."""
    # No date and no library version in the file: the same log gives the same picture.
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]


def _moment(at_us: int) -> float:
    """Matplotlib's date number: days since 1970 in UTC."""
    return at_us / 86_400e6
