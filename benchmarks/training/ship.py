"""Writes fitted trees as a shipped artefact: arrays, and the card that says what they were made of."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.labelled import ROOT
from benchmarks.training.judge import LEAST_EVIDENCE
from benchmarks.training.rows import LabelledRows
from detectors.catalogue import CATALOGUE_VERSION
from detectors.scorers.boosted import NAME, Boosted

FOLDER = ROOT / "detectors" / "artefacts"
_ARRAYS = ("feature", "threshold", "left", "right", "missing_left", "value", "base", "peers")


def calibrated(trees: Boosted, rows: LabelledRows) -> Boosted:
    """With the highest log-odds of every honest organisation of worlds that the trees were not fitted on."""
    held = rows.facts.with_columns(score=pl.Series(trees.log_odds(rows.matrix)), evidence=pl.Series(rows.matrix.evidence))
    honest = held.filter(~pl.col("attack") & ~pl.col("authorised") & (pl.col("evidence") >= LEAST_EVIDENCE))
    highest = honest.group_by("run", "org").agg(pl.col("score").max())["score"].to_numpy()
    return replace(trees, peers=np.sort(highest))


def write(trees: Boosted, facts: Mapping[str, object], folder: Path = FOLDER) -> None:
    """The artefact and its card.

    Args:
        trees: calibrated ones.
        facts: for the card: sources, figures, how it was made.
        folder: where to.
    """
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **{name: getattr(trees, name) for name in _ARRAYS})
    (folder / f"{NAME}.npz").write_bytes(held.getvalue())
    card: dict[str, object] = {
        "sha256": sha256(held.getvalue()).hexdigest(),
        "catalogue": CATALOGUE_VERSION,
        "features": list(trees.features),
        "monotone": list(trees.monotone),
        **facts,
    }
    lines = [f"# Card of {NAME}.npz: gradient-boosted trees that tell harvests from honest traffic; see `scorers.boosted`."]
    lines += [f"{name} = {_toml(value)}" for name, value in card.items()]
    (folder / f"{NAME}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Sequence):
        inner = ", ".join(_toml(item) for item in value)
        if len(inner) < 100:
            return f"[{inner}]"
        return "[\n" + "".join(f"    {_toml(item)},\n" for item in value) + "]"
    return repr(value)
