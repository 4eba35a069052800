"""Trees that have never seen a family, fitted once and kept: what the linker makes of an attack that nothing was taught.

They are fitted as the shipped ones (`benchmarks.training`), with fewer models. What they are compared with are trees of the
same worlds that saw every family. Fingerprints and the ratio of single exchanges, which is another artefact, have seen all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import polars as pl

from app.offline.job import save_model
from benchmarks.campaigns.judged import digest, say
from benchmarks.labelled import NoBench
from benchmarks.training import ship, worlds
from benchmarks.training.__main__ import HELD_OUT, TRAIN, chosen
from benchmarks.training.fit import fit
from benchmarks.training.leave_out import MODELS
from benchmarks.training.rows import LabelledRows, joined, labelled_rows
from detectors import model as models
from detectors.policy import without_history
from detectors.scorers.boosted import Boosted

NOTHING = "nothing"
"""Left out of the trees that the others are compared with."""


@dataclass(frozen=True, slots=True)
class Teaching:
    """Worlds to learn from, and to calibrate on.

    Attributes:
        train, held_out: names of worlds.
    """

    train: tuple[str, ...] = TRAIN
    held_out: tuple[str, ...] = HELD_OUT

    @property
    def name(self) -> str:
        """Digest of the worlds and of the sources."""
        told = f"{self.train} {self.held_out} {MODELS} {digest()}"
        return blake2b(told.encode(), digest_size=6).hexdigest()


def trees_without(family: str, teaching: Teaching) -> Boosted:
    """Trees fitted on everything but a family, or on everything; a later call finds them ready.

    Raises:
        NoBench: no world can be had, or none has the family.
    """
    folder = Path(tempfile.gettempdir()) / f"stillwatch-trees-{teaching.name}-{family}"
    if not (folder / "complete").is_file():
        say(f"fitting trees that {family} is left out of")
        runs = worlds.runs(teaching.train)
        rows = joined([labelled_rows(run) for run in runs])
        names, free = chosen(rows, runs)
        held = joined([labelled_rows(run) for run in worlds.runs(teaching.held_out)])
        found = ship.calibrated(fit(without(rows, family), names, free, models=MODELS), held)
        save_model(models.Model(without_history(), None, {}, found), folder)
        (folder / "complete").touch()
    return models.load(folder).trees


def without(rows: LabelledRows, family: str) -> LabelledRows:
    """Rows of all but the attack keys of a family.

    Raises:
        NoBench: there is no such row, so that nothing would be left out.
    """
    if family == NOTHING:
        return rows
    mine = rows.facts.select(pl.col("attack") & (pl.col("kind") == family)).to_series()
    if not mine.any():
        raise NoBench(f"no world that is learned from has the family {family}")
    return rows.take((~mine).to_numpy())


def available(names: Sequence[str]) -> tuple[str, ...]:
    """Of worlds by name, those whose texts are on this machine; the others are told."""
    found, missing = [], []
    for name in names:
        try:
            worlds.runs([name])
            found.append(name)
        except NoBench as error:
            missing.append(f"{name} ({error})")
    for one in missing:
        say(f"left out of the training: {one}")
    return tuple(found)
