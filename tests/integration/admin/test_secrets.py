"""No secret and nothing a caller sent comes back in an error, a log line or a metric."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from app.admin.routes_keys import log as routes_log
from app.state.keys import PartitionKeys, partition_of
from app.state.reading import StateReader
from detectors.contract import Level

CANARY = "qzxcanary7f3a9"
KEY = "0123456789abcdef" * 2


async def _provoke(desk: Any) -> list[str]:
    """Every kind of refusal, each with the canary in every place that a caller controls; the answers' texts and headers."""
    c = CANARY
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/{c}", {}),
        ("GET", f"/v1/keys/{c}", {}),
        ("GET", f"/v1/keys/{KEY}/{c}", {}),
        ("GET", f"/v1/orgs/{c}", {}),
        ("GET", f"/v1/orgs/{c}%20{c}", {}),
        ("GET", "/v1/keys", {"params": {"level": c}}),
        ("GET", "/v1/keys", {"params": {"cursor": c}}),
        ("GET", "/v1/keys", {"params": {"cursor": f"1.0:{c}"}}),
        ("GET", "/v1/keys", {"params": {c: c}}),
        ("GET", "/v1/accounts", {"params": {"cursor": c}}),
        ("GET", f"/v1/accounts/{c}", {}),
        ("PUT", f"/v1/accounts/{KEY}", {"content": c}),
        ("PUT", f"/v1/accounts/{KEY}", {"json": {c: c}}),
        ("PUT", f"/v1/accounts/{KEY}", {"json": {"org_id": c + " "}}),
        ("PUT", f"/v1/accounts/{KEY}", {"json": {"created_at": c}}),
        ("PUT", f"/v1/accounts/{KEY}", {"json": {"authorised": [c + "!"], "country": c}}),
        ("POST", "/v1/accounts:import", {"content": c}),
        ("POST", "/v1/accounts:import", {"json": {"key_id": c, c: c}}),
        ("POST", f"/v1/keys/{c}", {"content": c}),
        ("PUT", f"/v1/accounts/{KEY}", {"content": c * 10_000}),
        ("PUT", f"/v1/accounts/{KEY}", {"content": c, "headers": {"content-encoding": c}}),
        ("GET", "/v1/keys", {"headers": {"authorization": f"Bearer {c}"}}),
        ("GET", "/v1/keys", {"headers": {"authorization": f"{c} {c}", "x-request-id": c, "cookie": c}}),
    ]
    found = []
    for method, path, more in calls:
        answer = await desk.call(method, path, **more)
        if path != f"/v1/orgs/{c}" or answer.status_code != 404:
            assert answer.status_code >= 400 or "cursor" in str(more)
        found.append(f"{answer.text} {answer.headers}")
    return found


async def test_no_refusal_repeats_what_was_sent(desk: Any, caplog: pytest.LogCaptureFixture, token: str) -> None:
    """Neither the caller's words nor the token are in an answer, a log line or a metric."""
    caplog.set_level(logging.DEBUG)
    answers = await _provoke(desk)
    metrics = (await desk.call("GET", "/metrics")).text
    # The access log is switched off by cutting it from all handlers; pytest hangs its own on whatever is cut off.
    assert not logging.getLogger("uvicorn.access").propagate
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "uvicorn.access"))]
    logged = "\n".join(record.getMessage() for record in ours)
    for text in (*answers, metrics, logged):
        assert CANARY not in text
        assert token not in text


async def test_a_fault_inside_tells_its_place_and_nothing_else(
    desk: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """An unforeseen error is a 500 with one sentence; the log has its class and place, never its message."""

    async def broken(*_: Any) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(StateReader, "key_state", broken)
    answer = await desk.call("GET", f"/v1/keys/{KEY}")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "The request failed inside; the log of the admin process has the reason."
    assert "route get_key, RuntimeError at " in caplog.text
    assert "test_secrets.py" in caplog.text
    assert CANARY not in caplog.text + answer.text
    assert (await desk.call("GET", "/healthz")).status_code == 200


async def test_a_broken_state_is_logged_without_its_bytes(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What does not decode is named by its error's class; the stored bytes stay where they are."""
    await desk.judged(KEY, Level.SUSPECT)
    names = PartitionKeys(partition_of(KEY, desk.settings.state.partitions))
    await desk.state.set(names.profile("k", KEY), b"\xa5" + CANARY.encode())
    caplog.set_level(logging.WARNING, routes_log.name)
    await desk.get(f"/v1/keys/{KEY}")
    assert "does not decode" in caplog.text
    assert CANARY not in caplog.text
