"""Makes the shipped anchors: rows of generated traffic whose side is known, which every candidate model is tried on.

    python -m benchmarks.anchors [--worlds WORLDS …] [--write]

The rows come from generated worlds; shipped trees may have been trained on the same ones, as anchors are for seeing a
change and not for telling how good a model is. An honest customer is taken as it was last, an attacker when about half of
what it sent or more was an attack. Every kind of customer has the same number of rows and so has every family of attack, as
far as the worlds go, of as many organisations or campaigns as there are. Only features are kept; no text can be read back.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.labelled import ROOT, NoBench
from benchmarks.training import worlds
from benchmarks.training.rows import LabelledRows, joined, labelled_rows
from detectors.catalogue import CATALOGUE_VERSION
from detectors.promote import Anchors

WORLDS = ("random:118-120", "random-bb:240,241", "random-ad:260", "random-cc:310")
PER_HONEST_KIND, PER_ATTACK_KIND = 12, 40
"""Rows of a kind. A budget of two points needs attackers by the hundred: of fifty each is two points."""

LEAST_EVIDENCE, LEAST_SHARE = 30, 0.45
"""Answered exchanges of an anchor, and the share of them that were attacks: a key about which there is no doubt."""


def chosen(rows: LabelledRows, per_kind: tuple[int, int] = (PER_HONEST_KIND, PER_ATTACK_KIND)) -> LabelledRows:
    """The rows that become anchors, by kind and then by run and key."""
    facts = rows.facts.with_row_index("at").with_columns(evidence=pl.Series(rows.matrix.evidence))
    clear = ~pl.col("attack") | (pl.col("attack_share") >= LEAST_SHARE)
    facts = facts.filter(pl.col("last") & ~pl.col("authorised") & (pl.col("evidence") >= LEAST_EVIDENCE) & clear)
    owner = pl.when(pl.col("attack")).then(pl.col("campaign")).otherwise(pl.col("org"))
    facts = facts.with_columns(owner=pl.concat_str("run", owner, separator="/")).sort("kind", "run", "key")
    # One key of each owner first, then their second keys, and so on, until there are enough.
    turn = pl.int_range(pl.len()).over("kind", "owner")
    facts = facts.with_columns(turn=turn).sort("kind", "turn", "run", "key", maintain_order=True)
    parts = [
        facts.filter(pl.col("attack") == attack).group_by("kind", maintain_order=True).head(most)
        for attack, most in zip((False, True), per_kind, strict=True)
    ]
    found = pl.concat(parts)
    return rows.take(found["at"].to_numpy().astype(np.intp))


def anchors(rows: LabelledRows) -> Anchors:
    """Rows → anchors."""
    attack = rows.facts["attack"].to_numpy()
    return Anchors(rows.matrix, attack, np.zeros(len(rows), np.bool_), tuple(rows.facts["kind"].to_list()))


def write(found: Anchors, folder: Path, names: Sequence[str]) -> Path:
    """The artefact and its card; returns the path of the artefact."""
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **found.arrays())
    path = folder / "anchors.npz"
    path.write_bytes(held.getvalue())
    honest, attack = (
        sorted({kind for kind, bad in zip(found.kinds, found.attack, strict=True) if bad == side}) for side in (0, 1)
    )
    lines = [
        "# Card of anchors.npz: rows of known sides, which a model must judge right before it may be used.",
        f'sha256 = "{sha256(held.getvalue()).hexdigest()}"',
        f'catalogue = "{CATALOGUE_VERSION}"',
        f"honest = {int((~found.attack).sum())}",
        f"attack = {int(found.attack.sum())}",
        f"honest_kinds = {_list(honest)}",
        f"attack_kinds = {_list(attack)}",
        f"worlds = {_list(names)}",
        'made_by = "python -m benchmarks.anchors --write"',
        'contents = "features by name, presence, evidence, peer groups and pools of each row, and its side"',
        'made_of = "generated traffic of random worlds. Only numbers are kept; no text can be read back from them."',
        'good_for = "seeing that a candidate still tells what the first model told apart"',
        'not_good_for = "telling how good a model is: that needs labelled traffic, see stillwatch evaluate"',
    ]
    path.with_suffix(".toml").write_text("\n".join(lines) + "\n")
    return path


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def main() -> int:
    """Says what the anchors are, and writes them if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anchors", description="Make the shipped anchors.")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), help="default: %(default)s")
    parser.add_argument("--write", action="store_true", help="write the artefact and its card")
    args = parser.parse_args()
    try:
        rows = chosen(joined([labelled_rows(run) for run in worlds.runs(args.worlds)]))
    except (NoBench, argparse.ArgumentTypeError) as error:
        print(f"anchors: not made, {error}", file=sys.stderr)
        return 1
    print(rows.facts.group_by("attack", "kind").len().sort("attack", "kind"))
    if args.write:
        path = write(anchors(rows), ROOT / "detectors" / "artefacts", args.worlds)
        print(f"{path}: {len(rows)} rows, {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
