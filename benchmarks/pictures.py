"""Pictures of the dashboards for the documentation, drawn from the panels' own queries.

    python -m benchmarks pictures [--out docs/images]

Grafana draws the same numbers with more comfort; these pictures say that they are not from it. What is seen: honest
customers alone, then attackers beside them, then a state server that stands still and goes on again. It takes about three
minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.offline import drawing  # noqa: F401 - before matplotlib, whose first import writes into the user's home

# isort: split
import matplotlib.dates as dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FuncFormatter, MaxNLocator

from app.demo import cast
from app.errors import StillwatchError
from app.telemetry.dashboards import DASHBOARDS
from app.telemetry.dashboards.grafana import document
from app.telemetry.dashboards.panel import WINDOW, Dashboard, Panel
from benchmarks.alerts import STATE_FROZEN
from benchmarks.machine import CannotMeasure
from benchmarks.prometheus import RULES, Prometheus, shortened
from benchmarks.watched import folder_of_run, playing, service

HONEST_SEC, ATTACK_SEC, FROZEN_SEC, AFTER_SEC = 45.0, 60.0, 15.0, 25.0
WINDOW_SEC = "6s"
RULES_SHORTER = 10
LABEL = "Rendered from the panel queries against a real Prometheus, not Grafana"

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#555555")
"""Okabe and Ito (2008); line styles differ, too."""
_STYLES = ("-", "--", "-.", ":")
_STATE_COLOURS = {"green": "#2E7D4F", "orange": "#B36B00", "red": "#B3261E"}
_INK, _FAINT = "#222222", "#777777"
_CELL_IN = 0.29  # height of a grid unit
_WIDTH_IN, _DPI = 15.0, 80
_MOST_LEGENDS = 8


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of unix time with a name, shaded in every graph."""

    name: str
    begin: float
    end: float
    colour: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series as it is drawn."""

    legend: str
    points: dict[float, float]  # unix seconds → value, NaN where it is none

    @property
    def most(self) -> float:
        """The largest value; 0.0 without one."""
        return max((value for value in self.points.values() if not math.isnan(value)), default=0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays, draws and says which files it wrote."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pictures", description="Pictures of the dashboards.")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder (default: %(default)s)")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(_play(args.out))
    except (CannotMeasure, StillwatchError) as error:
        print(f"benchmarks.pictures: {error}", file=sys.stderr)
        return 1
    return 0


async def _play(out: Path) -> None:
    clients = cast.live(1)
    honest = [client for client in clients if not client.kind.attack]
    attackers = [client for client in clients if client.kind.attack]
    with folder_of_run() as folder:
        async with service(folder, clients, {"gateway": 2, "worker": 1, "admin": 1}) as running:
            (folder / "prometheus").mkdir()
            rules = {path.name: shortened(path.read_text(encoding="utf-8"), RULES_SHORTER) for path in RULES}
            with Prometheus(folder / "prometheus", running.targets, rules=rules) as prometheus:
                await asyncio.to_thread(prometheus.until_up)
                begin = time.time()
                async with playing(running.gateways, honest):
                    await asyncio.sleep(HONEST_SEC)
                    attack = time.time()
                    async with playing(running.gateways, attackers):
                        await asyncio.sleep(ATTACK_SEC)
                        frozen = time.time()
                        await STATE_FROZEN.begin(running)
                        await asyncio.sleep(FROZEN_SEC)
                        assert STATE_FROZEN.end is not None
                        await STATE_FROZEN.end(running)
                        thawed = time.time()
                        await asyncio.sleep(AFTER_SEC)
                end = time.time()
                phases = (
                    Phase("attack", attack, end, "#FBE3D6"),
                    Phase("state server frozen", frozen, thawed, "#C9D7E8"),
                )
                for dashboard in DASHBOARDS:
                    path = out / f"dashboard-{dashboard.uid.removeprefix('stillwatch-')}.png"
                    draw(dashboard, prometheus, (begin, end), phases, path)
                    print(path)


def draw(
    dashboard: Dashboard, prometheus: Prometheus, span: tuple[float, float], phases: Sequence[Phase], path: Path
) -> None:
    """One dashboard in Grafana's own grid, as a PNG."""
    placed = document(dashboard)["panels"]
    rows = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in placed)
    figure = Figure(figsize=(_WIDTH_IN, _CELL_IN * rows + 0.9), dpi=_DPI, facecolor="white")
    top = 1 - 0.75 / figure.get_figheight()
    grid = GridSpec(rows, 24, figure, left=0.012, right=0.994, bottom=0.004, top=top, wspace=0, hspace=0)
    figure.text(0.012, 1 - 0.28 / figure.get_figheight(), dashboard.title, fontsize=15, weight="bold", color=_INK)
    figure.text(0.012, 1 - 0.55 / figure.get_figheight(), _legend_of(phases), fontsize=9.5, color=_FAINT)
    figure.text(0.994, 1 - 0.28 / figure.get_figheight(), LABEL, fontsize=11, color="#B3261E", ha="right", weight="bold")
    panels = {panel.title: panel for panel in dashboard.panels}
    for each in placed:
        at = each["gridPos"]
        cell = grid[at["y"] : at["y"] + at["h"], at["x"] : at["x"] + at["w"]].get_position(figure)
        if each["type"] == "row":
            figure.text(cell.x0, cell.y0 + 0.2 * cell.height, each["title"], fontsize=11.5, weight="bold", color=_FAINT)
            continue
        panel = panels[each["title"]]
        if panel.kind == "stat":
            _stat(figure, panel, prometheus, span, (cell.x0, cell.y0, cell.width, cell.height))
        else:
            _graph(figure, panel, prometheus, span, phases, (cell.x0, cell.y0, cell.width, cell.height))
    figure.savefig(path, pil_kwargs={"optimize": True})


