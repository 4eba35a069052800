"""The would-have report over the API: what a real gateway logged and a real worker archived, with today's levels."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec

from app.demo.would_have import would_have
from app.worker.archive import list_files
from detectors.contract import Level

KEY = "0123456789abcdef" * 2


async def test_the_report_tells_what_was_archived(new_desk: Any, tmp_path: Path) -> None:
    """Requests, shares, plan and customer, and level and reason of its key as they are now."""
    async with new_desk(STILLWATCH_WORKER__ARCHIVE_SEC="0.1") as desk:
        now_us = time.time_ns() // 1000
        events = [
            msgspec.structs.replace(
                desk.event(number, KEY if number < 6 else "ab" * 16, "acme" if number < 6 else ""),
                at_us=now_us + number,
                action="would_throttle" if number < 4 else "",
            )
            for number in range(10)
        ]
        await desk.work(events)
        assert list_files(desk.settings.archive_dir)
        await desk.call("PUT", f"/v1/accounts/{KEY}", json={"org_id": "acme"})
        told = await desk.get("/v1/reports/would-have", params={"since": "1h"})
        assert (told["known"], told["requests"], told["keys"], told["mode"]) == (True, 10, 2, "shadow")
        (action,) = told["actions"]
        assert (action["action"], action["really"], action["requests"], action["requests_share"]) == (
            "throttle",
            False,
            4,
            0.4,
        )
        (customer,) = told["customers"]
        assert (customer["customer"], customer["touched_requests"], customer["plan"]) == ("org:acme", 4, "payg")
        assert customer["level"] == "clear"
        preview = await desk.call("POST", "/v1/orders:preview", json={"subjects": {"org_id": "acme"}, "action": "throttle"})
        traffic = preview.json()["traffic"]
        assert (traffic["known"], traffic["requests"], traffic["requests_share"]) == (True, 6, 0.6)


async def test_a_flagged_customer_has_level_and_reason(new_desk: Any) -> None:
    """The report looks the level up as it is at the moment of asking."""
    async with new_desk(STILLWATCH_WORKER__ARCHIVE_SEC="0.1") as desk:
        await desk.work([msgspec.structs.replace(desk.event(1, KEY), at_us=time.time_ns() // 1000, action="throttle")])
        await desk.judged(KEY, Level.SUSPECT, 0.9, at_us=time.time_ns() // 1000 + 1_000_000)
        (customer,) = (await desk.get("/v1/reports/would-have"))["customers"]
    assert (customer["customer"], customer["level"]) == (f"key:{KEY}", "suspect")
    assert customer["reason"].startswith("asks for the same skeleton")


async def test_a_time_that_is_none_is_refused(desk: Any) -> None:
    """A period has a beginning within the last 90 days."""
    for since in ("yesterday", "91d", "0d", "2999-01-01", "-1d"):
        problem = await desk.get("/v1/reports/would-have", status=422, params={"since": since})
        assert problem["errors"][0]["field"] in ("query.since", "since"), since


async def test_without_an_archive_the_report_says_so(desk: Any) -> None:
    """A process on another machine than the workers' knows nothing, and does not pretend that nothing happened."""
    assert (await desk.get("/v1/reports/would-have"))["known"] is False


async def test_the_demonstration_prints_it(new_desk: Any, token: str) -> None:
    """The function that the demonstration calls gives the report as Markdown, and waits for what is not archived yet."""
    async with new_desk(STILLWATCH_WORKER__ARCHIVE_SEC="0.1") as desk:
        waiting = asyncio.create_task(would_have(desk.server.url, token, requests=3))
        events = [
            msgspec.structs.replace(desk.event(number, KEY), at_us=time.time_ns() // 1000 + number, action="throttle")
            for number in range(3)
        ]
        await desk.work(events)
        text = await waiting
    assert "| throttle | done | 1 | 0 | 3 | 100.00% | 0 |" in text
    assert f"key:{KEY}" in text
