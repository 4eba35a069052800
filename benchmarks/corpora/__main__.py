"""Makes corpora for the labelled traffic generator from public repositories that nothing here was tuned to.

    python -m benchmarks.corpora --mirror DIR [--set b c] [--out DIR]

`--mirror` holds git snapshots of the repositories that docs/other-corpora.md lists. Each set becomes a folder of `--out`
(default: where the random worlds look for it) with the texts, a copy of the benchmark's timing traces and roles.toml, which
says who draws on what. No text of these is part of this project.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.corpora import row
from benchmarks.corpora.repository import NoCorpus
from benchmarks.corpora.sources import SETS, Set
from benchmarks.labelled import NoBench, corpora, find_bench


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the sets and prints what is in them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpora", description=__doc__.splitlines()[0])
    parser.add_argument("--mirror", type=Path, required=True, help="folder of git snapshots")
    parser.add_argument("--set", nargs="+", choices=tuple(SETS), default=list(SETS), dest="sets")
    parser.add_argument("--out", type=Path, default=corpora(), help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        bench = find_bench()
        for name in given.sets:
            _make(SETS[name](given.mirror), given.out / name, bench)
    except (NoCorpus, NoBench) as missing:
        print(f"corpora: not made, {missing}", file=sys.stderr)
        return 1
    return 0


def _make(made: Set, out: Path, bench: Path) -> None:
    frame = tomllib.loads((bench / "profiles" / "dev-small.toml").read_text())
    for split, sources in (("attack", made.attack), ("benign", made.benign)):
        for name, rows in sources.items():
            count = row.write(out / "prompts" / split / f"{name}.parquet", rows())
            print(f"{out.name} {split:<7}{name:<22}{count:>7} rows", flush=True)
    shutil.copytree(bench.parent / "data" / "traces", out / "traces", dirs_exist_ok=True)
    lines = _table("roles", made.roles) + _table("traces", frame["traces"]) + _table("pools", made.pools)
    (out / "roles.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(name: str, entries: Mapping[str, Sequence[str]]) -> list[str]:
    """A TOML table of lists; an entry that is an inline table already stays one."""
    lines = [f"[{name}]"]
    for key, values in entries.items():
        inner = ", ".join(value if value.startswith("{") else f'"{value}"' for value in values)
        lines.append(f"{key} = [{inner}]")
    return lines


if __name__ == "__main__":
    sys.exit(main())
