"""The gateway's metrics as plain numbers, handed to the registry when it is read: a metric's own lock and label look-up
cost ten times the count.
"""

from __future__ import annotations

from prometheus_client import Counter

from app.telemetry import metrics


class Tally:
    """Counts of one gateway. Labels come from fixed lists, so the memories below are bounded."""

    __slots__ = ("__weakref__", "_counts", "decision_seconds", "first_byte_seconds", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self._counts: dict[tuple[Counter, str, str], int] = {}
        self.input_tokens = 0
        self.output_tokens = 0
        metrics.before_reading(self)
        self.decision_seconds = metrics.DECISION_SECONDS
        self.first_byte_seconds = metrics.FIRST_BYTE_SECONDS

    def count(self, counter: Counter, first: str, second: str = "") -> None:
        """Add one to the child of `counter` with these labels."""
        key = (counter, first, second)
        counts = self._counts
        counts[key] = counts.get(key, 0) + 1

    def flush(self) -> None:
        """Add what was counted since the last time to the metrics."""
        counts, self._counts = self._counts, {}
        for (counter, first, second), number in counts.items():
            (counter.labels(first, second) if second else counter.labels(first)).inc(number)
        metrics.TOKENS.labels("input").inc(self.input_tokens)
        metrics.TOKENS.labels("output").inc(self.output_tokens)
        self.input_tokens = self.output_tokens = 0

    def decided(self, route: str, decision: str) -> None:
        """One request of this route got this decision."""
        self.count(metrics.REQUESTS, route, decision)

    def answered(self, route: str, status: int) -> None:
        """One answer of this route went out."""
        self.count(metrics.RESPONSES, route, _CLASSES[status // 100] if 100 <= status < 600 else "other")

    def ended(self, outcome: str) -> None:
        """One exchange ended like this."""
        self.count(metrics.OUTCOMES, outcome)

    def rejected(self, why: str) -> None:
        """One request broke a rule and was not forwarded."""
        self.count(metrics.REJECTS, why)

    def own_error(self, cause: str) -> None:
        """One answer with 5xx was made by us, or none could be made."""
        metrics.OWN_ERRORS_TOTAL.labels(cause).inc()

    def fell_back(self, policy: str) -> None:
        """One request was decided without state."""
        metrics.FALLBACK.labels(policy).inc()

    def acted(self, action: str, effect: str) -> None:
        """One request was touched by an action, or would have been."""
        self.count(metrics.ACTIONS, action, effect)

    def would_have(self, action: str) -> None:
        """Shadow mode did not take this action."""
        metrics.SHADOW.labels(action).inc()


_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")
