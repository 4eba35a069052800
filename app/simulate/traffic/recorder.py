"""Plays scripts in simulated time against the model API in this process: a history of days in seconds.

Nothing waits and nothing is sent over a network; who asks what, and what the model says, is as live.
"""

from __future__ import annotations

import heapq
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from app.simulate.answers import JsonObject
from app.simulate.model_api import ModelApi
from app.simulate.traffic.calls import Call, Heard, Script, heard
from app.simulate.traffic.population import Client

LATENCY_SEC = 0.02
"""Time an answer takes here; the live model API of the demonstration is about as fast."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One exchange: when it began (unix seconds), whose it is, what was asked, and the whole answer."""

    at_sec: float
    client: Client
    call: Call
    status: int
    answer: JsonObject


@dataclass(slots=True)
class _Session:
    """A client between its first and last request of a sitting."""

    client: Client
    script: Script
    call: Call
    left: int


def record(
    clients: Sequence[Client], api: ModelApi, rng: Random, start_sec: float, days: float, sessions: tuple[int, int],
    requests: tuple[int, int],
) -> Iterator[Recorded]:  # fmt: skip
    """Exchanges in order of time.

    Args:
        clients: who takes part.
        api: the model.
        rng: decides when they work and how much.
        start_sec: unix time of the beginning.
        days: length of the history.
        sessions: fewest and most sittings of a client.
        requests: fewest and most requests of a sitting.
    """
    waiting: list[tuple[float, int, _Session]] = []
    number = 0
    for client in clients:
        script = client.start()
        call = next(script)
        # Half a day at the end stays free, so that a sitting does not run over it.
        times = sorted(rng.uniform(0, days - 0.5) for _ in range(rng.randint(*sessions)))
        for begins in times:
            session = _Session(client, script, call, rng.randint(*requests))
            waiting.append((start_sec + begins * 86_400, number, session))
            number += 1
    heapq.heapify(waiting)
    resumed: dict[str, Call] = {}
    while waiting:
        at_sec, order, session = heapq.heappop(waiting)
        name = session.client.name
        call = resumed.get(name, session.call)
        status, body = ask(api, session.client, call)
        yield Recorded(at_sec, session.client, call, status, orjson.loads(body))
        answer = heard(call.path, status, body) if status == 200 else Heard(status)
        resumed[name] = following = session.script.send(answer)
        session.left -= 1
        if session.left:
            heapq.heappush(waiting, (at_sec + LATENCY_SEC + following.pause_sec, order, session))


def ask(api: ModelApi, client: Client, call: Call) -> tuple[int, bytes]:
    """Ask the model in this process; what a live client would stream comes whole."""
    sent = orjson.dumps({**call.body, "stream": False})
    status = 0
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    headers = [(name.encode(), value.encode("latin-1")) for name, value in client.signed().items()]
    _finish(api({"type": "http", "method": "POST", "path": call.path, "headers": headers}, receive, send))
    return status, b"".join(parts)


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits for anything, without an event loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("the model API waits, so it cannot be asked in simulated time")
