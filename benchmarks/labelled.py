"""Runs of the labelled traffic benchmark: generated once, and kept in a temporary folder."""

from __future__ import annotations

import json
import os
import shutil
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
    data = bench.parent / "data"
    if profile.split("-")[0] == RANDOM:
        frame = bench / "profiles" / "dev-small.toml"
        kit = Kit.of_frame(frame)
        if profile != RANDOM:
            data, kit = kit_of(profile.removeprefix(f"{RANDOM}-"), data, kit)
        return made(profile, seed, profiles.draw(frame, seed, kit), data)
    toml = bench / "profiles" / f"{profile}.toml"
    if not toml.is_file():
        known = ", ".join(sorted(path.stem for path in toml.parent.glob("*.toml")))
        raise NoBench(f"the labelled benchmark has no profile {profile}; it has {known}")
    return _complete(_folder(profile, seed), toml, seed, data, bench)


def made(name: str, seed: int, world: str, data: Path | None = None) -> LabelledRun:
    """The run of a world that is told as TOML; a later call finds it ready, unless the world is another one by then.

    Args:
        name: of its folder, with the seed.
        seed: of the generator.
        world: a profile of the benchmark.
        data: folder of texts (default: the benchmark's own).

    Raises:
        NoBench: the benchmark is missing, or refuses the world or the seed.
    """
    bench = find_bench()
    folder = _folder(name, seed)
    toml = folder.with_suffix(".toml")
    if not toml.is_file() or toml.read_text() != world:
        # What was made of the old world must not be taken for the new one's.
        for path in folder.glob("*"):
            if path.is_file():
                path.unlink()
            else:
                shutil.rmtree(path)
        toml.write_text(world)
    return _complete(folder, toml, seed, data or bench.parent / "data", bench)


def _folder(name: str, seed: int) -> Path:
    folder = Path(tempfile.gettempdir()) / f"stillwatch-bench-{os.getuid()}" / f"{name}-{seed}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    return folder


def _complete(folder: Path, toml: Path, seed: int, data: Path, bench: Path) -> LabelledRun:
    if not (folder / "complete").is_file():
        folder.mkdir(exist_ok=True)
        python(bench, "traffic.py", "--data", data, "--profile", toml, "--seed", seed, "--out", folder)
        (folder / "complete").touch()
    return LabelledRun(folder, bench)


def corpora() -> Path:
    """Folder of the corpora that `benchmarks.corpora` makes."""
    usual = Path(tempfile.gettempdir()) / f"stillwatch-corpora-{os.getuid()}"
    return Path(os.environ.get(CORPORA_ENV) or usual)


def kit_of(letters: str, data: Path, kit: Kit) -> tuple[Path, Kit]:
    """Folder of texts and the kit of two letters.

    Raises:
        NoBench: there are no such corpora or wordings.
    """
    if len(letters) != 2:
        raise NoBench("a random world on other texts is named random-XY: the letters of its corpora and of its wordings")
    texts, pack = letters[0], letters[1]
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
