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
from benchmarks.training.profiles import Kit

ROOT = Path(__file__).resolve().parents[1]
ENV = "STILLWATCH_BENCH"
CORPORA_ENV = "STILLWATCH_CORPORA"
PACKS = ROOT / "benchmarks" / "training" / "packs"
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
        profile: one of the benchmark's own, or "random": a world of `training.profiles`, another for every seed, on the
            benchmark's corpora and wordings. "random-XY": such a world on the corpora X and the wordings Y, where "a" is
            the benchmark's own of either, and every other letter is a folder of `corpora()` and of PACKS.
        seed: of the generator.

    Raises:
        NoBench: the benchmark is missing, does not know the profile, or refuses the seed.
    """
    bench = find_bench()
    folder = Path(tempfile.gettempdir()) / f"stillwatch-bench-{os.getuid()}" / f"{profile}-{seed}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    toml = bench / "profiles" / f"{profile}.toml"
    data = bench.parent / "data"
    if profile.split("-")[0] == RANDOM:
        toml = folder.with_suffix(".toml")
        frame = bench / "profiles" / "dev-small.toml"
        kit = Kit.of_frame(frame)
        if profile != RANDOM:
            data, kit = _kit(profile.removeprefix(f"{RANDOM}-"), data, kit)
        world = profiles.draw(frame, seed, kit)
        if not toml.is_file() or toml.read_text() != world:
            (folder / "complete").unlink(missing_ok=True)
            toml.write_text(world)
    if not toml.is_file():
        known = ", ".join(sorted(path.stem for path in toml.parent.glob("*.toml")))
        raise NoBench(f"the labelled benchmark has no profile {profile}; it has {known}")
    if not (folder / "complete").is_file():
        folder.mkdir(exist_ok=True)
        python(bench, "traffic.py", "--data", data, "--profile", toml, "--seed", seed, "--out", folder)
        (folder / "complete").touch()
    return LabelledRun(folder, bench)


def corpora() -> Path:
    """Folder of the corpora that `benchmarks.corpora` makes."""
    usual = Path(tempfile.gettempdir()) / f"stillwatch-corpora-{os.getuid()}"
    return Path(os.environ.get(CORPORA_ENV) or usual)


def _kit(letters: str, data: Path, kit: Kit) -> tuple[Path, Kit]:
    """Folder of texts and the kit of two letters.

    Raises:
        NoBench: there are no such corpora or wordings.
    """
    if len(letters) != 2:
        raise NoBench("a random world on other texts is named random-XY: the letters of its corpora and of its wordings")
    texts, pack = letters
    if texts != "a":
        data = corpora() / texts
        if not (data / "roles.toml").is_file():
            raise NoBench(
                f"no corpora {texts} in {data.parent}: make them with python -m benchmarks.corpora, or set {CORPORA_ENV}"
            )
        kit = kit.with_texts(data / "roles.toml")
    if pack != "a":
        if not (PACKS / pack).is_dir():
            raise NoBench(f"no wordings {pack} in {PACKS}")
        kit = kit.with_pack(PACKS / pack)
    return data, kit


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
