"""Every panel's query, asked of a real Prometheus that has seen a campaign."""

from __future__ import annotations

import math
from typing import Any

import pytest

from app.telemetry.dashboards import DASHBOARDS
from app.telemetry.dashboards.panel import WINDOW, Panel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PANELS = [
    pytest.param(panel, id=f"{dashboard.uid.removeprefix('stillwatch-')}: {panel.title}")
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
]
RISING = [each for each in PANELS if each.values[0].rises]
WINDOW_SEC = "5s"
"""Grafana's rule with a scrape a second: four scrapes, and one more."""


def totals(seen: Any, panel: Panel, begin: float, end: float) -> list[float]:
    """The sum over a panel's series, for each moment."""
    sums: dict[float, float] = {}
    for query in panel.queries:
        for series in seen.prometheus.query_range(query.expr.replace(WINDOW, WINDOW_SEC), begin, end):
            for at, value in series.points:
                sums[at] = sums.get(at, 0.0) + (0.0 if math.isnan(value) else value)
    return list(sums.values())


@pytest.mark.parametrize("panel", PANELS)
def test_every_query_returns_data(seen: Any, panel: Panel) -> None:
    """During the campaign each query gives at least one series, and at least one number that is a number."""
    for query in panel.queries:
        found = seen.prometheus.query(query.expr.replace(WINDOW, WINDOW_SEC), seen.moments.end)
        assert found, query.expr
        assert any(not math.isnan(series.points[0][1]) for series in found), query.expr


@pytest.mark.parametrize("panel", PANELS)
def test_series_of_a_panel_can_be_told_apart(seen: Any, panel: Panel) -> None:
    """Two lines of one panel never have the same legend, and every label that a legend names is there."""
    legends = []
    for query in panel.queries:
        for series in seen.prometheus.query(query.expr.replace(WINDOW, WINDOW_SEC), seen.moments.end):
            text = query.legend
            for label, value in series.labels.items():
                text = text.replace(f"{{{{{label}}}}}", value)
            assert "{{" not in text, query.legend
            legends.append(text)
    assert len(set(legends)) == len(legends)


@pytest.mark.parametrize("panel", RISING)
def test_a_panel_about_the_attack_rises_with_it(seen: Any, panel: Panel) -> None:
    """The most that it shows during the attack is more than the most that it showed before."""
    before = totals(seen, panel, seen.moments.begin, seen.moments.attack)
    during = totals(seen, panel, seen.moments.attack, seen.moments.end + 3)
    assert max(during) > max(before, default=0.0)
