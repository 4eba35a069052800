"""A key's recent exchanges: from the log and from the archive, page by page, never a text, and every reading on record."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from app.admin import recent
from app.state.keys import PartitionKeys, partition_of
from app.worker import rows
from detectors.fingerprint import fingerprint

KEY = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
ORG = "org-of-some-keys"


async def _paged(desk: Any, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before = ""
    while True:
        page = await desk.get(f"/v1/keys/{KEY}/events", params={"limit": limit, "before": before})
        assert page["archive"]
        found += page["events"]
        before = page["next_before"]
        if before is None:
            return found
        assert len(found) < 1000


async def _waiting(desk: Any, numbers: range, key_id: str = KEY, org_id: str = ORG) -> None:
    """Rows that a worker has applied and not archived yet."""
    name = PartitionKeys(partition_of(org_id or key_id, 4)).rows
    for number in numbers:
        event = desk.event(number, key_id, org_id)
        entry_id = f"{time.time_ns() // 1_000_000 + number}-0"
        await desk.state.xadd(name, {"r": rows.encode(event, fingerprint(event))}, id=entry_id)


async def test_archived_and_waiting_exchanges_are_one_list(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first, each once, whatever the page size and however little one answer may look through."""
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"org_id": ORG})
    await desk.work([desk.event(number, (KEY, OTHER)[number % 2], ORG) for number in range(40)])
    await _waiting(desk, range(100, 106))
    await _waiting(desk, range(106, 109), OTHER)
    names = PartitionKeys(partition_of(ORG, 4))
    assert await desk.state.xlen(names.rows) == 9
    whole = await _paged(desk, 500)
    assert len(whole) == 26
    assert len({event["id"] for event in whole}) == 26
    for limit in (1, 7, 26):
        assert await _paged(desk, limit) == whole
    monkeypatch.setattr(recent, "_CHUNK", 2)
    monkeypatch.setattr(recent, "MAX_WAITING", 2)
    monkeypatch.setattr(recent, "MAX_FILES", 1)
    assert await _paged(desk, 500) == whole


async def test_no_text_is_told(desk: Any) -> None:
    """Neither prompt nor answer, nor what a client wrote where a name belongs."""
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"org_id": ORG})
    event = msgspec.structs.replace(
        desk.event(1, KEY, ORG), model="CANARY in a name", reasoning_effort="CANARY effort!", user_head="CANARY-HEAD"
    )
    await desk.work([event, desk.event(2, KEY, ORG)])
    answer = await desk.call("GET", f"/v1/keys/{KEY}/events")
    assert "CANARY" not in answer.text
    assert "integral" not in answer.text
    first, second = sorted(answer.json()["events"], key=lambda one: one["at"])
    assert (first["model"], first["reasoning_effort"], second["model"]) == ("other", "other", "large")
    assert (second["input_tokens"], second["latency_ms"], second["top_logprobs"]) == (40, 900.0, None)
    flags = await desk.call("GET", f"/v1/keys/{KEY}/flags")
    assert "CANARY" not in flags.text


async def test_reading_is_on_record_and_needs_its_permission(desk: Any) -> None:
    """An analyst may and a viewer may not; who read what about whom is in the audit log."""
    await desk.work([desk.event(1, KEY)])
    viewer, analyst = await desk.token("viewer"), await desk.token("analyst", name="Ann")
    assert (await desk.as_(viewer, "GET", f"/v1/keys/{KEY}/events")).status_code == 403
    assert (await desk.as_(analyst, "GET", f"/v1/keys/{KEY}/events", params={"limit": 5})).status_code == 200
    record = (await desk.get("/v1/audit"))["records"][0]
    assert (record["action"], record["subject"], record["name"]) == ("events.read", f"key:{KEY}", "Ann")
    assert record["after"]["limit"] == 5
    unknown = await desk.get(f"/v1/keys/{'9' * 32}/events")
    assert (unknown["events"], unknown["next_before"]) == ([], None)
    await desk.get(f"/v1/keys/{KEY}/events", status=422, params={"before": "yesterday"})
