"""Panels → Grafana's dashboard JSON, for provisioning from files."""

from __future__ import annotations

import json
from typing import Any

from app.telemetry.dashboards.panel import Dashboard, Panel, Query, Unit

SCHEMA_VERSION = 41
"""Of Grafana 11.6, which docker-compose.yml runs; newer ones migrate a dashboard when they load it."""

COLUMNS = 24
ROW_HEIGHT, STAT_HEIGHT, GRAPH_HEIGHT = 1, 4, 8

RUNBOOKS = "docs/runbooks"
"""Where the pages of the alerts are, unless the dashboards' field says otherwise: this project's own folder."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_UNITS: dict[Unit, str] = {"tps": "suffix: tokens/s"}


def render(dashboard: Dashboard) -> str:
    """The file, with a newline at its end; the same dashboard gives the same bytes."""
    return json.dumps(document(dashboard), indent=2, ensure_ascii=False) + "\n"


def document(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana's file provisioning reads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["stillwatch"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # the crosshair is shared by all panels
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0},
                {
                    "name": "runbooks",
                    "label": "Runbooks at",
                    "type": "textbox",
                    "query": RUNBOOKS,
                    "current": {"text": RUNBOOKS, "value": RUNBOOKS},
                    "hide": 0,
                },
            ]
        },
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "tags": ["stillwatch"], "asDropdown": False, "includeVars": True, "keepTime": True,
             "title": "Stillwatch"}
        ],
        "panels": _panels(dashboard),
    }  # fmt: skip


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Every row heading and panel with its place, from left to right and down."""
    found: list[dict[str, Any]] = []
    top = 0
    for row in dashboard.rows:
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": ROW_HEIGHT},
                "panels": [],
            }
        )
        top += ROW_HEIGHT
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            height = STAT_HEIGHT if panel.kind == "stat" else GRAPH_HEIGHT
            place = {"x": left, "y": top, "w": panel.width, "h": height}
            found.append({"id": len(found) + 1, "gridPos": place, **_panel(panel)})
            left, tallest = left + panel.width, max(tallest, height)
        top += tallest
    return found


def _panel(panel: Panel) -> dict[str, Any]:
    stat = panel.kind == "stat"
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [_target(query, place, stat) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _stat_options(panel) if stat else _GRAPH_OPTIONS,
        "links": [_runbook(panel.runbook)] if panel.runbook else [],
    }


def _target(query: Query, place: int, instant: bool) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + place),
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": instant,
        "range": not instant,
        "editorMode": "code",
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    states = {str(state.value): {"text": state.text, "color": state.colour, "index": state.value} for state in panel.states}
    field: dict[str, Any] = {
        "unit": _UNITS.get(panel.unit, panel.unit),
        "min": 0,
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [{"type": "value", "options": states}] if states else [],
    }
    if panel.kind == "timeseries":
        field["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.red_above is not None else "off"},
        }
    return field


def _stat_options(panel: Panel) -> dict[str, Any]:
    return {
        "colorMode": "background" if panel.states or panel.red_above is not None else "none",
        "graphMode": "none",
        "textMode": "value_and_name" if len(panel.queries) > 1 or "{{" in panel.queries[0].legend else "value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }


_GRAPH_OPTIONS = {
    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull"]},
    "tooltip": {"mode": "multi", "sort": "desc"},
}


def _runbook(alert: str) -> dict[str, Any]:
    return {"title": f"What to do: {alert}", "url": f"${{runbooks:raw}}/{alert}.md", "targetBlank": True}
