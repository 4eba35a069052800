"""Whether a feature says the same about a family whatever corpus it draws on: what turns its side is a corpus.

Families differ from one another, and so do honest customers: that judges grade and others do not is no contradiction. But
one family on two corpora should lie on the same side of honest traffic. Its AUC is taken for every corpus, as the mean over
honest strata, and pairs of corpora of one family are compared.
"""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled import LabelledRun
from benchmarks.training.rows import LabelledRows
from detectors.catalogue import CATALOGUE, INDEX

SURE = 0.05
"""Distance of an AUC from one half from which its side counts as one."""

TURNS = 0.34
"""Share of pairs that surely disagree from which a feature turns its side."""

WRONG = -0.05
"""Mean AUC on the catalogue's side, less one half, from which the sources contradict the catalogue."""


@dataclass(frozen=True, slots=True)
class Sign:
    """What the sources say about a feature.

    Attributes:
        auc: mean over families' corpora and honest strata; above one half when attackers have more of it.
        pairs: two corpora of one family with enough values in both.
        turns: share of these that surely disagree.
        against: attackers surely lie on the side that the catalogue calls harmless.
    """

    name: str
    auc: float
    pairs: int
    turns: float
    against: bool


def corpora(runs: Sequence[LabelledRun]) -> dict[str, str]:
    """Campaign name in a run ("run/name") → the first corpus that it draws on, else its family."""
    found = {}
    for run in runs:
        world = run.folder.with_suffix(".toml")
        for campaign in tomllib.loads(world.read_text()).get("campaigns", []) if world.is_file() else []:
            pool = campaign.get("pool") or [campaign["family"]]
            found[f"{run.folder.name}/{campaign['family']}"] = pool[0] if isinstance(pool[0], str) else pool[0]["source"]
    return found


def signs(rows: LabelledRows, corpus: dict[str, str]) -> list[Sign]:
    """Of every feature of the catalogue, from rows that are usable for training."""
    facts = rows.facts
    source = [
        f"a {kind} {corpus.get(f'{run}/{kind}', kind)}" if attack else f"h {kind}"
        for run, kind, attack in facts.select("run", "kind", "attack").rows()
    ]
    names, code = np.unique(np.array(source), return_inverse=True)
    attacks = np.array([str(name).startswith("a ") for name in names])
    families = [str(name).split()[1] for name in names[attacks]]
    pairs = [(i, j) for i, one in enumerate(families) for j in range(i + 1, len(families)) if families[j] == one]
    out = []
    for feature in CATALOGUE:
        column = INDEX[feature.name]
        found = _by_source(rows.matrix.values[:, column], rows.matrix.present[:, column], code, attacks) - 0.5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a mean over nothing, which is NaN
            means = np.nanmean(found, axis=1)
            mean = float(np.nanmean(means))
        known = [(means[i], means[j]) for i, j in pairs if not np.isnan(means[i] + means[j])]
        turning = [a * b < 0.0 and min(abs(a), abs(b)) > SURE for a, b in known]
        side = {"high": 1.0, "low": -1.0, "both": 0.0}[feature.suspicious]
        turns = sum(turning) / len(turning) if turning else 0.0
        out.append(Sign(feature.name, 0.5 + mean, len(known), turns, side * mean < WRONG))
    return out


def _by_source(
    values: NDArray[np.float64], present: NDArray[np.bool_], code: NDArray[np.intp], attacks: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """AUC of every attack source against every honest one; NaN where one has too few values."""
    parts = [np.sort(values[present & (code == at)]) for at in range(len(attacks))]
    ours = [part for part, attack in zip(parts, attacks, strict=True) if attack]
    theirs = [part for part, attack in zip(parts, attacks, strict=True) if not attack]
    out = np.full((len(ours), len(theirs)), np.nan)
    for i, mine in enumerate(ours):
        for j, other in enumerate(theirs):
            if len(mine) >= 10 and len(other) >= 10:
                below = np.searchsorted(other, mine, side="left") + np.searchsorted(other, mine, side="right")
                out[i, j] = below.mean() / (2.0 * len(other))
    return out
