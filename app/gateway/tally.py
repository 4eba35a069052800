"""The gateway's metrics with their labels looked up once: a look-up costs more than the count."""

from __future__ import annotations

from prometheus_client import Counter

from app.telemetry import metrics


class Tally:
    """Counts of one gateway. Labels come from fixed lists, so the memories below are bounded."""

    __slots__ = ("_children", "decision_seconds", "first_byte_seconds", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self._children: dict[tuple[Counter, str, str], Counter] = {}
        self.input_tokens = metrics.TOKENS.labels("input")
        self.output_tokens = metrics.TOKENS.labels("output")
        self.decision_seconds = metrics.DECISION_SECONDS
        self.first_byte_seconds = metrics.FIRST_BYTE_SECONDS

    def count(self, counter: Counter, first: str, second: str = "") -> None:
        """Add one to the child of `counter` with these labels."""
        key = (counter, first, second)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = counter.labels(first, second) if second else counter.labels(first)
        child.inc()

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

    def fell_back(self, policy: str) -> None:
        """One request was decided without state."""
        self.count(metrics.FALLBACK, policy)

    def would_have(self, action: str) -> None:
        """Shadow mode did not take this action."""
        self.count(metrics.SHADOW, action)


_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")
