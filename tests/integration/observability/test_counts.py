"""Counts of several processes, and how many series they make."""

from __future__ import annotations

from typing import Any

import pytest

from app.gateway.routes import MODELS, OTHER, operation
from app.telemetry import metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MOST_SERIES = 2_000
ROUTES = {
    MODELS.name,
    OTHER.name,
    *(operation(name).name for name in ("chat", "responses", "completions", "embeddings", "messages", "count_tokens")),
}
OPEN = {
    ("stillwatch_requests_total", "route"): ROUTES,
    ("stillwatch_requests_total", "decision"): {"allow", "throttled", "limited", "refused"},
    ("stillwatch_responses_total", "route"): ROUTES,
    ("stillwatch_responses_total", "status"): {"1xx", "2xx", "3xx", "4xx", "5xx", "other"},
    ("stillwatch_admin_requests_total", "status"): {"1xx", "2xx", "3xx", "4xx", "5xx"},
}
"""Labels whose series begin with their first count, and every value that they can have."""


def test_counters_of_three_gateways_sum_to_what_clients_sent(seen: Any) -> None:
    """Not one request is counted twice or not at all, and each became one event that was applied once."""
    assert seen.sent > 200
    assert seen.counted == seen.sent
    assert seen.applied == seen.sent


def test_ten_thousand_keys_make_no_more_series_than_one(seen: Any) -> None:
    """All processes together stay below two thousand series, those that Prometheus adds included."""
    assert seen.crowd_answered == 10_000
    assert seen.keys >= 10_000
    assert set(seen.series_by_job) == {"stillwatch-gateway", "stillwatch-worker", "stillwatch-admin"}
    assert seen.series < MOST_SERIES, seen.series_by_job


def test_labels_have_no_value_that_was_not_known_before(seen: Any) -> None:
    """Where a metric's label has a fixed list, real traffic has brought no other value."""
    for name, labels in metrics.FIXED.items():
        for label, values in labels.items():
            found = seen.labels.get((name, label), set()) | seen.labels.get((f"{name}_total", label), set())
            assert found
            assert found <= set(values), (name, label, found - set(values))


@pytest.mark.parametrize(("metric", "label"), OPEN)
def test_other_labels_have_values_from_a_list_too(seen: Any, metric: str, label: str) -> None:
    """Routes are classes of paths, statuses classes of codes; nothing a client sends becomes a label."""
    assert seen.labels[metric, label]
    assert seen.labels[metric, label] <= OPEN[metric, label]
