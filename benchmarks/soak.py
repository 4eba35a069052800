"""Memory over a long run: a million requests of a hundred thousand keys through gateway, state server and worker.

    python -m benchmarks.soak [--requests 1000000] [--keys 100000] [--connections 64]

Load comes in slices; between two of them the worker catches up, so that what is measured is what stays. Memories that are
meant to fill up (identities, hot profiles) do so in the first part of the run; growth is taken from then on. With the
defaults this takes a quarter of an hour and some GiB of memory.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import redis

from app.errors import StillwatchError
from app.settings import StateSettings
from app.state.keys import PartitionKeys
from app.state.server import StateServer
from benchmarks.load import HEADERS, PATH, body
from benchmarks.machine import CannotMeasure, Child, Cores, describe, free_port, program, resident_mib
from benchmarks.targets import environ_of, serve, upstream_of_answers

SLICE = 25_000
WARM_SHARE = 0.5
"""Part of the run after which memory should stay where it is: every key has come by then, most of them several times."""

MAX_GROWTH = 0.05

# Keys in turn, so that each is as long away as it can be: the worst case for every memory of recent things.
_SCRIPT = """
local n, keys, head, tail = {first}, {keys}, nil, nil
init = function(args)
  wrk.headers["authorization"] = "Bearer sk-soak-@@@@@@@@-0123456789abcdef0123456789abcdef"
  local made = wrk.format("POST", "{path}", wrk.headers, [==[{body}]==])
  local at = string.find(made, "@@@@@@@@", 1, true)
  head, tail = string.sub(made, 1, at - 1), string.sub(made, at + 8)
end
request = function() n = n + 1; return head .. string.format("%08d", n % keys) .. tail end
done = function(summary)
  local e = summary.errors
  io.write(string.format('\\nRESULT %d %d\\n', summary.requests, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """After so many requests: resident MiB of gateway and worker, MiB that the state server uses."""

    requests: int
    gateway: float
    worker: float
    state: float

    def __str__(self) -> str:
        return f"{self.requests:>10,}  {self.gateway:>8.0f}  {self.worker:>8.0f}  {self.state:>8.0f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs and prints; status 1 when memory grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Memory over a long run.")
    parser.add_argument("--requests", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--keys", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--connections", type=int, default=64, help="default: %(default)s")
    args = parser.parse_args(arguments)
    cores = Cores.share()
    print(describe())
    os.sched_setaffinity(0, cores.rest)
    try:
        readings = _run(cores, args.requests, args.keys, args.connections)
    except (CannotMeasure, StillwatchError) as error:
        print(f"benchmarks.soak: {error}", file=sys.stderr)
        return 1
    return _judge(readings)


def _judge(readings: Sequence[Reading]) -> int:
    """The growth from the end of the warm-up to the end of the run."""
    warm = next(reading for reading in readings if reading.requests >= WARM_SHARE * readings[-1].requests)
    last = readings[-1]
    grown = False
    for name in ("gateway", "worker"):
        before, after = getattr(warm, name), getattr(last, name)
        growth = after / before - 1
        grown = grown or growth > MAX_GROWTH
        kept = "grew" if growth > MAX_GROWTH else "flat"
        print(f"{kept}: {name} {before:.0f} → {after:.0f} MiB from {warm.requests:,} to {last.requests:,} requests")
    return 1 if grown else 0


def _run(cores: Cores, requests: int, keys: int, connections: int) -> list[Reading]:
    readings: list[Reading] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stillwatch-soak-")))
        state = StateServer(StateSettings(data_dir=folder))
        state.open()
        stack.callback(state.close)
        client = stack.enter_context(redis.Redis.from_url(state.url))
        upstream, port = free_port(), free_port()
        stack.enter_context(upstream_of_answers(folder, upstream, cores)).serves(upstream)
        environ = environ_of(folder / "gateway", state.url, limits=True, log=True)
        gateway = stack.enter_context(serve(environ, upstream, port, cores, limits=True, folder=folder)).serves(port)
        command = [sys.executable, "-m", "app.cli", "worker", "--metrics-port", "0"]
        worker = stack.enter_context(Child(command, cores.proxy, {**environ, "STILLWATCH_STATE__DATA_DIR": str(folder)}))
        print(f"{'requests':>10}  {'gateway':>8}  {'worker':>8}  {'state':>8}   MiB")
        done = 0
        while done < requests:
            done += _slice(folder, port, done, keys, connections, min(SLICE, requests - done))
            _caught_up(client, worker)
            used = client.info("memory")["used_memory"] / 1024**2
            readings.append(Reading(done, resident_mib(gateway.pid), resident_mib(worker.pid), used))
            print(readings[-1], flush=True)
    return readings


def _slice(folder: Path, port: int, first: int, keys: int, connections: int, requests: int) -> int:
    """About so many requests, continuing with the key after the last; returns how many there were."""
    script = folder / "soak.lua"
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in HEADERS.items())
    script.write_text(headers + _SCRIPT.format(first=first, keys=keys, path=PATH, body=body(stream=False)))
    done = bad = 0
    while done < requests:
        # wrk runs by time; a second at a time is near enough to the number that is wanted.
        command = [program("wrk"), "-t1", f"-c{connections}", "-d1s", "--timeout", "10s", "-s", str(script)]
        run = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=False)
        found = re.search(r"^RESULT (\d+) (\d+)$", run.stdout, re.MULTILINE)
        done += int(found[1]) if found else 0
        bad += int(found[2]) if found else 1
        if bad:
            raise CannotMeasure(f"{bad} requests failed under wrk")
        script.write_text(headers + _SCRIPT.format(first=first + done, keys=keys, path=PATH, body=body(stream=False)))
    return done


def _caught_up(client: redis.Redis, worker: Child) -> None:
    """Returns when the worker has applied what was appended, and a moment more for what is on its way."""
    streams = [PartitionKeys(number).stream for number in range(StateSettings().partitions)]

    def empty() -> bool:
        pipe = client.pipeline(transaction=False)
        for stream in streams:
            pipe.xlen(stream)
        return not any(pipe.execute())

    time.sleep(0.1)
    worker.until(empty, "the end of the event streams", limit_sec=600)
    time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
