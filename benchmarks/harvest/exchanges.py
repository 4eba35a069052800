"""Labelled exchanges of random worlds, as rows of the network's columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled import LabelledRun
from benchmarks.training.rows import labelled_items
from detectors.fingerprint.harvest import judged, row

WHOLE = 0.99
"""A key whose attack share is at least this sends nothing else, so what it was refused was an attack too."""


@dataclass(frozen=True, slots=True)
class Exchanges:
    """Exchanges of several runs.

    Attributes:
        columns: float32 of shape (n, harvest.WIDTH).
        attack: bool of shape (n,).
        kind: stratum or family of each.
        owner: run and organisation or campaign of each: what has one vote.
        world: name of the run.
    """

    columns: NDArray[np.float32]
    attack: NDArray[np.bool_]
    kind: NDArray[np.str_]
    owner: NDArray[np.str_]
    world: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.attack)

    def take(self, mask: NDArray[np.bool_]) -> Exchanges:
        """Those of a mask."""
        return Exchanges(*(getattr(self, name)[mask] for name in self.__slots__))


def exchanges(runs: Sequence[LabelledRun]) -> Exchanges:
    """All of some worlds.

    Left out: authorised customers, who harvest by contract; the cover traffic of attack keys, which is honest traffic once
    more; what the network never judges.
    """
    parts = [_of(run) for run in runs]
    return Exchanges(*(np.concatenate([getattr(part, name) for part in parts]) for name in Exchanges.__slots__))


def _of(run: LabelledRun) -> Exchanges:
    keys: dict[str, dict[str, Any]] = json.loads((run.folder / "truth.json").read_text())["keys"]
    answered = {
        name: {round(answer[0] * 1000) for answer in known["answered"]}
        for name, known in keys.items()
        if known["label"] == "attack"
    }
    found: tuple[list[Any], ...] = ([], [], [], [], [])
    for event, fp in labelled_items(run):
        known = keys[event.key_id]
        if known.get("authorised") or not judged(event, fp.tokens):
            continue
        attack = known["label"] == "attack"
        refused = event.refusal and known.get("attack_fraction", 0.0) >= WHOLE
        if attack and not refused and round(event.at_us / 1000) not in answered[event.key_id]:
            continue
        owner = known["campaign"] if attack else known["org"]
        line = (
            row(event, fp.embedding, fp.intents, fp.tags_asked, fp.tokens),
            attack,
            known["family"] if attack else known["stratum"],
            f"{run.folder.name}/{owner}",
            run.folder.name,
        )
        for column, value in zip(found, line, strict=True):
            column.append(value)
    columns, attacks, kinds, owners, worlds = found
    return Exchanges(np.stack(columns), np.array(attacks), np.array(kinds), np.array(owners), np.array(worlds))
