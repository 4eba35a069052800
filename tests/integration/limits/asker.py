"""A gateway process of the parallel test: many requests at once, then the number admitted on standard output."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from app.limits.limiter import Ask, Limiter
from app.settings import load
from app.state.events import EventLog

RESERVE = 200
"""Output tokens that every request reserves; 100 to 149 are used."""


async def main(url: str, folder: str, kind: str, at_once: int, seconds: float) -> None:
    """Asks for `seconds`, `at_once` requests in parallel; prints admitted requests and the tokens they used."""
    plan = {"key": {"requests_per_min": 600} if kind == "requests" else {"output_tokens_per_min": 60_000}}
    # What is measured is the script, not the failure policy: a busy machine may be slow.
    settings = load(None, {}, {"limits.plans": {"default": plan}, "state.decision_timeout_ms": 1000})
    events = EventLog(url, settings.state, Path(folder))
    limiter = Limiter(settings, url, events)
    await events.start()
    await limiter.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    end = time.monotonic() + seconds
    admitted = used = degraded = 0

    async def client(number: int) -> None:
        nonlocal admitted, used, degraded
        turn = 0
        while time.monotonic() < end:
            turn += 1
            decision = await limiter.decide(Ask("k", "", "default", "m", 5, RESERVE, f"{id(limiter)}-{number}-{turn}"))
            degraded += bool(decision.degraded)
            if decision.admitted:
                admitted += 1
                await asyncio.sleep(0.01)
                used += 100 + number
                limiter.settle(decision.reservation, input_tokens=5, output_tokens=100 + number, event=None)
            else:
                await asyncio.sleep(0.02)

    await asyncio.gather(*(client(number) for number in range(at_once)))
    await limiter.stop()
    await events.stop()
    print(admitted, used, degraded, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
