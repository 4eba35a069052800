"""What a panel is, and the queries that several panels share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WINDOW = "$__rate_interval"
"""Grafana's own choice of a window: at least four scrapes, and never shorter than a step of the graph."""

Kind = Literal["timeseries", "stat"]
Unit = Literal["short", "reqps", "s", "percentunit", "bytes", "ops", "cpm", "none", "tps"]
"""Grafana's unit names; `tps` is the custom unit of tokens a second, `cpm` counts a minute, `ops` operations a second."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression.

    Attributes:
        expr: may hold `$__rate_interval` and no other variable.
        legend: Grafana's legend format, {{label}} where there are several series.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class State:
    """What a number means: text, and a colour that is not the only sign."""

    value: int
    text: str
    colour: Literal["green", "orange", "red"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: what is shown.
        description: what it means, and what to look for.
        unit: of every query.
        queries: at least one.
        kind: a graph, or the newest value as a number.
        width: of 24 columns.
        rises: what it shows grows while keys harvest the model; tests hold it to that.
        states: names for the values of a gauge.
        red_above: from here on the value is shown in red; None never.
        runbook: name of the alert whose page says what to do; "" for none.
        stacked: the series are parts of a whole.
    """

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    rises: bool = False
    states: tuple[State, ...] = ()
    red_above: float | None = None
    runbook: str = ""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, and the panels below it, from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard. `uid` is its name in links and files."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, in reading order."""
        return tuple(panel for row in self.rows for panel in row.panels)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """How much a counter grows a second, over all processes."""
    selector = f"{{{where}}}" if where else ""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{selector}[{WINDOW}]))"


def quantile(share: float, histogram: str) -> str:
    """A quantile over the observations of all processes."""
    return f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket[{WINDOW}])))"


def quantiles(histogram: str, *shares: float) -> tuple[Query, ...]:
    """One query for each share, with p50, p99, … as legend."""
    return tuple(Query(quantile(share, histogram), f"p{share * 100:g}") for share in shares)


KILL_SWITCH = Panel(
    "Kill switch",
    "The largest value that any process holds. On: a person or a file has switched off what Stillwatch does about verdicts "
    "and orders, or its limits too. It is effective within a second and stays until somebody takes it back.",
    "none",
    (Query("max (stillwatch_kill_switch)", "kill switch"),),
    kind="stat",
    width=6,
    states=(
        State(0, "off: Stillwatch acts", "green"),
        State(1, "ON: no actions", "red"),
        State(2, "ON: no actions, no limits", "red"),
    ),
    runbook="StillwatchKillSwitch",
)

FALLBACK = Panel(
    "Decisions without state",
    "Whether any gateway decides by its failure policy now because the state server is away, frozen or too slow.",
    "none",
    (Query("max (stillwatch_fallback_active)", "fallback"),),
    kind="stat",
    width=6,
    states=(State(0, "no: state decides", "green"), State(1, "YES: failure policy", "red")),
    runbook="StillwatchFallbackActive",
)

DECISION_SECONDS = Panel(
    "Time of a decision",
    "The one round trip to the state server before a request is forwarded, over all gateways. Above 50 ms the timeout "
    "strikes and the failure policy decides.",
    "s",
    quantiles("stillwatch_decision_seconds", 0.5, 0.9, 0.99),
    red_above=0.05,
    runbook="StillwatchDecisionSlow",
)
