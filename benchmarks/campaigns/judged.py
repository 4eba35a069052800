"""A world judged: replayed with the linker, and scored with its campaigns and without them; done once for each state of the
sources."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from app.offline.job import ReplayJob, looking, plan_of, run_plan
from app.offline.verdicts import CAMPAIGNS, VERDICTS
from app.settings import load
from benchmarks.campaigns.feed import ItemsFeed, truth_of, world
from benchmarks.labelled import ROOT, LabelledRun, python
from benchmarks.training.rows import labelled_items
from detectors.scorers.boosted import Boosted

_SOURCES = ("detectors", "app/offline", "app/gateway", "app/settings")
_COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Judged:
    """One world.

    Attributes:
        name: of the world.
        truth: its answer key.
        verdicts, campaigns: what the replay wrote, line by line.
        linked, alone: the scorer's report, and its report on the same verdicts without campaigns; None for a world without
            any operation, which the scorer does not take.
    """

    name: str
    truth: Mapping[str, Any]
    verdicts: Sequence[Mapping[str, Any]]
    campaigns: Sequence[Mapping[str, Any]]
    linked: Mapping[str, Any] | None
    alone: Mapping[str, Any] | None


def judged(name: str, trees: Boosted | None = None, trees_name: str = "shipped") -> Judged:
    """A world by name; a later call with the same sources finds it ready.

    Args:
        name: as in `feed`.
        trees: that judge, in place of the shipped ones.
        trees_name: of them; trees of another name are others.

    Raises:
        NoBench: the benchmark is missing or refuses. StillwatchError: the replay failed.
    """
    run = world(name)
    truth = truth_of(run)
    folder = run.folder / f"campaigns-{trees_name}-{digest()}"
    if not (folder / _COMPLETE).is_file():
        started = time.monotonic()
        say(f"{name}: judging with {trees_name} trees")
        _replay(run, folder, trees)
        if truth["campaigns"]:
            _score(run, folder, "linked.json", folder / CAMPAIGNS)
            _score(run, folder, "alone.json")
        (folder / _COMPLETE).touch()
        say(f"{name}: {time.monotonic() - started:.0f} s")
    reports = [json.loads(path.read_text()) if path.is_file() else None for path in map(folder.joinpath, _REPORTS)]
    return Judged(name, truth, _lines(folder / VERDICTS), _lines(folder / CAMPAIGNS), reports[0], reports[1])


_REPORTS = ("linked.json", "alone.json")


@cache
def digest() -> str:
    """Of every source and artefact that decides what a replay writes."""
    whole = blake2b(digest_size=6)
    for name in _SOURCES:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place.with_suffix(".py")]:
            if path.is_file() and "__pycache__" not in path.parts:
                whole.update(f"{path.relative_to(ROOT)}\n".encode())
                whole.update(path.read_bytes())
    return whole.hexdigest()


def say(what: str) -> None:
    """A line of progress."""
    print(what, file=sys.stderr, flush=True)


def _replay(run: LabelledRun, folder: Path, trees: Boosted | None) -> None:
    job = ReplayJob(requests=run.folder / "requests.jsonl.gz", out=folder, warmup_until=run.warmup_until)
    plan = replace(looking(plan_of(job), load(environ={})), trees=trees)
    found = labelled_items(run)
    run_plan(job, plan, lambda: ItemsFeed(found), {})


def _score(run: LabelledRun, folder: Path, out: str, campaigns: Path | None = None) -> None:
    names = {"--truth": run.folder / "truth.json", "--verdicts": folder / VERDICTS, "--out": folder / out}
    if campaigns is not None:
        names["--campaigns"] = campaigns
    python(run.bench, "score.py", *(part for pair in names.items() for part in pair))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
