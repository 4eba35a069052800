"""An operator erases what is known of a key, and sees when it is done."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from app.state.keys import partition_of
from app.state.orders import Order, Orders
from app.worker.worker import Worker, load_analysis

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
ERASE = f"/v1/keys/{KEY}:erase"
WHY = {"reason": "request of the data subject"}


async def test_a_key_is_erased_and_the_other_stays(desk: Any) -> None:
    """Accepted at once, done by the workers, told with numbers; then the key was never seen and its account is gone."""
    await desk.call("PUT", f"/v1/accounts/{KEY}", json={"plan": "payg"})
    events = [desk.event(number, key) for number in range(30) for key in (KEY, OTHER)]
    await desk.work(events)
    assert (await desk.get(f"/v1/keys/{KEY}"))["key_id"] == KEY
    held = await desk.get(f"/v1/keys/{KEY}/held")
    kept = {one["what"]: one["until"] is None for one in held["records"]}
    assert kept.pop("account")
    assert "profile" in kept
    assert not any(kept.values())
    assert (held["archive_days"], held["audit_days"]) == (90, 400)
    assert await desk.get(ERASE, 404)
    answer = await desk.call("POST", ERASE, json={**WHY, "account": True})
    assert answer.status_code == 202
    assert not answer.json()["complete"]
    stop = asyncio.Event()
    worker = asyncio.create_task(Worker(desk.state, desk.settings, load_analysis(desk.settings), "w2").run(stop))
    async with asyncio.timeout(30):
        while not (found := await desk.get(ERASE))["complete"]:  # noqa: ASYNC110 - a worker completes it
            await asyncio.sleep(0.1)
    stop.set()
    await worker
    assert found["rows"] == 30
    assert found["records"] >= 1
    await desk.get(f"/v1/keys/{KEY}", 404)
    assert (await desk.get(f"/v1/keys/{KEY}/held"))["records"] == []
    await desk.get(f"/v1/accounts/{KEY}", 404)
    assert (await desk.get(f"/v1/keys/{OTHER}"))["key_id"] == OTHER


async def test_an_erasure_needs_a_reason_a_permission_and_no_order(desk: Any) -> None:
    """A short reason, another role and a standing order are refused, each with its own status, and nothing is asked for."""
    assert (await desk.call("POST", ERASE, json={"reason": "short"})).status_code == 422
    analyst = await desk.token("analyst")
    assert (await desk.as_(analyst, "POST", ERASE, json=WHY)).status_code == 403
    now_us = time.time_ns() // 1000
    order = Order(since_us=now_us, until_us=now_us + 3_600_000_000, ref="sw-abc", action="suspend")
    await Orders(desk.state).place(KEY, {partition_of(KEY, desk.settings.state.partitions)}, order, {})
    refused = await desk.call("POST", ERASE, json=WHY)
    assert refused.status_code == 409
    assert "sw-abc" in refused.json()["detail"]
    assert f"stillwatch orders undo --all -k {KEY}" in refused.json()["detail"]
    await desk.get(ERASE, 404)
