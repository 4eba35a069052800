"""The lab of the worker's tests: fixed traffic, workers in this process and in others, and what they left behind."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio as aioredis

from app.settings import Settings, load
from app.simulate.state_servers import LocalCluster
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from app.state.ownership import Ownership
from app.state.partition import PartitionStore
from app.worker.worker import Worker, load_analysis
from detectors.event import Event, encode

START_US = 1_790_000_000_000_000
_WORDS = ("derive", "integral", "river", "invoice", "poem", "kernel", "lemma", "tenant", "protein", "ledger", "sonnet")


class WorkerProcess:
    """Orders to a forker, see forker.py."""

    def __init__(self, forker: asyncio.subprocess.Process) -> None:
        self._forker = forker

    async def start(self) -> None:
        """A new worker process."""
        await self._order("start")

    async def signal(self, name: str) -> None:
        """Sends a signal; returns when a process that this ends has ended."""
        await self._order(name)

    async def close(self) -> None:
        """Ends everything."""
        assert self._forker.stdin is not None
        self._forker.stdin.close()
        await self._forker.wait()
        self._forker._transport.close()  # type: ignore[attr-defined]

    async def _order(self, order: str) -> None:
        assert self._forker.stdin is not None
        self._forker.stdin.write(f"{order}\n".encode())
        await self.ready()

    async def ready(self) -> None:
        """Returns when the last order is done."""
        assert self._forker.stdout is not None
        assert await self._forker.stdout.readline() == b"ok\n"


class Lab:
    """One empty state server, one archive folder, and traffic that is the same every time."""

    partitions = 2
    cluster: LocalCluster | None = None
    """The server, where it is a Cluster."""

    def __init__(self, url: str, client: aioredis.Redis, folder: Path) -> None:
        self.url = url
        self.client = client
        self.folder = folder

    def event(self, number: int, keys: int = 12, text: str = "") -> Event:
        """The `number`-th event: some keys have an organisation, some a template, some ask for log-probabilities."""
        dice = random.Random(number)
        key = dice.randrange(keys)
        words = " ".join(dice.choice(_WORDS) for _ in range(30))
        return Event(
            event_id=f"{number:016x}",
            at_us=START_US + number * 1_700_000 + dice.randrange(1_000_000),
            key_id=f"{key:032x}",
            org_id=f"{key % 3:032x}" if key % 2 else "",
            plan="payg",
            key_created_us=START_US - 86_400_000_000,
            dialect="openai",
            route="chat",
            model="large",
            temperature=0.7 if key % 3 else None,
            max_tokens=512 if key % 2 else None,
            top_logprobs=5 if key == 4 else -1,
            logit_bias_size=20 if key == 4 else 0,
            logit_bias_digest=dice.getrandbits(64) if key == 4 else 0,
            roles="su" if key % 2 else "u",
            message_count=1 + key % 2,
            user_turns=1,
            chain_digest=dice.getrandbits(64),
            user_digest=dice.getrandbits(64),
            user_chars=len(words),
            finish_reason="stop",
            input_tokens=40,
            output_tokens=1 if key == 4 else dice.randrange(20, 600),
            answer_chars=800,
            answer_digest=dice.getrandbits(64),
            latency_us=900_000,
            ip_prefix_id=f"{key:032x}",
            system_head=f"{text} You answer in <reasoning> tags." if key % 2 else "",
            user_head=f"{text} Solve step by step and show your reasoning: {words}",
            user_tail=f"{words} {text}",
            answer_head=f"{text} <reasoning>{words}</reasoning>",
        )

    async def fill(self, count: int, text: str = "", first: int = 0) -> None:
        """Appends events `first` … `first + count` under fixed ids, so that two runs read the same entries."""
        pipe = self.client.pipeline(transaction=False)
        for number in range(first, first + count):
            event = self.event(number, text=text)
            pipe.xadd(self.stream_of(event), {"e": encode(event)}, id=f"{event.at_us // 1000}-{number}")
        await pipe.execute()

    def stream_of(self, event: Event) -> str:
        """The stream that the event belongs to."""
        return PartitionKeys(partition_of(event.org_id or event.key_id, self.partitions)).stream

    def environ(self, **more: str) -> dict[str, str]:
        """Settings of a small, quick worker."""
        return {
            "STILLWATCH_REDIS_URL": self.url,
            "STILLWATCH_STATE__PARTITIONS": str(self.partitions),
            "STILLWATCH_WORKER__BATCH_ENTRIES": "16",
            "STILLWATCH_WORKER__POLL_MS": "10",
            "STILLWATCH_WORKER__LEASE_MS": "1000",
            "STILLWATCH_WORKER__ARCHIVE_DIR": str(self.folder),
            "STILLWATCH_WORKER__ARCHIVE_ROWS": "100",
            "STILLWATCH_WORKER__ARCHIVE_SEC": "3600000000",
            "STILLWATCH_WORKER__ARCHIVE_DAYS": "0",  # the traffic has fixed days
            **more,
        }

    def settings(self, **more: str) -> Settings:
        """The same as a settings tree."""
        return load(environ=self.environ(**more))

    @asynccontextmanager
    async def worker(self, name: str = "w1", **more: str) -> AsyncIterator[Worker]:
        """A worker in this process; leaving the block stops it cleanly."""
        stop = asyncio.Event()
        settings = self.settings(**more)
        client = background_client(self.url, settings)
        worker = Worker(client, settings, load_analysis(settings), name)
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await task
            await client.aclose()

    @asynccontextmanager
    async def process(self, **more: str) -> AsyncIterator[WorkerProcess]:
        """A worker that is a process of its own, not started yet; killed when the block is left."""
        forker = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("forker.py")),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **self.environ(**more)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        process = WorkerProcess(forker)
        try:
            await process.ready()
            yield process
        finally:
            await process.close()

    async def lease(self, partition: int, worker: str = "tester", lease_ms: int = 60_000) -> PartitionStore:
        """A leased partition, without a worker around it."""
        lease = await Ownership(self.client, worker, lease_ms).acquire(partition)
        assert lease is not None
        return PartitionStore(self.client, lease)

    async def left(self) -> int:
        """Entries that are not applied yet."""
        return sum([await self.client.xlen(PartitionKeys(number).stream) for number in range(self.partitions)])

    async def until_applied(self, timeout_sec: float = 60.0) -> None:
        """Returns when every stream is empty."""
        await self.until(lambda: self.left(), 0, timeout_sec)

    async def until(self, measure: Callable[[], object], wanted: object, timeout_sec: float = 30.0) -> None:
        """Returns when `await measure()` gives what is wanted."""
        async with asyncio.timeout(timeout_sec):
            while await measure() != wanted:  # type: ignore[misc]  # noqa: ASYNC110 - another process sets it
                await asyncio.sleep(0.02)

    async def snapshot(self) -> dict[str, object]:
        """Every value that workers compute, by key name: states, verdicts, timelines, indexes, cursors, ballots …

        Traces are in test_linking: when they leave the log is up to the linker.
        """
        found: dict[str, object] = {}
        async for raw in self.client.scan_iter("sw:{p*", count=1000):
            name = raw.decode()
            kind = (await self.client.type(raw)).decode()
            if name.endswith((":own", ":fen", ":row", ":ev", ":arc", ":trl", ":tra")):
                continue
            if kind == "string":
                found[name] = await self.client.get(raw)
            elif kind == "list":
                found[name] = await self.client.lrange(raw, 0, -1)
            elif kind == "zset":
                found[name] = sorted(await self.client.zrange(raw, 0, -1, withscores=True))
            elif kind == "stream":
                found[name] = await self.client.xrange(raw)
            elif kind == "hash":
                found[name] = await self.client.hgetall(raw)
        return found


@pytest.fixture
async def lab(redis_db: str, tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab on an empty database."""
    client = background_client(redis_db, load(environ={}))
    yield Lab(redis_db, client, tmp_path / "archive")
    await client.aclose()


@pytest.fixture
async def cluster_lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab on a Cluster of three masters with replicas, with partitions on each of them."""
    cluster = await asyncio.to_thread(lambda: LocalCluster(tmp_path / "cluster", replicas=True))
    client = background_client(cluster.url, load(environ={}))
    made = Lab(cluster.url, client, tmp_path / "archive")
    made.partitions, made.cluster = 6, cluster
    yield made
    await client.aclose()
    await asyncio.to_thread(cluster.close)
