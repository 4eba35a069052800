"""Every metric of every process, once. Labels come from fixed lists: never a key, a path, or a model a client named.

Units are in the names (`_seconds`, `_bytes`); counters end in `_total`. `docs/metrics.md` is generated from this file.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric

REGISTRY = CollectorRegistry(auto_describe=True)


class Pending(Protocol):
    """Somebody who counts for himself and hands the counts over when they are asked for."""

    def flush(self) -> None:
        """Add what was counted to the metrics."""
        ...


class _Flush:
    """The registry's first collector: before anything is read, what is pending is added."""

    def __init__(self) -> None:
        self.sources: weakref.WeakSet[Pending] = weakref.WeakSet()

    def collect(self) -> Iterator[Metric]:
        """Metrics of its own it has none."""
        for source in list(self.sources):
            source.flush()
        return iter(())


_flush = _Flush()
REGISTRY.register(_flush)


def before_reading(source: Pending) -> None:
    """Have `source` hand over its counts whenever the registry is read. It is not kept alive for that."""
    _flush.sources.add(source)


_DECISION_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.06, 0.1, 0.25, 1.0)
_LATENCY_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"stillwatch_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"stillwatch_{name}", text, labels, registry=REGISTRY)


BUILD_INFO = _gauge("build_info", "Always 1; the version that runs.", "version", "process")

# Gateway
REQUESTS = _counter("requests_total", "Requests by route class and what was decided.", "route", "decision")
RESPONSES = _counter("responses_total", "Answers by route class and status class (2xx, 4xx, 5xx).", "route", "status")
OUTCOMES = _counter("outcomes_total", "How exchanges ended: complete, disconnected, upstream_cut, …", "outcome")
REJECTS = _counter("parser_rejects_total", "Requests refused before they were forwarded, by rule.", "why")
DECISION_SECONDS = Histogram(
    "stillwatch_decision_seconds",
    "Time of the one state round trip before forwarding.",
    buckets=_DECISION_BUCKETS,
    registry=REGISTRY,
)
FIRST_BYTE_SECONDS = Histogram(
    "stillwatch_upstream_first_byte_seconds",
    "Time from forwarding to the first byte of the answer.",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
INFLIGHT = _gauge("inflight_requests", "Requests being served by this process.")
TOKENS = _counter("tokens_total", "Tokens settled, by direction (input, output).", "direction")
SHADOW = _counter("would_have_total", "Actions that shadow mode did not take, by action.", "action")
FALLBACK = _counter("failure_mode_total", "Requests decided without state, by what the policy did.", "policy")

# Event log
EVENTS_APPENDED = _counter("events_appended_total", "Events acknowledged by the stream.")
EVENTS_SPOOLED = _counter("events_spooled_total", "Events written to the disk spool because state was away.")
EVENTS_DROPPED = _counter("events_dropped_total", "Events lost, by reason.", "reason")
SPOOL_BYTES = _gauge("spool_bytes", "Bytes waiting in the disk spool.")

# Worker
EVENTS_APPLIED = _counter("events_applied_total", "Events applied to profiles.")
EVENTS_DEAD = _counter("events_dead_total", "Entries moved to the dead-letter stream.")
PARTITIONS_OWNED = _gauge("partitions_owned", "Partitions this worker holds a lease for.")
STREAM_LAG = _gauge("stream_lag_entries", "Entries waiting in the streams this worker owns.")
STREAM_AGE_SECONDS = _gauge("oldest_unprocessed_seconds", "Age of the oldest entry waiting in owned streams.")
BATCH_SECONDS = Histogram(
    "stillwatch_batch_seconds",
    "Time to read, analyse and commit one batch.",
    buckets=_LATENCY_BUCKETS,
    registry=REGISTRY,
)
STATES_RESET = _counter("states_reset_total", "Stored entity states that did not decode, so the entity started anew.")
ARCHIVE_FAILURES = _counter("archive_failures_total", "Archive files that could not be written; they are tried again.")
SCORED = _counter("scored_keys_total", "Entities scored.")
VERDICTS = _counter("verdict_changes_total", "Verdicts that changed level, by new level.", "level")
ARCHIVED_ROWS = _counter("archived_rows_total", "Rows in finished archive files.")
LEASES_LOST = _counter("leases_lost_total", "Partitions whose lease was taken over before a commit.")

# Admin
ADMIN_REQUESTS = _counter("admin_requests_total", "Admin API requests by route name and status class.", "route", "status")
AUTH_FAILURES = _counter("auth_failures_total", "Refused credentials by kind.", "kind")
