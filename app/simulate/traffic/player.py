"""Plays scripts against a live gateway, as many at a time as there are clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from app.errors import UpstreamUnavailable
from app.simulate.traffic.calls import Call, Heard, heard, heard_stream
from app.simulate.traffic.http import Http, Response
from app.simulate.traffic.population import Client

RETRIES = 2
"""As the client libraries do by default."""

MAX_WAIT_SEC = 3.0
"""A refused client tries again after this at the latest, whatever Retry-After says: a demonstration is short."""


@dataclass(slots=True)
class Tally:
    """What happened to the requests of one client.

    Attributes:
        sent: requests, retries included.
        answered: with 200.
        limited: with 429.
        failed: any other end.
    """

    sent: int = 0
    answered: int = 0
    limited: int = 0
    failed: int = 0


class Player:
    """Plays every client until it is told to stop."""

    def __init__(self, url: str, clients: Sequence[Client]) -> None:
        self._clients = clients
        self._url = url
        self._stop = asyncio.Event()
        self.tallies = {client.name: Tally() for client in clients}

    async def run(self) -> None:
        """Until `stop` is called. A client whose script fails takes the others down: it is a fault of ours."""
        http = Http(self._url, connections=max(1, len(self._clients)))
        try:
            async with asyncio.TaskGroup() as group:
                for client in self._clients:
                    group.create_task(self._play(client, http))
        finally:
            await http.close()

    def stop(self) -> None:
        """Let requests that run end, and send no more."""
        self._stop.set()

    async def _play(self, client: Client, http: Http) -> None:
        script = client.start()
        call = next(script)
        while await self._paused(call.pause_sec):
            call = script.send(await self._ask(client, call, http))

    async def _paused(self, seconds: float) -> bool:
        """Wait; false when told to stop meanwhile."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
        return not self._stop.is_set()

    async def _ask(self, client: Client, call: Call, http: Http) -> Heard:
        tally = self.tallies[client.name]
        body = orjson.dumps(call.body)
        # The address as a load balancer in front would pass it on.
        headers = {**client.signed(), "x-forwarded-for": client.address}
        for attempt in range(RETRIES + 1):
            if attempt and "x-stainless-lang" in headers:
                headers["x-stainless-retry-count"] = str(attempt)
            tally.sent += 1
            try:
                answer = await http.request("POST", call.path, headers, body)
            except UpstreamUnavailable:
                tally.failed += 1
                return Heard(0)
            if answer.status == 200:
                tally.answered += 1
                read = heard_stream if call.body.get("stream") else heard
                return read(call.path, 200, answer.body)
            if answer.status != 429:
                tally.failed += 1
                return Heard(answer.status)
            tally.limited += 1
            if attempt == RETRIES or not await self._paused(_wait_sec(answer)):
                break
        return Heard(429)


def _wait_sec(answer: Response) -> float:
    try:
        return min(MAX_WAIT_SEC, max(0.1, float(answer.headers.get("retry-after", "1"))))
    except ValueError:
        return 1.0
