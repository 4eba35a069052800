"""What a test can ask the simulated model API to do wrong, as request headers.

| Header | Effect |
| --- | --- |
| x-sim-status: 429 | this status with the dialect's error body instead of an answer |
| x-sim-fail-times: 2 | with x-sim-status: only while the SDK's retry count is below 2 |
| x-sim-retry-after: 1 | value of Retry-After on such an error |
| x-sim-latency-ms: 50 | wait before the first byte |
| x-sim-chunk-delay-ms: 20 | wait before each chunk of a stream |
| x-sim-chunks: 64 | pieces of text in a stream |
| x-sim-words: 200 | words in the answer |
| x-sim-cut-after: 3 | close the connection after so many chunks; 0: after the head. Without streaming: half a body |
| x-sim-error-after: 3 | after so many chunks the dialect's error event, and the stream ends |
| x-sim-no-usage: 1 | usage is left out |
| x-sim-garbage: 1 | an answer that is HTML with status 200 |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Faults:
    """The controls of one request; -1 or 0 switch one off, see the table above."""

    status: int = 0
    fail_times: int = -1
    retry_after: str = ""
    latency_ms: float = 0.0
    chunk_delay_ms: float = 0.0
    chunks: int = 0
    words: int = 0
    cut_after: int = -1
    error_after: int = -1
    no_usage: bool = False
    garbage: bool = False


def read(headers: Iterable[tuple[bytes, bytes]], default: Faults) -> Faults:
    """Controls of a request: its x-sim-* headers over the server's default. A value that is no number is 0."""
    found = {name[6:]: value for name, value in headers if name.startswith(b"x-sim-")}
    if not found:
        return default

    def number(name: bytes, otherwise: float) -> float:
        try:
            return float(found[name]) if name in found else otherwise
        except ValueError:
            return 0.0

    return Faults(
        status=int(number(b"status", default.status)),
        fail_times=int(number(b"fail-times", default.fail_times)),
        retry_after=found.get(b"retry-after", default.retry_after.encode()).decode("latin-1"),
        latency_ms=number(b"latency-ms", default.latency_ms),
        chunk_delay_ms=number(b"chunk-delay-ms", default.chunk_delay_ms),
        chunks=min(100_000, int(number(b"chunks", default.chunks))),
        words=min(100_000, int(number(b"words", default.words))),
        cut_after=int(number(b"cut-after", default.cut_after)),
        error_after=int(number(b"error-after", default.error_after)),
        no_usage=bool(number(b"no-usage", default.no_usage)),
        garbage=bool(number(b"garbage", default.garbage)),
    )