def _legend_of(phases: Sequence[Phase]) -> str:
    told = "; ".join(f"{phase.name} {_clock(phase.begin)} to {_clock(phase.end)}" for phase in phases)
    return f"Shaded: {told} (UTC)."


def _lines(panel: Panel, prometheus: Prometheus, span: tuple[float, float]) -> list[Line]:
    lines = []
    for query in panel.queries:
        for series in prometheus.query_range(query.expr.replace(WINDOW, WINDOW_SEC), *span):
            legend = query.legend
            for label, value in series.labels.items():
                legend = legend.replace(f"{{{{{label}}}}}", re.sub(r"127\.0\.0\.1:\d+", "worker", value))
            lines.append(Line(legend, {at: value if math.isfinite(value) else math.nan for at, value in series.points}))
    return lines


def _graph(
    figure: Figure,
    panel: Panel,
    prometheus: Prometheus,
    span: tuple[float, float],
    phases: Sequence[Phase],
    cell: tuple[float, float, float, float],
) -> None:
    left, bottom, width, height = cell
    inch_x, inch_y = 1 / figure.get_figwidth(), 1 / figure.get_figheight()
    legend_in = 0.36
    axes = figure.add_axes(
        (
            left + 0.62 * inch_x,
            bottom + (0.34 + legend_in) * inch_y,
            width - 0.78 * inch_x,
            height - (0.42 + 0.3 + legend_in) * inch_y,
        )
    )
    figure.text(left + 0.08 * inch_x, bottom + height - 0.26 * inch_y, panel.title, fontsize=10, weight="bold", color=_INK)
    for phase in phases:
        axes.axvspan(*map(_number, (phase.begin, phase.end)), color=phase.colour, linewidth=0)
    lines = _lines(panel, prometheus, span)
    shown = sorted(lines, key=lambda line: -line.most)
    if panel.stacked:
        moments = sorted({at for line in lines for at in line.points})
        heights = [[_number_or_zero(line.points.get(at)) for at in moments] for line in shown]
        colours = [_COLOURS[place % len(_COLOURS)] for place in range(len(shown))]
        names = [line.legend for line in shown]
        axes.stackplot([_number(at) for at in moments], heights, labels=names, colors=colours, alpha=0.75, linewidth=0)
        most = max((sum(column) for column in zip(*heights, strict=True)), default=0.0)
    else:
        for place, line in enumerate(shown):
            axes.plot(
                [_number(at) for at in line.points], list(line.points.values()), color=_COLOURS[place % len(_COLOURS)],
                linestyle=_STYLES[place % len(_STYLES)], linewidth=1.6, label=line.legend,
            )  # fmt: skip
        most = max((line.most for line in shown), default=0.0)
    _scale(axes, panel, most, span)
    handles, legends = axes.get_legend_handles_labels()
    rest = len(legends) - _MOST_LEGENDS
    if rest > 0:
        handles, legends = handles[:_MOST_LEGENDS], [*legends[: _MOST_LEGENDS - 1], f"and {rest + 1} more"]
    axes.legend(
        handles, legends, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=min(4, len(legends)), fontsize=7.5,
        frameon=False, handlelength=1.8, columnspacing=1.0, borderaxespad=0.1, labelspacing=0.2,
    )  # fmt: skip


