"""Callers that give up at any moment: nobody gets another's reply, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

from app.errors import StateUnavailable
from app.limits.limiter import Ask, Limiter
from app.settings import Settings
from app.simulate.state_servers import StateServerProcess
from app.state.events import EventLog
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from app.state.link import Link
from app.state.wire import pack

AT_ONCE = 200
KEYS = 20
PAUSES_SEC = (0.0, 0.0001, 0.0005, 0.002, 0.01)
"""After which a caller gives up."""


class _Tally:
    """What became of the calls."""

    def __init__(self) -> None:
        self.answered = self.cancelled = self.late = self.wrong = 0


async def measure(calls: int, seed: int = 5) -> tuple[str, list[str]]:
    """(a paragraph, broken promises) of so many calls, half of them given up at random moments.

    Six in ten are echoes over the decision path's connection, three are decisions that take slots, and one is an echo over
    the background client's pool.
    """
    with tempfile.TemporaryDirectory(prefix="stillwatch-cancel-") as folder:
        server = await asyncio.to_thread(StateServerProcess, Path(folder) / "state")
        try:
            return await _measure(server, Path(folder), calls, random.Random(seed))
        finally:
            server.close()


async def _measure(server: StateServerProcess, folder: Path, calls: int, dice: random.Random) -> tuple[str, list[str]]:
    plans = {"default": {"key": {"requests_per_min": 1e9, "concurrent": 64}}}
    settings = Settings.model_validate({"state": {"redis_url": server.url}, "limits": {"plans": plans}})
    tally = _Tally()
    tasks_before = len(asyncio.all_tasks())
    link = Link(server.url, 2000)
    client = background_client(server.url, settings)
    events = EventLog(server.url, settings.state, folder / "spool")
    limiter = Limiter(settings, server.url, events)
    await asyncio.gather(link.start(), events.start(), limiter.start())
    await asyncio.gather(*(client.echo(f"{number}") for number in range(8)))

    async def echo(number: int) -> None:
        if await link.call(pack("ECHO", f"n{number}")) != f"n{number}".encode():
            tally.wrong += 1

    async def pooled(number: int) -> None:
        if await client.echo(f"n{number}") != f"n{number}".encode():
            tally.wrong += 1

    async def decide(number: int) -> None:
        decision = await limiter.decide(Ask(f"k{number % KEYS}", "", "default", "m", 1, 1, f"{number:012x}"))
        if decision.degraded:
            tally.late += 1
        elif decision.admitted and decision.reservation.request_id != f"{number:012x}":
            tally.wrong += 1
        limiter.settle(decision.reservation, input_tokens=1, output_tokens=1, event=None)

    async def one(number: int) -> None:
        kind = dice.random()
        task = asyncio.ensure_future((echo if kind < 0.6 else decide if kind < 0.9 else pooled)(number))
        if dice.random() < 0.5:
            pause = dice.choice(PAUSES_SEC)
            if pause:
                await asyncio.sleep(pause)
            else:
                await asyncio.sleep(0)
            task.cancel()
        try:
            await task
            tally.answered += 1
        except asyncio.CancelledError:
            tally.cancelled += 1
        except StateUnavailable:
            tally.late += 1

    for start in range(0, calls, AT_ONCE):
        await asyncio.gather(*(one(number) for number in range(start, min(calls, start + AT_ONCE))))
    await events.flush()
    await asyncio.gather(link.call(pack("PING")), limiter.decide(Ask("last", "", "default", "m", 1, 1, "0" * 12)))
    slots = 0
    for number in range(KEYS):
        names = PartitionKeys(partition_of(f"k{number}", settings.state.partitions))
        slots += int(server.ask("ZCARD", names.inflight("k", f"k{number}"))[0:] or 0)
    waiting = link.waiting
    connections = server.ask("CLIENT", "LIST").count("\n") - 1  # without the one that asks
    await limiter.stop()
    await events.stop()
    await link.stop()
    await client.aclose()
    tasks = len(asyncio.all_tasks()) - tasks_before
    text = (
        f"{calls:,} calls, {tally.cancelled:,} of them given up on the way and {tally.late} too late: {tally.answered:,} "
        f"answered, {tally.wrong} with another's reply. Left behind: {waiting} waiting calls, {slots} slots, {tasks} "
        f"tasks; {connections} connections at the end, 3 of the links and at most 64 of the pool."
    )
    broken = [
        f"cancel: {number} {what}"
        for number, what in (
            (tally.wrong, "wrong replies"),
            (waiting, "calls left"),
            (slots, "slots left"),
            (tasks, "tasks left"),
        )
        if number
    ]
    if connections > 3 + 64:
        broken.append(f"cancel: {connections} connections")
    return text, broken
