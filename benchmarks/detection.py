"""How well the detectors do on the labelled traffic benchmark: generate, replay, score.

    python -m benchmarks.detection [--profile dev-small] [--seeds 1 2 3] [--keep DIR] [--full]

Prints a row per seed, their mean, and false positives by stratum and recall by family over all seeds; `--full` prints the
scorer's own table for each seed as well. `--keep` leaves verdicts, the replay's report and the scorer's report.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import StillwatchError
from app.offline.job import ReplayJob, run_replay
from app.settings import load
from benchmarks.labelled import NoBench, generate, python

FIGURES: Mapping[str, Callable[[dict[str, Any]], float | None]] = {
    "AUROC": lambda r: r["ranking"]["auroc"]["value"],
    "AP": lambda r: r["ranking"]["average_precision"]["value"],
    "TPR@1%": lambda r: r["ranking"]["tpr_at_fpr_0.01"]["value"],
    "TPR": lambda r: r["at_own_level"]["tpr"]["rate"],
    "FPR": lambda r: r["at_own_level"]["fpr"]["rate"],
    "precision": lambda r: r["at_own_level"]["precision"],
    "camp. recall": lambda r: r["campaigns"]["recall"]["rate"],
    "before alarm": lambda r: r["leak"]["before_alarm_distinct"]["median"],
    "contained": lambda r: r["leak"]["contained_distinct"]["median"],
    "never": lambda r: r["requests_to_detect"]["never"],
}
"""Column → figure of the scorer's report. Leak figures are medians over campaigns of the share of distinct items."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One seed: the scorer's report, its table, and how fast the replay was."""

    seed: int
    report: dict[str, Any]
    table: str
    events_per_sec: float


def score(profile: str, seed: int, out: Path) -> Scored:
    """Generates, replays and scores one seed; files go to `out`.

    Raises:
        NoBench: the benchmark is missing or refuses. StillwatchError: the replay failed.
    """
    run = generate(profile, seed)
    job = ReplayJob(
        requests=run.folder / "requests.jsonl.gz",
        out=out,
        accounts=run.folder / "accounts.jsonl",
        networks=run.folder / "networks.jsonl",
        warmup_until=run.warmup_until,
    )
    done = run_replay(job, load(environ={}))
    names = {"--truth": run.folder / "truth.json", "--out": out / "report.json"}
    names |= {f"--{kind}": out / f"{kind}.jsonl" for kind in ("verdicts", "campaigns")}
    table = python(run.bench, "score.py", *(part for pair in names.items() for part in pair))
    report = json.loads((out / "report.json").read_text())
    return Scored(seed, report, table, done.outcome.run.events_per_sec)


def summary(runs: Sequence[Scored]) -> Iterator[str]:
    """Lines: a row per seed, the mean, and what the groups of keys add up to over all seeds."""
    yield "seed   " + "".join(f"{name:>13}" for name in FIGURES) + f"{'events/s':>10}"
    rows = [[figure(run.report) for figure in FIGURES.values()] for run in runs]
    for run, row in zip(runs, rows, strict=True):
        yield f"{run.seed:<7}" + "".join(map(_cell, row)) + f"{run.events_per_sec:>10,.0f}"
    if len(runs) > 1:
        known = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
        yield "mean   " + "".join(_cell(sum(column) / len(column) if column else None) for column in known)
    yield ""
    yield from _pooled("False positives by stratum", runs, lambda r: r["fpr_by_stratum"])
    yield ""
    yield from _pooled("Recall by family", runs, _families)


def _families(report: dict[str, Any]) -> dict[str, Any]:
    return {name: entry["own_level"] for name, entry in report["recall_by"]["family"].items()}


def _pooled(title: str, runs: Sequence[Scored], part: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[str]:
    parts = [part(run.report) for run in runs]
    yield f"{title:<28} {'rate':>6}  flagged/keys"
    for name in sorted({name for found in parts for name in found}):
        hits = sum(found[name]["hits"] for found in parts if name in found)
        keys = sum(found[name]["n"] for found in parts if name in found)
        yield f"  {name:<26} {hits / max(1, keys):>6.3f}  {hits}/{keys}"


def _cell(value: float | None) -> str:
    return f"{'-':>13}" if value is None else f"{value:>13.3f}"


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Score the detectors on the labelled traffic benchmark.")
    parser.add_argument("--profile", default="dev-small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--keep", type=Path, help="folder that keeps every seed's files")
    parser.add_argument("--full", action="store_true", help="print the scorer's own table too")
    args = parser.parse_args()
    runs = []
    try:
        with tempfile.TemporaryDirectory() as temporary:
            for seed in args.seeds:
                runs.append(score(args.profile, seed, (args.keep or Path(temporary)) / f"{args.profile}-{seed}"))
                if args.full:
                    print(runs[-1].table)
    except (NoBench, StillwatchError) as error:
        print(f"detection: not measured, {error}", file=sys.stderr)
        return 1
    print(f"profile {args.profile}")
    print("\n".join(summary(runs)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
