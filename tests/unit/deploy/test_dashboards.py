"""The Grafana dashboards: the files are what the description renders, and every panel says what it shows."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.telemetry import metrics
from app.telemetry.dashboards import DASHBOARDS
from app.telemetry.dashboards.grafana import render

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/grafana/dashboards"
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
PANELS = [
    pytest.param(panel, id=f"{name.removeprefix('stillwatch-')}: {panel['title']}")
    for name, document in sorted(FILES.items())
    for panel in document["panels"]
    if panel["type"] != "row"
]
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
EXPORTED = {family.name + ending for family in metrics.REGISTRY.collect() for ending in ENDINGS[family.type]}
COUNTERS = {f"{family.name}_total" for family in metrics.REGISTRY.collect() if family.type == "counter"}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_the_file_is_what_the_description_renders(dashboard: Any) -> None:
    """A file that fell behind fails here, and the message says how to bring it up to date."""
    held = (FOLDER / f"{dashboard.uid}.json").read_text(encoding="utf-8")
    assert held == render(dashboard), "run: python -m app.telemetry.dashboards"


def test_there_are_four_dashboards_and_no_forgotten_file() -> None:
    """Overview, detection, limits, pipeline and failure, each under its own name."""
    assert set(FILES) == {dashboard.uid for dashboard in DASHBOARDS}
    assert set(FILES) == {f"stillwatch-{name}" for name in ("overview", "detection", "limits", "pipeline")}
    assert len({document["title"] for document in FILES.values()}) == 4


@pytest.mark.parametrize("document", FILES.values(), ids=FILES)
def test_a_dashboard_is_what_file_provisioning_reads(document: dict[str, Any]) -> None:
    """Its own uid, no database id, a data source to choose, and links to the other dashboards."""
    assert document["uid"]
    assert "id" not in document
    assert document["schemaVersion"] >= 39
    sources = [each for each in document["templating"]["list"] if each["type"] == "datasource"]
    assert [each["name"] for each in sources] == ["datasource"]
    assert any("stillwatch" in link["tags"] for link in document["links"])


@pytest.mark.parametrize("document", FILES.values(), ids=FILES)
def test_panels_have_their_own_ids_and_do_not_overlap(document: dict[str, Any]) -> None:
    """Everything lies within 24 columns, and no two panels share a cell."""
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x, y in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    """A unit, a description that ends as a sentence, a legend for every query, and the data source that was chosen."""
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"]) > 30
    assert panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("panel", PANELS)
def test_a_query_is_right_for_several_processes(panel: dict[str, Any]) -> None:
    """Metrics that exist; counters are rated before they are summed; quantiles are taken of summed buckets."""
    for target in panel["targets"]:
        expr = target["expr"]
        names = set(re.findall(r"stillwatch_\w+", expr))
        assert names <= EXPORTED, names - EXPORTED
        assert re.search(r"\b(sum|max|min|count)\b", expr)
        assert "rate(sum" not in expr.replace(" ", "")
        if "histogram_quantile" in expr:
            assert "sum by (le) (rate(" in expr
        rated = set(re.findall(r"(?:rate|increase)\((stillwatch_\w+)", expr))
        # The total since the start is the one counter that is shown as it is.
        assert {name for name in names & COUNTERS if name not in rated} <= {"stillwatch_leaked_responses_total"}
        assert set(re.findall(r"\$\w+", expr)) <= {"$__rate_interval"}


def test_the_kill_switch_stands_first_where_people_look_first() -> None:
    """Overview and pipeline begin with it, and it is red in words, too, when it is on."""
    for name in ("overview", "pipeline"):
        first = next(panel for panel in FILES[f"stillwatch-{name}"]["panels"] if panel["type"] != "row")
        assert first["title"] == "Kill switch"
        states = first["fieldConfig"]["defaults"]["mappings"][0]["options"]
        assert {state["color"] for value, state in states.items() if value != "0"} == {"red"}
        assert all(state["text"].startswith("ON") for value, state in states.items() if value != "0")


def test_links_of_panels_lead_to_pages_that_are_there() -> None:
    """A panel that an alert is about leads to that alert's page."""
    links = [link["url"] for document in FILES.values() for panel in document["panels"] for link in panel.get("links", [])]
    assert len(links) > 20
    for link in links:
        assert (ROOT / link.replace("${runbooks:raw}", "docs/runbooks")).is_file(), link


def test_attack_panels_are_on_the_pages_for_them() -> None:
    """What must rise with an attack is marked where people look for one; a test with a real Prometheus holds it to that."""
    assert all(
        any(panel.rises for panel in dashboard.panels) for dashboard in DASHBOARDS if dashboard.uid != "stillwatch-pipeline"
    )
