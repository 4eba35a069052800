"""Two real gateway processes on a state server that can be hurt, a simulated model API behind them, and honest books.

Every request carries a number in its text, so that each can be found in the event streams: once, or counted as dropped.
Four kinds of callers ask all the time: keys within their limits, a key that is always at its limit, a key that a person has
suspended, and a stranger where strangers are refused.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.gateway.identity import Hasher
from app.processes import Tree
from app.settings import Settings
from app.simulate.fault_proxy import FaultProxy
from app.simulate.model_api import ModelApi
from app.simulate.rig import LoopThread
from app.simulate.state_servers import LocalCluster, StateServerProcess
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from app.state.orders import Order, Orders
from detectors.event import decode

PARTITIONS = 16
REPLICAS = 2
LIMIT_PER_MIN = 240
"""Of the key that is always at its limit: two a second for each gateway on its own."""

CEILING_SEC = 0.06
KEYS = 24
PEPPER = "a pepper for faults alone"
QUIET_SEC = 1.5
"""How long nobody has been decided without state when the service counts as recovered."""

_SETTLED_SEC = 20.0

Step = Callable[["Lab"], Awaitable[None]]


@dataclass(slots=True)
class Answer:
    """One request and what came back. `status` 0: the connection broke."""

    at: float
    gateway: int
    who: str
    marker: str
    status: int
    degraded: bool


@dataclass(slots=True)
class Result:
    """What one fault did.

    Attributes:
        asked: requests that were sent.
        ours: answers of 500 and above, and broken connections; the model API never fails.
        slow: decisions above the ceiling of 60 ms, by the gateways' own histogram.
        decisions: all of them.
        leaked: requests of the suspended key or of a stranger that passed.
        passed: requests of the limited key that passed during the fault, at both gateways.
        allowed: that its limit lets pass meanwhile.
        degraded: requests decided without state.
        recovery_sec: from the end of the fault to the last of them.
        events: requests that should be in the log.
        logged: of those, found there.
        double: found more than once.
        dropped: counted as lost by the gateways.
    """

    asked: int = 0
    ours: int = 0
    slow: int = 0
    decisions: int = 0
    leaked: int = 0
    passed: int = 0
    allowed: float = 0.0
    degraded: int = 0
    recovery_sec: float = 0.0
    events: int = 0
    logged: int = 0
    double: int = 0
    dropped: int = 0

    @property
    def overshoot(self) -> float:
        """Of the limited key, as a multiple of its limit."""
        return self.passed / self.allowed if self.allowed else 0.0

    @property
    def accounted(self) -> bool:
        """Every event is there once, or was counted as dropped."""
        return self.events == self.logged + self.dropped and not self.double


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault. `hurt` and `heal` change the world; `kind` says what state runs on."""

    name: str
    text: str
    hurt: Step
    heal: Step
    kind: str = "server"  # server | cluster | replicated
    during: Step | None = field(default=None)  # done again and again while the fault lasts


