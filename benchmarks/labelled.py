"""Runs of the labelled traffic benchmark: generated once, and kept in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training import profiles

ROOT = Path(__file__).resolve().parents[1]
ENV = "STILLWATCH_BENCH"
RANDOM = "random"


class NoBench(Exception):
    """The benchmark is not on this machine, or refuses; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """One generated run: requests.jsonl.gz, accounts.jsonl, networks.jsonl, truth.json in `folder`."""

    folder: Path
    bench: Path

    @property
    def warmup_until(self) -> str:
        """Unix seconds: the one value of the answer key that a detector is told."""
        truth: dict[str, Any] = json.loads((self.folder / "truth.json").read_text())
        return str(truth["warmup_until"])


def find_bench() -> Path:
    """Folder of the benchmark.

    Raises:
        NoBench: it is not where the environment or the usual place says.
    """
    folder = Path(os.environ.get(ENV) or ROOT.parent / "shared" / "bench")
    if not (folder / "traffic.py").is_file():
        raise NoBench(f"the labelled benchmark is not in {folder}: set {ENV} to its folder")
    return folder.resolve()


def generate(profile: str, seed: int) -> LabelledRun:
    """The run of a profile and seed; a later call on the same machine finds it ready.

    Args:
        profile: one of the benchmark's own, or "random": a world of `training.profiles`, another for every seed.
        seed: of the generator.

    Raises:
        NoBench: the benchmark is missing, does not know the profile, or refuses the seed.
    """
    bench = find_bench()
    folder = Path(tempfile.gettempdir()) / f"stillwatch-bench-{os.getuid()}" / f"{profile}-{seed}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    toml = bench / "profiles" / f"{profile}.toml"
    if profile == RANDOM:
        toml = folder.with_suffix(".toml")
        world = profiles.draw(bench / "profiles" / "dev-small.toml", seed)
        if not toml.is_file() or toml.read_text() != world:
            (folder / "complete").unlink(missing_ok=True)
            toml.write_text(world)
    if not toml.is_file():
        known = ", ".join(sorted(path.stem for path in toml.parent.glob("*.toml")))
        raise NoBench(f"the labelled benchmark has no profile {profile}; it has {known}")
    if not (folder / "complete").is_file():
        folder.mkdir(exist_ok=True)
        python(bench, "traffic.py", "--data", bench.parent / "data", "--profile", toml, "--seed", seed, "--out", folder)
        (folder / "complete").touch()
    return LabelledRun(folder, bench)


def python(bench: Path, script: str, *args: object) -> str:
    """Output of one of the benchmark's scripts.

    Raises:
        NoBench: it failed; the message is its last line.
    """
    done = subprocess.run(
        [sys.executable, str(bench / script), *map(str, args)],
        cwd=bench,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise NoBench(f"the labelled benchmark's {script} failed: {last}")
    return done.stdout
