"""Matching at scale: shared indicators against a million keys, and against an archive; time, memory, and who is found.

    python -m benchmarks.sharing_match [--keys 1000000] [--indicators 1000 10000 100000] [--rows 400000]

The keys are traces as in `benchmarks.campaign_scale`; a campaign of 1,000 keys is planted among them, and what tells it
apart is distilled from 200 of its members at "another provider", beside honest keys. The other indicators are of campaigns
that are not here: one token in twenty of theirs is a mark that some honest keys here have, at most one in a hundred. Traces
are made in slices, and only matching is timed: time of the processor, since the cores are shared with others. The archive
is invented traffic (`benchmarks.traffic`), repeated under other keys until it has so many rows; in it the most common first
words of a request are looked for, and campaigns that are not there.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from app.intel import retro
from app.intel.networks import Places
from app.intel.watch import Watch
from app.settings import Settings, load
from app.state.intel_indicators import Held
from app.state.row_store import RowPlan
from app.worker import rows
from app.worker.archive import path_of
from benchmarks.campaign_scale import NOW_US, World
from benchmarks.scoring import Item, exchanges
from detectors import model as models
from detectors.analysis import Analysis, EntityState
from detectors.campaign.trace import Kind, Trace, marks_of
from detectors.sharing.distil import MOST_HONEST, distilled
from detectors.sharing.indicator import DAY_US, MOST_TOKENS, Indicator
from detectors.sharing.match import Hit, Index
from detectors.sharing.tokens import KIND_OF, SCHEME, GroupKey
from detectors.watermark.keys import MasterSecret

PLANTED = 1_000
SLICE = 50_000
ONE_BY_ONE = 50_000
SEED = 9
EPOCH = "q4"
KEY = GroupKey(MasterSecret(bytes(range(32))))
PARTITIONS, FILE_ROWS = 16, 20_000

_OF_KIND: dict[str, list[int]] = {
    shared: [kind for kind, one in KIND_OF.items() if one == shared] for shared in ("template", "contract", "settings")
}


@dataclass
class Size:
    """One number of indicators.

    Attributes:
        built_sec: time of making the index; mib: resident memory that came with it.
        fleet_sec: time of the processor for matching all keys, in slices; single_sec: for the first ones one by one.
        wall_sec: by the clock, for all keys.
        found: planted keys that hit the planted indicators; false: other keys that did; strangers: that hit other ones.
    """

    index: Index
    built_sec: float
    mib: float
    fleet_sec: float = 0.0
    wall_sec: float = 0.0
    single_sec: float = 0.0
    singles: int = 0
    found: set[str] = field(default_factory=set)
    false: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints both tables; the exit status is 1 when a planted key is missed or another one hits its indicators."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--indicators", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rows", type=int, default=400_000)
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    settings = load(environ={"STILLWATCH_IDENTITY_PEPPER": "benchmark: these hashes never leave it"})
    items = exchanges(settings)
    wrong = bool(given.keys) and _traces(items, given.keys, given.indicators)
    if given.rows:
        _archive(items, given.rows, given.indicators, settings)
    return int(wrong)


def _traces(items: Sequence[Item], keys: int, sizes: Sequence[int]) -> bool:
    world = _world(items, keys)
    made = world.traces()
    members = list(itertools.islice(made, world.operation))
    honest = list(itertools.islice(made, 5_000 + round(0.004 * keys)))[-5_000:]
    planted = _planted(members[:200], honest)
    print(f"{keys:,} keys, {PLANTED:,} of them planted, told by {len(planted)} indicators", flush=True)
    measured = [_size(planted, honest, count) for count in sizes]
    names = {one.id for one in planted}
    world = _world(items, keys)
    for part in _slices(world.traces()):
        for one in measured:
            began, wall = time.process_time(), time.perf_counter()
            hits = list(one.index.fleet(part, NOW_US))
            one.fleet_sec += time.process_time() - began
            one.wall_sec += time.perf_counter() - wall
            _sort(one, hits, names)
            if one.singles < ONE_BY_ONE:
                began = time.process_time()
                alone = [hit for trace in part for hit in one.index.hits(trace, NOW_US)]
                one.single_sec += time.process_time() - began
                one.singles += len(part)
                if alone != hits:
                    raise AssertionError("a fleet and its keys one by one differ")
        print(f"\r  {part[-1].key_id}".ljust(40), end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(
        "| indicators | index, s | index, MiB | all, s | by clock, s | µs a key | alone, µs | found | false | other hits |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in measured:
        print(
            f"| {len(one.index):,} | {one.built_sec:.2f} | {one.mib:.0f} | {one.fleet_sec:.1f} | {one.wall_sec:.1f} | "
            f"{1e6 * one.fleet_sec / keys:.1f} | {1e6 * one.single_sec / one.singles:.1f} | {len(one.found):,} | "
            f"{len(one.false):,} | {len(one.strangers):,} |"
        )
    print(f"peak memory of the process: {_peak_mib():,.0f} MiB (traces in slices of {SLICE:,})", flush=True)
    return any(len(one.found) != world.operation or one.false for one in measured)


def _world(items: Sequence[Item], keys: int) -> World:
    """The same fleet each time."""
    found: list[Trace] = []
    states: dict[tuple[str, str], EntityState] = {}
    Analysis(models.rules_only()).observe(states, items, None, found)
    newest = [one for one in {one.key_id: one for one in found}.values() if one.exchanges >= 20]
    world = World(newest, newest[:20], keys)
    world.operation = min(PLANTED, keys // 10)
    return world


def _planted(members: Sequence[Trace], honest: Sequence[Trace]) -> list[Indicator]:
    return [
        _indicator(one.kind, [KEY.token(mark) for mark in one.marks], one.weights, number)
        for number, one in enumerate(distilled(members, honest))
    ]


def _size(planted: Sequence[Indicator], honest: Sequence[Trace], count: int) -> Size:
    """An index of so many."""
    others = _others(honest, count - len(planted))
    before, began = _rss_mib(), time.process_time()
    index = Index([*planted, *others], {EPOCH: KEY})
    return Size(index, time.process_time() - began, _rss_mib() - before)


def _others(honest: Sequence[Trace], count: int) -> list[Indicator]:
    """Of campaigns that are not here; now and then they name what some honest key here has."""
    dice = random.Random(SEED)
    carried = Counter(mark for trace in honest for mark, _ in marks_of(trace) if mark >> 32 in KIND_OF)
    here: dict[str, list[int]] = {}
    for mark, times in carried.items():
        if times <= max(1.0, MOST_HONEST * len(honest)):  # what is more common is never distilled
            here.setdefault(KIND_OF[mark >> 32], []).append(mark)
    made = []
    for number in range(count):
        kind = dice.choice(("template", "template", "contract", "settings"))
        most = {"template": 16, "contract": 3, "settings": 4}[kind]
        marks = {
            dice.choice(here[kind]) if dice.random() < 0.05 else dice.choice(_OF_KIND[kind]) << 32 | dice.getrandbits(32)
            for _ in range(dice.randrange(1, most + 1))
        }
        weights = [round(dice.uniform(3.0, 9.0), 2) for _ in marks]
        made.append(_indicator(kind, [KEY.token(mark) for mark in sorted(marks)], weights, 1000 + number))
    return made


def _indicator(kind: str, tokens: Sequence[str], weights: Sequence[float], number: int) -> Indicator:
    return Indicator(
        f"indicator--{uuid.UUID(int=number, version=4)}",
        kind,  # type: ignore[arg-type]
        tuple(tokens[:MOST_TOKENS]),
        NOW_US - DAY_US,
        NOW_US + 59 * DAY_US,
        SCHEME,
        EPOCH,
        tuple(weights[:MOST_TOKENS]),
    )


def _slices(traces: Iterator[Trace]) -> Iterator[list[Trace]]:
    while part := list(itertools.islice(traces, SLICE)):
        yield part


def _sort(one: Size, hits: Sequence[Hit], planted: set[str]) -> None:
    for hit in hits:
        if hit.indicator not in planted:
            one.strangers.add(hit.key_id)
        elif hit.key_id.startswith("operation-"):
            one.found.add(hit.key_id)
        else:
            one.false.add(hit.key_id)


def _archive(items: Sequence[Item], count: int, sizes: Sequence[int], settings: Settings) -> None:
    heads = [fp.head & 0xFFFFFFFF for _, fp in items if fp.head]
    head = max(set(heads), key=heads.count)
    looked_for = _indicator("template", [KEY.token(Kind.HEAD << 32 | head)], [5.0], 1)
    traces: list[Trace] = []
    Analysis(models.rules_only()).observe({}, items, None, traces)
    newest = list({one.key_id: one for one in traces}.values())
    with tempfile.TemporaryDirectory(prefix="sw-") as folder:
        written, keys = _write(items, count, Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        print(f"\narchive: {written:,} exchanges of {keys:,} keys in {size / 2**20:,.0f} MiB", flush=True)
        print("| indicators | seconds | by the clock | exchanges a second | MiB more | keys that hit |")
        print("| --- | --- | --- | --- | --- | --- |")
        for number in sizes:
            held = [Held(one, "labs", "acme", NOW_US, "amber") for one in (looked_for, *_others(newest, number - 1))]
            watch = Watch(held, {}, {"labs": {EPOCH: KEY}}, Places(), lambda one: one, NOW_US)
            before = _rss_mib()
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            began, wall = time.process_time(), time.perf_counter()
            looked = retro.look_back(Path(folder), 3650, watch, {}, NOW_US)
            spent, wall = time.process_time() - began, time.perf_counter() - wall
            print(
                f"| {len(watch):,} | {spent:.1f} | {wall:.1f} | {looked.rows / spent:,.0f} | {_high_mib() - before:.0f} | "
                f"{len(looked.found):,} |",
                flush=True,
            )


def _write(items: Sequence[Item], count: int, folder: Path) -> tuple[int, int]:
    """The traffic again and again, each time of other keys, in files as a worker writes them."""
    parts: list[list[rows.Row]] = [[] for _ in range(PARTITIONS)]
    written = [0] * PARTITIONS
    keys: set[str] = set()
    total = 0

    def flush(partition: int) -> None:
        mine = parts[partition]
        path = path_of(folder, partition, RowPlan(mine[0].entry_id, mine[-1].entry_id))
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_frame(mine).write_parquet(path, compression="zstd")
        written[partition] += len(mine)
        parts[partition] = []

    for again in range(-(-count // len(items))):
        turn = np.uint32(again * 0x9E3779B1 & 0xFFFFFFFF)
        for event, fp in items:
            name = f"{again:x}{event.key_id}"[:32]
            at_us = event.at_us + again * 5 * DAY_US
            moved = msgspec.structs.replace(event, key_id=name, org_id="", at_us=at_us)
            # Runs of words that nobody else has are most of what is hashed: others for other keys.
            grams = (np.frombuffer(fp.grams, "<u4") ^ turn).tobytes()
            keys.add(name)
            partition = hash_of(name) % PARTITIONS
            parts[partition].append(rows.Row(f"{at_us // 1000}-{total}", moved, msgspec.structs.replace(fp, grams=grams)))
            total += 1
            if len(parts[partition]) >= FILE_ROWS:
                flush(partition)
    for partition in range(PARTITIONS):
        if parts[partition]:
            flush(partition)
    return total, len(keys)


def hash_of(name: str) -> int:
    """The same in every process."""
    return int.from_bytes(name.encode()[-4:], "little")


def _rss_mib() -> float:
    return float(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)


def _high_mib() -> float:
    """Peak of resident memory since it was begun anew."""
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1024


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
