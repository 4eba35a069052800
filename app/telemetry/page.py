"""The metrics as a page for people: `python -m app.telemetry.page > docs/metrics.md`."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from app.telemetry import metrics

_INTRO = """\
# Metrics

Every process serves `/metrics` (Prometheus text format) on its own port. Generated from `app/telemetry/metrics.py`; do not
edit this page. Labels come from fixed lists: no key, path, address or client-supplied model name is ever one.

| Metric | Kind | Labels | Meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page, as Markdown; metrics in the order in which they are declared."""
    declared = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    return _INTRO + "".join(_row(metric) for metric in declared)


def _row(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "–"
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |\n"


if __name__ == "__main__":
    print(page(), end="")
