"""The metrics themselves: bounded labels, series that begin at zero, and who shows what."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import Counter, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from app.telemetry import metrics

APP = Path(__file__).parents[3] / "app"


def _names(process: str) -> set[str]:
    return {family.name for family in metrics.Shown(process).collect()}


def test_labels_are_never_about_one_customer() -> None:
    """No metric has a label for a key, an organisation, a path, an address or text of a client."""
    declared = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    labels = {label for metric in declared for label in metric._labelnames}
    assert not labels & {"key", "key_id", "org", "org_id", "path", "ip", "address", "request_id", "campaign", "prompt"}


def test_series_of_known_labels_begin_at_zero() -> None:
    """A counter that appears with its first count shows no increase for it, and no alert would see the first loss."""
    exposed = generate_latest(metrics.REGISTRY).decode()
    for name, labels in metrics.FIXED.items():
        for label, values in labels.items():
            for value in values:
                assert re.search(rf'^{name}(?:_total)?{{[^}}]*{label}="{value}"', exposed, re.MULTILINE), (name, value)


def test_a_process_shows_only_what_it_can_know() -> None:
    """Whether a gateway has state is no business of the worker, whose gauge would stand at 0 for ever."""
    assert "stillwatch_state_up" in _names("gateway")
    assert "stillwatch_state_up" not in _names("worker") | _names("admin")
    assert "stillwatch_keys" in _names("worker")
    assert "stillwatch_keys" not in _names("gateway") | _names("admin")
    assert "stillwatch_audit_write_failures" in _names("admin")
    assert "stillwatch_kill_switch" in _names("gateway") & _names("worker")


def test_every_metric_is_shown_by_some_process() -> None:
    """None is declared and then hidden from everybody."""
    assert _names("gateway") | _names("worker") | _names("admin") == {family.name for family in metrics.REGISTRY.collect()}


def test_every_metric_is_counted_somewhere() -> None:
    """A name in a dashboard that nobody ever sets would look like a service without trouble."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in APP.rglob("*.py") if path.name != "metrics.py")
    declared = {name for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
    assert {name for name in declared if not re.search(rf"\bmetrics\.{name}\b", text)} == set()


def test_counters_are_named_as_counters() -> None:
    """`_total` at the end and one prefix, as the naming rules of Prometheus have it."""
    for name, value in vars(metrics).items():
        if isinstance(value, MetricWrapperBase):
            assert value._name.startswith("stillwatch_"), name
            assert isinstance(value, Counter) or not value._name.endswith("_total")
