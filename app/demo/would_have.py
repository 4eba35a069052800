"""The would-have report of a demonstration, asked over the admin API as an operator would."""

from __future__ import annotations

import asyncio
import time

import orjson

from app.errors import StateUnavailable
from app.offline.would_have_page import markdown
from app.simulate.traffic.http import Http

LOOK_SEC = 1.0


async def would_have(
    admin_url: str, token: str, *, since: str = "1h", requests: int = 0, patience_sec: float = 30.0
) -> str:
    """The report as Markdown.

    Args:
        admin_url: address of the admin API.
        token: one that may read the policy.
        since: of the period, as `GET /v1/reports/would-have` takes it.
        requests: wait until so many are archived, which takes up to `worker.archive_sec`.
        patience_sec: but no longer than this.

    Raises:
        StateUnavailable: the API refuses to answer.
    """
    http = Http(admin_url, timeout_sec=90.0, connections=1)
    until = time.monotonic() + patience_sec
    try:
        while True:
            answer = await http.request(
                "GET", f"/v1/reports/would-have?since={since}", {"authorization": f"Bearer {token}"}
            )
            if answer.status != 200:
                raise StateUnavailable(f"the admin API answered {answer.status} to the would-have report")
            report = orjson.loads(answer.body)
            if report["requests"] >= requests or time.monotonic() >= until:
                return markdown(report)
            await asyncio.sleep(LOOK_SEC)
    finally:
        await http.close()