class Lab:
    """Everything that one scenario needs; use as an async context manager."""

    def __init__(self, folder: Path, kind: str = "server") -> None:
        self.folder = folder
        self.kind = kind
        self.server: StateServerProcess | None = None
        self.cluster: LocalCluster | None = None
        self.proxy: FaultProxy | None = None
        self.answers: list[Answer] = []
        self._stack = AsyncExitStack()
        self._gateways: list[tuple[str, int]] = []
        self._metrics: list[str] = []
        self._numbers = itertools.count()
        self._enough = asyncio.Event()
        self._asking: list[asyncio.Task[None]] = []
        self._url = ""
        self._keep: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Lab:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @property
    def state(self) -> StateServerProcess:
        """The one server."""
        assert self.server is not None
        return self.server

    @property
    def network(self) -> FaultProxy:
        """What lies between the gateways and it."""
        assert self.proxy is not None
        return self.proxy

    async def begin(self, rate: float) -> None:
        """Uses up the limited key's budget, and asks from then on.

        Args:
            rate: requests per second of ordinary keys at each gateway.
        """
        await self._use_up()
        callers = (("free", rate / 2), ("free", rate / 2), ("limited", 12.0), ("blocked", 5.0), ("stranger", 2.0))
        self._asking = [
            asyncio.create_task(self._ask_on(number, who, share, self._enough))
            for number in range(REPLICAS)
            for who, share in callers
        ]

    async def suffer(self, scenario: Scenario, during_sec: float, quiet_sec: float = QUIET_SEC) -> Result:
        """Hurts, heals, and waits until nobody has been decided without state for a while; the result holds only that."""
        hurt_at = time.monotonic()
        await scenario.hurt(self)
        until = time.monotonic() + during_sec
        while time.monotonic() < until:
            if scenario.during is not None:
                await scenario.during(self)
            await asyncio.sleep(0.1)
        held_sec = time.monotonic() - hurt_at
        await scenario.heal(self)
        healed_at = time.monotonic()
        latest = healed_at + 15
        # The answers tell, and others append them.
        while time.monotonic() < min(latest, self._last_degraded(healed_at) + quiet_sec):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        since = [answer for answer in self.answers if answer.at >= hurt_at]
        passed = sum(one.who == "limited" and one.status == 200 and one.at < hurt_at + held_sec for one in since)
        return Result(
            degraded=sum(answer.degraded for answer in since),
            passed=passed,
            allowed=LIMIT_PER_MIN / 60 * held_sec,
            recovery_sec=self._last_degraded(healed_at) - healed_at,
        )

    async def end(self, result: Result) -> None:
        """Asks no more, ends the gateways, and fills in what became of all requests and events."""
        self._enough.set()
        await asyncio.gather(*self._asking)
        found = self.answers
        result.asked = len(found)
        result.ours = sum(answer.status == 0 or answer.status >= 500 for answer in found)
        result.leaked = sum(answer.who in ("blocked", "stranger") and answer.status == 200 for answer in found)
        await self._settled()
        for number in range(REPLICAS):
            await self._count(number, result)
        await self._stack.aclose()  # the gateways deliver what they still have
        await self._audit(result)

    # Parts

    async def _start(self) -> None:
        stack = self._stack
        thread = LoopThread()
        stack.callback(thread.stop)
        upstream = thread.serve(ModelApi())
        if self.kind == "server":
            self.server = await asyncio.to_thread(StateServerProcess, self.folder / "state")
            self.proxy = FaultProxy(self.server.port)
            await self.proxy.start()
            stack.push_async_callback(self.proxy.stop)
            self._url = f"redis://127.0.0.1:{self.proxy.port}/0"
            self._keep = self.server.close
        else:
            made = await asyncio.to_thread(LocalCluster, self.folder / "cluster", replicas=self.kind == "replicated")
            self.cluster, self._url, self._keep = made, made.url, made.close
        accounts = self.folder / "accounts.jsonl"
        lines = [{"key": f"sk-free-{number}", "plan": "default"} for number in range(KEYS)]
        lines += [{"key": "sk-limited", "plan": "small"}, {"key": "sk-blocked", "plan": "default"}]
        accounts.write_text("".join(json.dumps(line) + "\n" for line in lines))
        await self._suspend("sk-blocked", self.settings(upstream, 0))
        tree = await stack.enter_async_context(Tree(15.0))
        for number in range(REPLICAS):
            found = await tree.add(f"gateway {number}", "app.main:run_gateway", self.settings(upstream, number))
            place = urlsplit(found["gateway"])
            self._gateways.append((place.hostname or "", place.port or 0))
            self._metrics.append(found["metrics"])

    def close(self) -> None:
        """Ends the state servers, after their streams were read."""
        self._keep()

    def settings(self, upstream: str, number: int) -> Settings:
        """Of one gateway."""
        plans = {"default": {"key": {"requests_per_min": 600_000}}, "small": {"key": {"requests_per_min": LIMIT_PER_MIN}}}
        return Settings.model_validate(
            {
                "state": {"redis_url": self._url, "data_dir": self.folder / f"data{number}", "partitions": PARTITIONS},
                "identity": {
                    "pepper": PEPPER,
                    "unknown_keys": "deny",
                    "accounts_file": self.folder / "accounts.jsonl",
                },
                "gateway": {"upstream": upstream, "port": 0, "metrics_port": 0, "grace_sec": 5},
                "limits": {"plans": plans, "replicas": REPLICAS},
                "log": {"level": "ERROR"},
            }
        )

    async def _suspend(self, credential: str, settings: Settings) -> None:
        key_id = Hasher(PEPPER).key(credential)
        client = background_client(self._url, settings)
        now_us = time.time_ns() // 1000
        order = Order(
            ref="sw-faults", action="suspend", factor=1.0, requests_per_min=None, level="confirmed", since_us=now_us,
            until_us=now_us + 3_600_000_000, reason_code="other", reason="a test of faults", by="benchmarks",
        )  # fmt: skip
        try:
            await Orders(client).place(key_id, [partition_of(key_id, PARTITIONS)], order, {})
        finally:
            await client.aclose()

    async def _use_up(self) -> None:
        """The limited key has nothing left when the fault comes."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._ask_on(number % REPLICAS, "limited", 1e6, stop)) for number in range(4)]
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                while not any(answer.status == 429 for answer in self.answers[-40:]):  # noqa: ASYNC110 - others append
                    await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(*tasks)

    async def _ask_on(self, gateway: int, who: str, rate: float, stop: asyncio.Event) -> None:
        """One connection that asks at a rate until it is stopped."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not stop.is_set():
            due = max(due + 1 / rate, loop.time() - 0.5)
            number = next(self._numbers)
            credential = f"sk-free-{number % KEYS}" if who == "free" else f"sk-{who}"
            answer = Answer(time.monotonic(), gateway, who, f"n{number:08d}", 0, False)
            try:
                if connection is None:
                    connection = await asyncio.open_connection(*self._gateways[gateway])
                answer.status, answer.degraded, closes = await ask(*connection, credential, answer.marker)
                if closes:
                    connection[1].close()
                    connection = None
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                connection = None
            self.answers.append(answer)
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
        if connection is not None:
            connection[1].close()

    def _last_degraded(self, since: float) -> float:
        return max((answer.at for answer in self.answers if answer.degraded and answer.at > since), default=since)

    async def _settled(self) -> None:
        """Waits until the spools are empty."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLED_SEC):
                while [n for n in range(REPLICAS) if (await self._read(n))["stillwatch_spool_bytes"]]:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        await asyncio.sleep(0.3)

    async def _read(self, number: int) -> dict[str, float]:
        """All series of a gateway."""

        def fetch() -> str:
            with urllib.request.urlopen(self._metrics[number], timeout=5) as reply:
                text: str = reply.read().decode()
            return text

        lines = (line.rpartition(" ") for line in (await asyncio.to_thread(fetch)).splitlines() if line[:1] != "#")
        return {name: float(value) for name, _, value in lines}

    async def _count(self, number: int, result: Result) -> None:
        series = await self._read(number)
        decisions = series["stillwatch_decision_seconds_count"]
        result.decisions += int(decisions)
        result.slow += int(decisions - series[f'stillwatch_decision_seconds_bucket{{le="{CEILING_SEC}"}}'])
        result.dropped += int(
            sum(value for name, value in series.items() if name.startswith("stillwatch_events_dropped_total"))
        )

    async def _audit(self, result: Result) -> None:
        """Compares what was sent with what the streams hold."""
        sent = {answer.marker for answer in self.answers if answer.who != "stranger" and answer.status}
        found: Counter[str] = Counter()
        client = background_client(self.state.url if self.server else self._url, self.settings("http://127.0.0.1:1", 0))
        try:
            for number in range(PARTITIONS):
                entries: Any = await client.xrange(PartitionKeys(number).stream)
                found.update(decode(fields[b"e"]).user_head for _, fields in entries)
        finally:
            await client.aclose()
        result.events = len(sent)
        result.logged = len(sent & set(found))
        result.double = sum(times - 1 for times in found.values())


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, credential: str, marker: str
) -> tuple[int, bool, bool]:
    """One chat completion; (status, decided without state: it says no limits, the connection ends with it)."""
    body = json.dumps(
        {"model": "still-small-2", "messages": [{"role": "user", "content": marker}], "max_tokens": 2}
    ).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
    writer.write((head % (credential, len(body))).encode() + body)
    async with asyncio.timeout(10):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        length = headers.get("content-length")
        await (reader.readexactly(int(length)) if length is not None else reader.read())
    status = int(lines[0].split(" ")[1])
    degraded = status in (200, 429) and "x-ratelimit-limit-requests" not in headers
    return status, degraded, length is None or headers.get("connection") == "close"
