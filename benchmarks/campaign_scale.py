"""Linking at scale: time and memory of a pass over simulated keys, and what is found among them.

    python -m benchmarks.campaign_scale [--keys 10000 100000 1000000]

Each size is a process of its own. The keys are traces: honest ones are drawn from the traces of invented customers, with
clients, settings, wordings, networks and payments of their own by a Zipf law; among them are an app that became popular
overnight, a course behind one network and one payment, a company that spreads its work over many keys, and one operation at
22 requests per key and day: 24,000 keys of a million, and the same share of a smaller fleet.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from app.settings import load
from benchmarks.scoring import exchanges, fitted
from detectors.analysis import Analysis, EntityState
from detectors.campaign import trace as traces
from detectors.campaign.linker import Linker
from detectors.campaign.trace import Kind, Trace
from detectors.sketch.decay import DAY_US

NOW_US = 1_790_000_000_000_000
OPERATION = 0.024
GOAL_SEC, GOAL_GIB = 60.0, 4.0
FRESH = 0.015
"""Share of the keys that have a new trace within a minute, at 22 requests per key and day."""

SEED = 7


class World:
    """A fleet of traces.

    Args:
        honest, hostile: traces to draw from.
        keys: how many keys there are.
    """

    def __init__(self, honest: list[Trace], hostile: list[Trace], keys: int) -> None:
        self._honest, self._hostile, self._keys = honest, hostile, keys
        self._dice = np.random.default_rng(SEED)
        self.operation = max(20, round(OPERATION * keys))

    def traces(self) -> Iterator[Trace]:
        """Every key's, the operation's first; ids begin with what they are."""
        viral, course, company = (max(10, round(share * self._keys)) for share in (0.003, 0.0002, 0.0005))
        for number in range(self.operation):
            yield self._member(number)
        for number in range(viral):
            yield self._like(f"viral-{number}", young=True, shared=[(Kind.SYSTEM, 1), (Kind.HEAD, 2), (Kind.GRAM, 3)])
        for number in range(course):
            common = [(Kind.HEAD, 11), (Kind.TAIL, 12), (Kind.PAYMENT, 13), (Kind.NETWORK, 14)]
            yield self._like(f"course-{number}", young=True, shared=common)
        for number in range(company):
            common = [(Kind.HEAD, 21), (Kind.GRAM, 22), (Kind.SETUP, 23), (Kind.PAYMENT, 24)]
            yield self._like(f"company-{number}", org="company", shared=common)
        for number in range(self._keys - self.operation - viral - course - company):
            yield self._like(f"honest-{number}")

    def _like(self, name: str, org: str = "", young: bool = False, shared: list[tuple[Kind, int]] | None = None) -> Trace:
        """An honest key: the sums of some customer, marks of its own."""
        dice = self._dice
        base = self._honest[int(dice.integers(len(self._honest)))]
        age_us = round(DAY_US * (0.3 + dice.random() if young else 5 + 300 * dice.random()))
        zipf = int(dice.zipf(1.4)) % 50_000
        marks = [(Kind.SETUP, 1000 + zipf), (Kind.SYSTEM, 1000 + zipf % 997), (Kind.NETWORK, int(dice.integers(2**32)))]
        marks += [(Kind.PAYMENT, int(dice.integers(2**32))), (Kind.CONTRACT, 1000 + int(dice.zipf(1.5)) % 10_000)]
        marks += [(kind, 1000 + int(dice.zipf(1.3)) % 2**31) for kind in (Kind.HEAD, Kind.TAIL)]
        marks += [(Kind.GRAM, int(item)) for item in dice.integers(0, 2**32, 14)]
        return self._made(base, name, org or f"o-{name}", age_us, [*(shared or []), *marks], float(dice.random()))

    def _member(self, number: int) -> Trace:
        """A key of the operation: one wording, one form of answers, forty clients, nothing else in common."""
        dice = self._dice
        base = self._hostile[int(dice.integers(len(self._hostile)))]
        name = f"operation-{number}"
        common = [(Kind.TAIL, 31), (Kind.GRAM, 32), (Kind.GRAM, 33), (Kind.CONTRACT, 34), (Kind.SETUP, 40 + number % 40)]
        own = [(Kind.NETWORK, int(dice.integers(2**32))), (Kind.PAYMENT, int(dice.integers(2**32)))]
        own += [(Kind.GRAM, int(item)) for item in dice.integers(0, 2**32, 12)]
        score = 1.0 - float(dice.random()) ** 3 * 0.1
        return self._made(base, name, f"o-{name}", round(DAY_US * (0.2 + 2 * dice.random())), [*common, *own], score)

    def _made(self, base: Trace, name: str, org: str, age_us: int, marks: list[tuple[Kind, int]], score: float) -> Trace:
        packed = sorted((int(kind), item & 0xFFFFFFFF) for kind, item in marks)
        array = np.array([(kind, item, 200) for kind, item in packed], traces.MARK_DTYPE)
        return msgspec.structs.replace(
            base,
            key_id=name,
            org=org,
            at_us=NOW_US - 1,
            first_us=NOW_US - age_us,
            created_us=NOW_US - age_us,
            score=score,
            level=0,
            authorised=False,
            marks=array.tobytes(),
        )


def measured(keys: int) -> dict[str, Any]:
    """Figures of one size."""
    settings = load(environ={"STILLWATCH_IDENTITY_PEPPER": "benchmark: these hashes never leave it"})
    items = exchanges(settings)
    model, _ = fitted(items)
    found: list[Trace] = []
    states: dict[tuple[str, str], EntityState] = {}
    Analysis(model).observe(states, items, None, found)
    newest = {one.key_id: one for one in found if one.exchanges >= 20 and not one.authorised}
    honest = [one for one in newest.values() if 0.0 <= one.score < 0.8]
    # The invented attackers are the highest scores of this small world.
    hostile = sorted(newest.values(), key=lambda one: -one.score)[:20]
    world = World(honest, hostile, keys)
    before = _rss()
    linker = Linker(model)
    held = list(world.traces())
    fresh = _some(held, keys)
    began = time.perf_counter()
    linker.load(held)
    loaded = time.perf_counter() - began
    del held
    began = time.perf_counter()
    linker.step(NOW_US)
    first = time.perf_counter() - began
    began = time.perf_counter()
    linker.take(fresh)
    linker.step(NOW_US + 60_000_000)
    second = time.perf_counter() - began
    reported = [one for one in linker.campaigns.values() if one.reported]
    members = [member.key_id for one in reported for member in one.members]
    caught = sum(1 for key in members if key.startswith("operation-"))
    false = [one for one in reported if sum(m.key_id.startswith("operation-") for m in one.members) * 2 <= len(one.members)]
    return {
        "keys": keys,
        "load_sec": loaded,
        "first_sec": first,
        "next_sec": second,
        "gib": _rss() / 2**20,
        "before_gib": before / 2**20,
        "operation": world.operation,
        "recall": caught / world.operation,
        "precision": caught / max(1, len(members)),
        "reported": len(reported),
        "false": len(false),
    }


def _some(held: Sequence[Trace], keys: int) -> list[Trace]:
    """As many keys as have a new trace within a minute, all over the fleet, one exchange later."""
    step = max(1, round(1.0 / FRESH))
    return [msgspec.structs.replace(one, at_us=NOW_US + 1, exchanges=one.exchanges + 1) for one in held[:keys:step]]


def _rss() -> float:
    """Peak resident memory of this process, KiB."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> int:
    """Prints the table; the exit status is 1 when the goal for a million keys is missed."""
    parser = argparse.ArgumentParser(description="Linking at scale.")
    parser.add_argument("--keys", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    rows = []
    for keys in args.keys:
        print(f"{keys:,} keys …", file=sys.stderr, flush=True)
        with spawn.Pool(1) as pool:
            rows.append(pool.apply(measured, (keys,)))
        gc.collect()
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print("| keys | first pass, s | next pass, s | peak memory, GiB | operation's keys | found | precision | false |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['keys']:,} | {row['first_sec']:.2f} | {row['next_sec']:.2f} | {row['gib']:.2f} | "
            f"{row['operation']:,} | {row['recall']:.3f} | {row['precision']:.3f} | {row['false']} |"
        )
    for one, other in itertools.pairwise(rows):
        power = math.log(other["next_sec"] / one["next_sec"]) / math.log(other["keys"] / one["keys"])
        print(f"growth from {one['keys']:,} to {other['keys']:,} keys: time goes with the {power:.2f}th power")
    last = rows[-1]
    missed = last["keys"] >= 1_000_000 and (max(last["first_sec"], last["next_sec"]) > GOAL_SEC or last["gib"] > GOAL_GIB)
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
