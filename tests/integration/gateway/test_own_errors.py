"""Answers with 5xx that the gateway makes itself are counted by whose failure they are."""

from __future__ import annotations

from typing import Any

import pytest

from app.limits.limiter import Decision
from app.telemetry import metrics

BODY = b'{"model": "still-large-2", "messages": [{"role": "user", "content": "hi"}]}'


class Limiter:
    """A limiter that answers alike each time, or fails."""

    def __init__(self, decision: Decision | None) -> None:
        self._decision = decision

    async def decide(self, ask: Any) -> Decision:
        """What it was made with."""
        if self._decision is None:
            raise RuntimeError("a fault of ours")
        return self._decision

    def settle(self, reservation: Any, **told: Any) -> None:
        """Nothing is charged here."""


def counted(cause: str) -> float:
    """How often, so far."""
    return metrics.REGISTRY.get_sample_value("stillwatch_own_errors_total", {"cause": cause}) or 0.0


def ask(key: str) -> bytes:
    """One chat request."""
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: a",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + BODY


@pytest.mark.parametrize(
    ("cause", "status", "services", "upstream"),
    [
        ("upstream", 502, {}, "http://127.0.0.1:1"),
        ("unavailable", 503, {"limiter": Limiter(Decision(False, "unavailable", degraded="closed"))}, ""),
        ("internal", 500, {"limiter": Limiter(None)}, ""),
    ],
)
def test_an_error_is_counted_by_its_cause(
    rig: Any, raw: Any, key: str, cause: str, status: int, services: dict[str, Any], upstream: str
) -> None:
    """One more of this cause, none of another: the upstream's failures are not taken for ours."""
    gateway = rig.gateway(upstream=upstream, **services)
    before = {name: counted(name) for name in metrics.OWN_ERRORS}
    assert raw(gateway.url, [ask(key)]).reply.status == status
    after = {name: counted(name) for name in metrics.OWN_ERRORS}
    assert {name: after[name] - before[name] for name in after} == dict.fromkeys(before, 0.0) | {cause: 1.0}


def test_an_answer_without_error_is_not_counted(rig: Any, raw: Any, key: str) -> None:
    """A plain answer leaves every cause where it was."""
    before = {name: counted(name) for name in metrics.OWN_ERRORS}
    assert raw(rig.gateway().url, [ask(key)]).reply.status == 200
    assert {name: counted(name) for name in metrics.OWN_ERRORS} == before
