"""Our detector beside a volume threshold, z-score rules, the first model and five published detectors, on one traffic.

    python -m benchmarks.baselines [--profile dev] [--seeds 4] [--verdicts NAME=FILE …] [--out DIR]

Everything learns from the warm-up of a run alone, without labels, and is judged on the rest. Fingerprints and feature rows
are kept in the run's folder, and a rerun is a matter of minutes. `--verdicts` adds a verdicts.jsonl made elsewhere, such as
a replay's, as one more column that ours is not compared with (with one seed). `--out` keeps figures.json, the picture, and
of each method the verdicts that the benchmark's own scorer reads, with its report.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.baselines import judged, published, simple, verdicts
from benchmarks.baselines.figures import Rates
from benchmarks.baselines.report import OURS, as_json, picture, scorer_table, tables
from benchmarks.baselines.verdicts import Said
from benchmarks.labelled import LabelledRun, NoBench, generate, python
from benchmarks.training.rows import labelled_items, labelled_rows

FIRST = "first model"


def methods(run: LabelledRun) -> Iterator[tuple[str, dict[str, Said]]]:
    """Name → what it says of the run's keys, ours first."""
    border = float(run.warmup_until)
    items, rows = labelled_items(run), labelled_rows(run)
    model, uses = judged.fitted(rows), judged.contracts(run.folder / "accounts.jsonl")
    yield OURS, judged.said(model, model.policy, rows, uses)
    yield FIRST, judged.said(model, judged.first_policy(model.policy), rows, uses)
    yield "z-score rules", verdicts.from_moments(simple.rules(rows), border)
    yield "volume", verdicts.from_moments(simple.volume(items), border)
    found = published.windows(items)
    for name, (statistic, both) in published.methods(published.reference(found, border)).items():
        yield name, verdicts.from_moments(published.moments(statistic, both, found, border), border)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; writes where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="dev")
    parser.add_argument("--seeds", type=int, nargs="+", default=[4])
    parser.add_argument("--verdicts", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    if given.verdicts and len(given.seeds) > 1:
        parser.error("--verdicts belong to one run: give one seed")
    elsewhere = {name: verdicts.read(Path(file)) for name, file in map(_parted, given.verdicts)}
    found: dict[str, Rates] = {}
    reports: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        try:
            for seed in given.seeds:
                run = generate(given.profile, seed)
                truth = json.loads((run.folder / "truth.json").read_text(encoding="utf-8"))
                for name, said in [*methods(run), *elsewhere.items()]:
                    found.setdefault(name, Rates()).add(truth, said)
                    folder = out / f"{run.folder.name}-{re.sub(r'[^a-z0-9]+', '-', name.lower())}"
                    reports.setdefault(name, []).append(_scored(run, said, folder))
        except NoBench as error:
            print(f"benchmarks.baselines: not measured, {error}", file=sys.stderr)
            return 1
        print(f"profile {given.profile}, seeds {', '.join(map(str, given.seeds))}")
        print("\n".join([*tables(found, elsewhere), *scorer_table(reports)]))
        if given.out:
            (out / "figures.json").write_text(json.dumps(as_json(found), indent=1) + "\n", encoding="utf-8")
            picture(found, out / "baselines.png")
    return 0


def _parted(text: str) -> tuple[str, str]:
    name, _, file = text.partition("=")
    return name, file


def _scored(run: LabelledRun, said: dict[str, Said], out: Path) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    verdicts.write(out / "verdicts.jsonl", said)
    names = {"--truth": run.folder / "truth.json", "--verdicts": out / "verdicts.jsonl", "--out": out / "report.json"}
    python(run.bench, "score.py", *(part for pair in names.items() for part in pair))
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


if __name__ == "__main__":
    sys.exit(main())
