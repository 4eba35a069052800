"""The Grafana dashboards as data: `python -m app.telemetry.dashboards` writes them to `deploy/grafana/dashboards/`.

panel     what a panel is, and the queries that several share
overview  is the service well, and is somebody harvesting
detection who is flagged, what they took, what is done about it, and whether it was right
limits    what budgets and rules do to requests
pipeline  the way of an event, and what happens when a part of the service is away
grafana   panels → Grafana's JSON

Every query is right for several processes: counters are rated and then summed, buckets are summed before a quantile is
taken, and of gauges that all hold the same thing the largest is shown.
"""

from __future__ import annotations

from app.telemetry.dashboards.detection import DETECTION
from app.telemetry.dashboards.limits import LIMITS
from app.telemetry.dashboards.overview import OVERVIEW
from app.telemetry.dashboards.panel import Dashboard
from app.telemetry.dashboards.pipeline import PIPELINE

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, DETECTION, LIMITS, PIPELINE)
