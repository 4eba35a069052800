"""Speed of `stillwatch replay` on one core: exchanges per second from the compressed log to the verdicts.

    python -m benchmarks.replay [--profile dev-small] [--seed 1]

Reading, decompression, events, fingerprints, profiles, features, the fit and every scoring are in it; writing the report is
not.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

GOAL_PER_SEC = 1000.0


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured. Memory is the highest resident size of the process in MiB."""

    name: str
    events: int
    seconds: float
    cpu_seconds: float
    peak_mib: float

    @property
    def per_sec(self) -> float:
        """Exchanges per second of wall clock."""
        return self.events / self.seconds

    def __str__(self) -> str:
        cpu = 1000 * self.cpu_seconds / self.events
        return (
            f"{self.name:<24} {self.per_sec:>8,.0f} events/s  {cpu:>6.2f} CPU-s per 1,000  {self.peak_mib:>6,.0f} MiB  "
            f"({self.events:,} events in {self.seconds:.1f} s)"
        )


def measure(profile: str = "dev-small", seed: int = 1) -> Row:
    """Replays one generated run on one core of this process.

    Raises:
        NoBench: the labelled benchmark is not on this machine.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from app.offline.job import ReplayJob, run_replay
    from app.settings import load
    from benchmarks.labelled import generate

    run = generate(profile, seed)
    with tempfile.TemporaryDirectory() as out:
        job = ReplayJob(
            requests=run.folder / "requests.jsonl.gz",
            out=Path(out),
            accounts=run.folder / "accounts.jsonl",
            networks=run.folder / "networks.jsonl",
            warmup_until=run.warmup_until,
        )
        before = time.process_time()
        done = run_replay(job, load(environ={}))
        cpu = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Row(f"replay, {profile}", done.outcome.run.events, done.outcome.run.seconds, cpu, peak)


def main() -> int:
    """Prints one row."""
    from benchmarks.labelled import NoBench

    parser = argparse.ArgumentParser(description="Speed of replay on one core.")
    parser.add_argument("--profile", default="dev-small")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    try:
        row = measure(args.profile, args.seed)
    except NoBench as error:
        print(f"replay: not measured, {error}", file=sys.stderr)
        return 1
    print(row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
