"""Writes the dashboards: `python -m app.telemetry.dashboards [FOLDER]`, `deploy/grafana/dashboards` by default."""

from __future__ import annotations

import sys
from pathlib import Path

from app.telemetry.dashboards import DASHBOARDS
from app.telemetry.dashboards.grafana import render

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "deploy/grafana/dashboards")
    folder.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        (folder / f"{dashboard.uid}.json").write_text(render(dashboard), encoding="utf-8")