def _scale(axes: Axes, panel: Panel, most: float, span: tuple[float, float]) -> None:
    if panel.red_above is not None and most > 0.4 * panel.red_above:
        axes.axhline(panel.red_above, color="#B3261E", linewidth=1, linestyle=(0, (6, 3)))
        most = max(most, panel.red_above)
    axes.set_ylim(0, most * 1.12 if most > 0 else 1)
    axes.set_xlim(*map(_number, span))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=panel.unit == "short"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _said(value, panel.unit)))
    axes.xaxis.set_major_locator(dates.SecondLocator(bysecond=(0, 30)))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S", tz=UTC))  # type: ignore[no-untyped-call]
    axes.tick_params(labelsize=7.5, colors=_FAINT, length=2)
    axes.grid(visible=True, color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    for name in ("top", "right"):
        axes.spines[name].set_visible(False)
    for name in ("left", "bottom"):
        axes.spines[name].set_color("#BBBBBB")


def _stat(
    figure: Figure,
    panel: Panel,
    prometheus: Prometheus,
    span: tuple[float, float],
    cell: tuple[float, float, float, float],
) -> None:
    left, bottom, width, height = cell
    inch_x, inch_y = 1 / figure.get_figwidth(), 1 / figure.get_figheight()
    lines = _lines(panel, prometheus, span)
    last = max((at for line in lines for at in line.points), default=0.0)
    lines = [line for line in lines if last in line.points]  # the others have ended
    names = len(lines) > 1 or "{{" in panel.queries[0].legend
    colour, text = "#EEF1F4", []
    for line in lines:
        value = next((v for v in reversed(line.points.values()) if not math.isnan(v)), math.nan)
        state = next((each for each in panel.states if each.value == round(value)), None) if panel.states else None
        if state is not None:
            colour = _STATE_COLOURS[state.colour]
            text.append(state.text)
        else:
            named = f"{line.legend} " if names else ""
            text.append(f"{named}{_said(value, panel.unit)}")
            if panel.red_above is not None:
                colour = _STATE_COLOURS["red" if value >= panel.red_above else "green"]
    axes = figure.add_axes((left + 0.06 * inch_x, bottom + 0.08 * inch_y, width - 0.12 * inch_x, height - 0.12 * inch_y))
    axes.set_facecolor(colour)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    ink = _INK if colour == "#EEF1F4" else "white"
    axes.text(0.02, 0.94, panel.title, transform=axes.transAxes, fontsize=10, weight="bold", color=ink, va="top")
    size = 15 if len(text) < 3 else 11.5
    axes.text(0.5, 0.36, "\n".join(text), transform=axes.transAxes, fontsize=size, color=ink, ha="center", va="center")


def _said(value: float, unit: str) -> str:
    """A number in its unit, short enough for an axis."""
    if math.isnan(value):
        return "–"
    if unit == "s":
        if value and abs(value) < 1:
            return f"{value * 1000:g} ms"
        return f"{value:g} s"
    if unit == "percentunit":
        return f"{value * 100:.4g} %"
    short = f"{value / 1e6:.4g}M" if abs(value) >= 1e6 else f"{value / 1e3:.4g}k" if abs(value) >= 1e4 else f"{value:.4g}"
    return {"reqps": f"{short}/s", "ops": f"{short}/s", "tps": f"{short}/s", "cpm": f"{short}/min"}.get(unit, short)


def _number_or_zero(value: float | None) -> float:
    return 0.0 if value is None or math.isnan(value) else value


def _number(at: float) -> float:
    return float(dates.date2num(datetime.fromtimestamp(at, UTC)))  # type: ignore[no-untyped-call]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


if __name__ == "__main__":
    sys.exit(main())
