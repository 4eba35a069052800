"""Load: wrk for closed loops, and an own client that knows how long every chunk of a stream was under way."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import uvloop

from benchmarks.machine import CannotMeasure, cpu_seconds, program
from benchmarks.targets import Target

PATH = "/v1/chat/completions"
KEYS = 1000
HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 3.57.0",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "3.57.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.11.7",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}
"""As the OpenAI library for Python sends them."""


def body(*, stream: bool) -> str:
    """A request of about 1.5 KB."""
    dice = random.Random(7)
    words = ("why does water boil sooner on a mountain than by the sea", "what follows for cooking rice", "or tea there")
    asked = ". ".join(dice.choice(words) for _ in range(36))
    fields = {"model": "still-large-2", "temperature": 0.7, "max_tokens": 800, **({"stream": True} if stream else {})}
    messages = [
        {"role": "system", "content": "You are a patient teacher of physics. " * 4},
        {"role": "user", "content": asked},
    ]
    return json.dumps({**fields, "messages": messages})


# Requests are made before the clock starts; LuaJIT then only hands them out. Keys are spread over a thousand callers.
_SCRIPT = """
local made, at = {{}}, 0
init = function(args)
  for i = 1, {keys} do
    wrk.headers["authorization"] = string.format("Bearer sk-bench-%08d-0123456789abcdef0123456789abcdef", i)
    made[i] = wrk.format("POST", "{path}", wrk.headers, [==[{body}]==])
  end
end
request = function() at = at % #made + 1; return made[at] end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\nRESULT {{"n":%d,"us":%d,"p50":%d,"p99":%d,"bad":%d}}\\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one target. Times in ms; CPU of the proxy process in seconds per 1,000 requests."""

    per_sec: float
    p50_ms: float
    p99_ms: float
    cpu: float | None


def closed_loop(target: Target, connections: int, seconds: int, *, stream: bool) -> Sample:
    """Every connection sends its next request when the last one is answered.

    Raises:
        CannotMeasure: wrk is missing, or a request failed.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in HEADERS.items())
        script.write(headers + _SCRIPT.format(keys=KEYS, path=PATH, body=body(stream=stream)))
        script.flush()
        command = [program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script.name]
        before = cpu_seconds(target.pid) if target.pid else 0.0
        run = subprocess.run([*command, f"http://127.0.0.1:{target.port}"], capture_output=True, text=True, check=False)
        used = cpu_seconds(target.pid) - before if target.pid else None
    found = re.search(r"^RESULT (.*)$", run.stdout, re.MULTILINE)
    result = json.loads(found[1]) if found else {"n": 0, "bad": 0}
    if not result["n"] or result["bad"]:
        raise CannotMeasure(f"{target.name}: {result['bad']} of {result['n']} requests failed under wrk")
    return Sample(
        per_sec=result["n"] / result["us"] * 1e6,
        p50_ms=result["p50"] / 1000,
        p99_ms=result["p99"] / 1000,
        cpu=None if used is None else 1000 * used / result["n"],
    )


@dataclass(frozen=True, slots=True)
class Delays:
    """How long the chunks of many streams were under way, in ms; CPU of the proxy in seconds per 1,000 chunks."""

    per_sec: float
    p50_ms: float
    p99_ms: float
    cpu: float | None


def streams(target: Target, count: int, seconds: float, chunks: int) -> Delays:
    """So many streams at once, each followed by the next.

    Raises:
        CannotMeasure: an answer was not complete, or a chunk is missing.
    """
    before = cpu_seconds(target.pid) if target.pid else 0.0
    started = time.monotonic()
    delays = uvloop.run(_streams(target, count, seconds, chunks))
    taken = time.monotonic() - started
    used = cpu_seconds(target.pid) - before if target.pid else None
    p50, p99 = np.percentile(delays, [50, 99]) / 1e6
    return Delays(len(delays) / taken, float(p50), float(p99), None if used is None else 1000 * used / len(delays))


class _Reader(asyncio.Protocol):
    """One connection that asks for stream after stream until the time is over."""

    def __init__(self, request: bytes, chunks: int, until: float, delays: list[int], done: asyncio.Future[None]) -> None:
        self._request, self._chunks, self._until = request, chunks, until
        self._delays, self._done = delays, done
        self._seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """In the middle of a stream it is a failure."""
        if not self._done.done():
            self._done.set_exception(CannotMeasure("a stream was cut"))

    def data_received(self, data: bytes) -> None:
        """Chunks, each with its stamp."""
        now = time.monotonic_ns()
        for stamp in _STAMP.findall(data):
            self._delays.append(now - int(stamp))
            self._seen += 1
        if b"\r\n0\r\n\r\n" in data or data.endswith(b"0\r\n\r\n"):
            if self._seen != self._chunks:
                self._done.set_exception(CannotMeasure(f"{self._seen} of {self._chunks} chunks arrived"))
                self._transport.close()
            elif time.monotonic() > self._until:
                self._done.set_result(None)
                self._transport.close()
            else:
                self._seen = 0
                self._transport.write(self._request)


_STAMP = re.compile(rb" @(\d+) ")


async def _streams(target: Target, count: int, seconds: float, chunks: int) -> list[int]:
    loop = asyncio.get_running_loop()
    text = body(stream=True).encode()
    delays: list[int] = []
    until = time.monotonic() + seconds
    waiting = []
    for number in range(count):
        head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        head += f"host: 127.0.0.1\r\nauthorization: Bearer sk-bench-{number:08d}-0123456789abcdef0123456789abcdef\r\n"
        request = f"POST {PATH} HTTP/1.1\r\n{head}content-length: {len(text)}\r\n\r\n".encode() + text
        done: asyncio.Future[None] = loop.create_future()
        reader = partial(_Reader, request, chunks, until, delays, done)
        await loop.create_connection(reader, "127.0.0.1", target.port)
        waiting.append(done)
        await asyncio.sleep(0.5 / count)  # spread over half a second, as real streams do not march in step
    await asyncio.gather(*waiting)
    return delays
