"""Pictures of campaigns: who is tied to whom and by what, and how their requests ran over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path

from app.offline import drawing  # noqa: F401 - before matplotlib, whose first import writes into the user's home

# isort: split
import matplotlib.dates as dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from app.offline import campaign_layout as layout
from app.offline.linking import Reported
from app.offline.plots import BLUE, INK, LEVEL_COLOURS, label, save
from app.offline.tracks import HOUR_US, Track
from detectors.contract import Level

MOST = 4
"""Campaigns on a sheet."""

MOST_MEMBERS = 300
MOST_HUBS = 6
STACKED = 9
"""Members that a timeline shows one by one; the others are one layer."""

_DPI = 110
_COLOURS = ("#0072B2", "#CC79A7", "#009E73", "#E69F00", "#56B4E9", "#B8A400", "#7B4FA3")
_ALONE, _QUIET = "#D55E00", "#8C8C8C"
_OTHERS = "#D5D5D5"


def graphs(campaigns: Sequence[Reported], tracks: Mapping[str, Track], path: Path) -> None:
    """A graph per campaign, at most MOST of them: members as dots, links, and what they share as labelled hubs."""
    shown = campaigns[:MOST]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    width, height = 8.6 * columns if columns > 1 else 10.0, 4.75 * rows + 0.6
    figure = Figure(figsize=(width, height), dpi=_DPI)
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.1 / height, bottom=0.5 / height, wspace=0.02, hspace=0.04)
    colours = _colours(shown)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, one in zip(panels, shown, strict=False):
        _graph(axes, one, tracks, colours)
    marks = [Line2D([], [], color=colour, linewidth=3, label=_worded(name)) for name, colour in colours.items()]
    marks += [
        Line2D([], [], color=_ALONE, marker="o", linestyle="", label="key that was flagged by itself"),
        Line2D([], [], color=_QUIET, marker="o", linestyle="", label="key that was not"),
    ]
    figure.legend(
        handles=marks, loc="lower center", ncols=min(len(marks), 5 if columns == 1 else 8), frameon=False, fontsize=8
    )
    save(figure, path)


def _graph(axes: Axes, one: Reported, tracks: Mapping[str, Track], colours: Mapping[str, str]) -> None:
    campaign = one.campaign
    shown = campaign.members[:MOST_MEMBERS]
    told = {said.channel: said for said in campaign.evidence}
    names = [name for name in told if any(name in member.channels for member in shown)][:MOST_HUBS]
    around = layout.hubs(len(names))
    places = layout.members(shown, campaign.links, names, around)
    place = {member.key_id: places[at] for at, member in enumerate(shown)}
    _spokes(axes, [([places[at] for at, m in enumerate(shown) if name in m.channels], around[hub], colours[name])
                   for hub, name in enumerate(names)])  # fmt: skip
    links = [link for link in campaign.links if link.a in place and link.b in place]
    most = max((link.nats for link in links), default=1.0)
    faint = min(0.75, 0.2 + 12.0 / max(1, len(links)))
    axes.add_collection(
        LineCollection(
            [(place[link.a], place[link.b]) for link in links],
            colors=[_strongest(link.channels, told, colours) for link in links],
            linewidths=[0.4 + 1.4 * link.nats / most for link in links],
            alpha=faint,
            zorder=2,
        )
    )
    heavy = max(member.requests for member in shown) if shown else 1
    sizes = np.array([14 + 90 * member.requests / max(1, heavy) for member in shown]) * min(1.0, 60 / len(shown)) ** 0.5
    alone = [member.key_id in tracks and tracks[member.key_id].flagged for member in shown]
    axes.scatter(
        places[:, 0], places[:, 1], s=sizes, c=[_ALONE if flagged else _QUIET for flagged in alone],
        edgecolors="white", linewidths=0.6, zorder=3,
    )  # fmt: skip
    for hub, name in enumerate(names):
        _hub(axes, around[hub], name, told[name].share, told[name].honest, colours[name])
    _words(axes, one, names, len(shown), sum(alone))


def _spokes(axes: Axes, hubs: Sequence[tuple[Sequence[layout.Floats], layout.Floats, str]]) -> None:
    """From each member to the hubs of what it shares: curves that meet before the hub, so that many stay one strand."""
    steps = np.linspace(0.0, 1.0, 14)[:, None]
    for ends, hub, colour in hubs:
        waist = hub * 0.72
        curves = [(1 - steps) ** 2 * end + 2 * steps * (1 - steps) * waist + steps**2 * hub for end in ends]
        alpha = max(0.05, min(0.35, 8.0 / max(1, len(curves))))
        axes.add_collection(LineCollection(curves, colors=colour, linewidths=0.8, alpha=alpha, zorder=1))


def _hub(axes: Axes, at: layout.Floats, name: str, share: float, honest: float, colour: str) -> None:
    axes.scatter([at[0]], [at[1]], s=150, c=colour, marker="s", edgecolors="white", linewidths=1.2, zorder=4)
    left = at[0] < 0
    side = "right" if left else "left"
    x = at[0] + (-0.11 if left else 0.11)
    axes.text(x, at[1] + 0.05, _worded(name), ha=side, va="bottom", fontsize=9.5, fontweight="bold", color=INK, zorder=5)
    axes.text(x, at[1] + 0.03, f"{share:.0%} of members", ha=side, va="top", fontsize=8, color=INK, zorder=5)
    axes.text(x, at[1] - 0.09, f"{_share(honest)} of honest keys", ha=side, va="top", fontsize=8, color=INK, zorder=5)


def _words(axes: Axes, one: Reported, names: Sequence[str], shown: int, alone: int) -> None:
    campaign = one.campaign
    axes.set_xlim(-2.55, 2.55)
    axes.set_ylim(-1.28, 1.5)
    axes.set_aspect("equal")
    part = f", {shown} of them shown" if shown < len(campaign.members) else ""
    axes.text(
        0, 1.46, f"{label(campaign.id)} · {one.level.name.lower()} · score {one.score:.3f}", fontsize=11.5,
        fontweight="bold", ha="center", va="top", color=INK, parse_math=False,
    )  # fmt: skip
    axes.text(
        0, 1.27, f"{len(campaign.members):,} keys{part} · {campaign.organisations:,} organisations · "
        f"{campaign.requests:,} requests · {alone:,} flagged by themselves", fontsize=8.5, ha="center", va="top", color=INK,
    )  # fmt: skip
    rest = [_worded(said.channel) for said in campaign.evidence if said.channel not in names]
    if rest:
        text = f"as a group also: {', '.join(rest)}"
        axes.text(0, -1.18, text, fontsize=8.5, ha="center", va="center", color=INK, style="italic")


def hours(campaigns: Sequence[Reported], tracks: Mapping[str, Track], path: Path, start_us: int, end_us: int) -> None:
    """Requests per hour of the members, stacked, a row per campaign; how many belong; and the first alarm."""
    shown = campaigns[:MOST]
    top, row, bottom = 0.75, 1.9, 0.55
    height = top + row * len(shown) + bottom
    figure = Figure(figsize=(11, height), dpi=_DPI)
    figure.subplots_adjust(left=0.06, right=0.94, top=1 - top / height, bottom=bottom / height, hspace=0.35)
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, one in zip(rows, shown, strict=True):
        _hours(axes, one, tracks, start_us, end_us)
    rows[-1].set_xlabel("event time (UTC)", fontsize=8)
    locator = dates.AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]
    rows[-1].xaxis.set_major_locator(locator)
    rows[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    rows[-1].xaxis.get_offset_text().set_fontsize(7)
    figure.suptitle(
        f"Requests per hour of a campaign's members (left; a shade each for the {STACKED} busiest, grey the others),\n"
        "members (line, right), first report (▼)",
        fontsize=10, y=1 - 0.12 / height,
    )  # fmt: skip
    save(figure, path)


def _hours(axes: Axes, one: Reported, tracks: Mapping[str, Track], start_us: int, end_us: int) -> None:
    campaign = one.campaign
    edges = np.arange(start_us // HOUR_US * HOUR_US, end_us + HOUR_US, HOUR_US)
    counts = [_by_hour(tracks.get(member.key_id), edges) for member in campaign.members]
    counts.sort(key=lambda column: -int(column.sum()))
    layers = counts[:STACKED] + ([np.sum(counts[STACKED:], axis=0)] if len(counts) > STACKED else [])
    days = edges / 86_400e6
    base = np.zeros(len(edges) - 1)
    for number, layer in enumerate(layers):
        top = base + layer
        colour = _OTHERS if number >= STACKED else _shade(number)
        axes.stairs(top, days, baseline=base, fill=True, color=colour, linewidth=0)
        base = top
    axes.set_ylim(0, max(1.0, 1.25 * float(base.max(initial=0.0))))
    axes.set_ylabel("req/h", fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.tick_params(labelsize=7)
    axes.spines["top"].set_visible(False)
    title = f"{label(campaign.id)} · {one.level.name.lower()} · {len(campaign.members):,} keys"
    axes.set_title(title, fontsize=8.5, loc="left", pad=3, parse_math=False)
    joined = sorted(member.joined_us for member in campaign.members)
    right = axes.twinx()
    steps_us = [start_us, *joined, end_us]
    belonging = [*range(len(joined) + 1), len(joined)]
    colour = LEVEL_COLOURS[Level.SUSPECT]
    right.step([at / 86_400e6 for at in steps_us], belonging, where="post", color=colour, linewidth=1.6)
    right.set_ylim(0, 1.25 * max(1, len(joined)))
    right.set_ylabel("members", fontsize=8, color="#8A5F00")
    right.tick_params(labelsize=7, colors="#8A5F00")
    right.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    right.spines["top"].set_visible(False)
    flagged = one.flagged_us / 86_400e6
    right.axvline(flagged, color=_ALONE, linewidth=1.0, linestyle=":")
    right.plot([flagged], [1.17 * max(1, len(joined))], marker="v", color=_ALONE, markersize=8)
    axes.set_xlim(start_us / 86_400e6, end_us / 86_400e6)


def _by_hour(track: Track | None, edges: np.ndarray[tuple[int], np.dtype[np.int64]]) -> layout.Floats:
    column = np.zeros(len(edges) - 1)
    for at_us, count in track.hours.items() if track is not None else ():
        at = (at_us - int(edges[0])) // HOUR_US
        if 0 <= at < len(column):
            column[at] += count
    return column


def _shade(number: int) -> tuple[float, float, float]:
    """Two blues in turn, lighter the higher: neighbours in a stack can be told apart."""
    strong = np.array([int(BLUE[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0
    light = 0.07 * number + (0.16 if number % 2 else 0.0)
    red, green, blue = (strong + (1.0 - strong) * light).tolist()
    return red, green, blue


def _colours(campaigns: Sequence[Reported]) -> dict[str, str]:
    """Channel → colour, for every channel that ties a shown member; the weightiest over all first."""
    weight: dict[str, float] = {}
    for one in campaigns:
        tying = {name for member in one.campaign.members for name in member.channels}
        for said in one.campaign.evidence:
            if said.channel in tying:
                weight[said.channel] = weight.get(said.channel, 0.0) + said.nats * said.share
    order = sorted(weight, key=lambda name: (-weight[name], name))
    return {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(order)}


def _strongest(channels: Sequence[str], told: Mapping[str, object], colours: Mapping[str, str]) -> str:
    return next((colours[name] for name in channels if name in told and name in colours), "#AAAAAA")


def _worded(name: str) -> str:
    return label(name.replace("_", " "))


def _share(share: float) -> str:
    return "under 0.1%" if share < 0.001 else f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
