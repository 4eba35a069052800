"""What a suspect data set costs from file to report, by its number of documents: time, and memory that must not grow.

Clean documents of tokens by lot: what they say does not matter to the cost, and nobody may be named. Each command is a
process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.watermark.texts import profile, table, tenants
from detectors.watermark.registry import Registry

NAME = "scan"


def add(parser: argparse.ArgumentParser) -> None:
    """How many documents, how long, and how many keys."""
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes")
    parser.add_argument("--tokens", type=int, default=64, help="of a document (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=1000, help="issued codewords (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints a table."""
    print(f"Documents of {args.tokens} tokens as lists in JSON Lines; {args.keys:,} keys\n")
    heads = ("documents", "file MB", "scan s", "tokens/s", "peak MiB", "evidence MB", "attribute s", "peak MiB", "named")
    table(heads, _rows(args))
    return 0


def _rows(args: argparse.Namespace) -> Iterator[tuple[object, ...]]:
    for documents in args.documents:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            corpus = _corpus(folder, documents, args.tokens, args.keys)
            scan_sec, scan_mib = _measured(folder, "scan", corpus.name, "--out", "evidence", "--quiet")
            sizes = sum(path.stat().st_size for path in (folder / "evidence").iterdir())
            attribute = ("attribute", "evidence", "--tenants", "tenants.txt", "--out", "report", "--quiet", "--json")
            attribute_sec, attribute_mib = _measured(folder, *attribute)
            named = len(json.loads((folder / "out").read_text())["named"])
            yield (
                f"{documents:,}", f"{corpus.stat().st_size / 1e6:,.0f}", f"{scan_sec:,.1f}",
                f"{documents * args.tokens / scan_sec:,.0f}", f"{scan_mib:,.0f}", f"{sizes / 1e6:,.0f}",
                f"{attribute_sec:,.1f}", f"{attribute_mib:,.0f}", named,
            )  # fmt: skip


def _corpus(folder: Path, documents: int, tokens: int, keys: int) -> Path:
    (folder / "profiles.json").write_text(Registry([profile()]).dumped())
    secrets = folder / "secrets.json"
    secrets.write_text(json.dumps({"bench": "01" * 32}))
    secrets.chmod(0o600)
    (folder / "tenants.txt").write_text("\n".join(tenants(keys)) + "\n")
    randomness = np.random.default_rng(1)
    corpus = folder / "corpus.jsonl"
    with corpus.open("w") as file:
        for low in range(0, documents, 1000):
            rows = randomness.integers(0, 32_000, (min(1000, documents - low), tokens)).tolist()
            file.writelines(json.dumps({"tokens": row}) + "\n" for row in rows)
    return corpus


def _measured(folder: Path, *arguments: str) -> tuple[float, float]:
    """Seconds, and peak resident memory in MiB, of one command."""
    files = ("--profiles", "profiles.json", "--secrets", "secrets.json")
    environ = os.environ | {"PYTHONPATH": os.getcwd()}
    began = time.perf_counter()
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "watermark", *arguments, *files], cwd=folder, env=environ, stdout=out
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - began, used.ru_maxrss / 1024
