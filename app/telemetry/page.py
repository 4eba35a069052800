"""The metrics as a page for people: `python -m app.telemetry.page > docs/metrics.md`."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from app.telemetry import metrics

_INTRO = """\
# Metrics

Every process serves `/metrics` (Prometheus text format) on its own port. Generated from `app/telemetry/metrics.py`; do not
edit this page. Labels come from fixed lists: no key, path, address or client-supplied model name is ever one; `peer` is
a name of your own `intel.peers_file`. Where the
values of a label are listed here, their series begin at zero; others begin with their first count. A process shows what it
can know.

| Metric | Kind | Labels | Shown by | Meaning |
| --- | --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page, as Markdown; metrics in the order in which they are declared."""
    declared = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    return _INTRO + "".join(_row(metric) for metric in declared)


def _row(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    known = metrics.FIXED.get(metric._name, {})
    labels = ", ".join(_label(label, known.get(label, ())) for label in metric._labelnames) or "–"
    shown = ", ".join(process for process in metrics.PROCESSES if not metrics.Shown(process).hides(family.name))
    return f"| `{name}` | {family.type} | {labels} | {shown} | {family.documentation} |\n"


def _label(name: str, values: tuple[str, ...]) -> str:
    return f"`{name}` ({', '.join(values)})" if values else f"`{name}`"


if __name__ == "__main__":
    print(page(), end="")
