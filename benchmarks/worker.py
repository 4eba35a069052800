"""Speed of the worker on one core, and what a key costs in the state server.

    python -m benchmarks.worker [--clients-per-kind 60]

Every exchange of some days of invented traffic is decided and settled by the real limiter and appended to the real event
log; then one `stillwatch worker`, with a model fitted on that traffic, applies it all. Decoding, fingerprints, profiles,
features, scores, verdicts, commits and the archive are in its time, starting up is not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
import uvloop

from app.limits.limiter import Ask, Limiter
from app.offline.job import ReplayJob, run_replay
from app.settings import Settings, StateSettings, load
from app.state.events import EventLog
from app.state.keys import PartitionKeys
from app.state.server import StateServer
from benchmarks.machine import CannotMeasure, Child, Cores, cpu_seconds, resident_mib
from benchmarks.targets import LIMITS, PEPPER
from benchmarks.traffic import Log, events, write
from detectors.event import Event, encode

GOAL_PER_SEC = 1000.0
GOAL_KIB_PER_KEY = 6.0
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured.

    Attributes:
        events: applied while the clock ran.
        seconds: of wall clock.
        cpu_seconds: of the worker process.
        keys: with a state.
        bytes_per_key: memory of the state server for everything that is kept of a key and its organisation, archive
            rows and waiting events left out.
        resident_mib: of the worker at its end.
    """

    events: int
    seconds: float
    cpu_seconds: float
    keys: int
    bytes_per_key: float
    resident_mib: float

    @property
    def per_core_sec(self) -> float:
        """Events per second of one core."""
        return self.events / self.cpu_seconds

    def __str__(self) -> str:
        return (
            f"worker: {self.events / self.seconds:,.0f} events/s, {self.per_core_sec:,.0f} per core-second; "
            f"{self.bytes_per_key / 1024:.2f} KiB per key in state; {self.resident_mib:,.0f} MiB "
            f"({self.events:,} events of {self.keys:,} keys)"
        )


def measure(cores: Cores, per_kind: int) -> Speed:
    """One run.

    Raises:
        CannotMeasure: the worker does not start or does not finish.
    """
    with tempfile.TemporaryDirectory(prefix="stillwatch-bench-") as name:
        folder = Path(name)
        (folder / "limits.toml").write_text(LIMITS)
        environ = {"STILLWATCH_PEPPER": PEPPER, "STILLWATCH_STATE__DATA_DIR": str(folder / "data")}
        # The streams are filled as fast as possible by a process that is often late for its own answers.
        environ["STILLWATCH_STATE__DECISION_TIMEOUT_MS"] = "1000"
        state = StateServer(StateSettings(data_dir=folder / "data"))
        state.open()
        try:
            settings = load(folder / "limits.toml", {**environ, "STILLWATCH_REDIS_URL": state.url})
            log = write(folder, per_kind, settings)
            model = folder / "model"
            run_replay(ReplayJob(log.requests, folder / "out", accounts=log.accounts, save_model=model), settings)
            return _run(cores, state.url, settings, log, environ, model)
        finally:
            state.close()


def _run(cores: Cores, url: str, settings: Settings, log: Log, environ: dict[str, str], model: Path) -> Speed:
    with redis.Redis.from_url(url) as client:
        streams = [PartitionKeys(number).stream for number in range(settings.state.partitions)]
        uvloop.run(_fill(url, settings, events(log, settings)))
        total = _waiting(client, streams)
        command = [sys.executable, "-m", "app.cli", "worker", "--metrics-port", "0", "--set", f"worker.model_dir={model}"]
        more = {"STILLWATCH_REDIS_URL": url, "STILLWATCH_LOG__LEVEL": "ERROR"}
        with Child(command, cores.proxy, {**environ, **more}) as worker:
            # What the first batches cost is mostly imports.
            worker.until(lambda: _waiting(client, streams) < total * 0.95, "the worker")
            first, cpu, started = _waiting(client, streams), cpu_seconds(worker.pid), time.perf_counter()
            worker.until(lambda: not _waiting(client, streams), "the end of the streams", limit_sec=300)
            seconds, used = time.perf_counter() - started, cpu_seconds(worker.pid) - cpu
            resident = resident_mib(worker.pid)
        # Stopped by now: what waited for the archive is in it.
        if any(client.xlen(PartitionKeys(number).rows) for number in range(settings.state.partitions)):
            raise CannotMeasure("the worker left rows that are not archived")
        keys = sum(client.zcard(PartitionKeys(number).seen) for number in range(settings.state.partitions))
        return Speed(first, seconds, used, keys, _memory(client) / keys, resident)


async def _fill(url: str, settings: Settings, made: Iterator[Event]) -> None:
    log = EventLog(url, settings.state, settings.spool_dir)
    limiter = Limiter(settings, url, log)
    await log.start()
    await limiter.start()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(event: Event) -> None:
        async with gate:
            ask = Ask(event.key_id, event.org_id, event.plan, event.model, event.input_tokens, 1024, event.event_id)
            decision = await limiter.decide(ask)
            limiter.settle(
                decision.reservation,
                input_tokens=event.input_tokens,
                output_tokens=event.output_tokens,
                event=encode(event),
            )

    batch: list[Event] = []
    try:
        for event in made:
            batch.append(event)
            if len(batch) == 1000:
                await asyncio.gather(*map(one, batch))
                batch.clear()
        await asyncio.gather(*map(one, batch))
        await log.flush()
    finally:
        await limiter.stop()
        await log.stop()


def _waiting(client: redis.Redis, streams: list[str]) -> int:
    pipe = client.pipeline(transaction=False)
    for stream in streams:
        pipe.xlen(stream)
    return sum(pipe.execute())


def _memory(client: redis.Redis) -> int:
    """Bytes of everything kept for a time, names and the server's own book-keeping of them included."""
    waiting = (b":ev", b":row")
    names = [name for name in client.scan_iter(count=1000) if not name.endswith(waiting)]
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.memory_usage(name, samples=0)
    return sum(pipe.execute())


def main() -> int:
    """Prints one row."""
    parser = argparse.ArgumentParser(description="Speed of the worker on one core.")
    parser.add_argument("--clients-per-kind", type=int, default=60)
    args = parser.parse_args()
    cores = Cores.share()
    os.sched_setaffinity(0, cores.rest)
    try:
        print(measure(cores, args.clients_per_kind))
    except CannotMeasure as error:
        print(f"benchmarks.worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
