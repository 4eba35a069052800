"""How well log-odds tell attackers from honest keys: per key, at a false-positive rate of the same run's honest keys.

A key has the highest score it ever had after the warm-up, as the service would have acted then. Authorised customers are
neither honest nor attackers here, as in the benchmark's own scorer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.training.rows import LabelledRows

LEAST_EVIDENCE = 5
LEAST_ATTACKS = 3
"""Answered attack requests from which a row counts as that of an attacker: before that it is cover."""


def by_key(rows: LabelledRows, scores: NDArray[np.float64]) -> pl.DataFrame:
    """One line per key with evidence after the warm-up: `score` and the facts that do not change."""
    held = rows.facts.with_columns(score=pl.Series(scores), evidence=pl.Series(rows.matrix.evidence))
    held = held.filter(~pl.col("warm") & (pl.col("evidence") >= LEAST_EVIDENCE))
    fixed = (
        "org", "attack", "kind", "authorised", "campaign", "mix", "paraphrase", "key_exchanges", "key_attack_share",
    )  # fmt: skip
    keys = held.group_by("run", "key").agg(pl.col("score").max(), pl.first(*fixed), pl.col("attack_so_far").max())
    # What only ever sent cover is no attacker yet.
    return keys.filter(~pl.col("attack") | (pl.col("attack_so_far") > 0)).sort("run", "key")


def threshold(keys: pl.DataFrame, false_rate: float) -> float:
    """Score that this share of the honest keys exceeds."""
    honest = keys.filter(~pl.col("attack") & ~pl.col("authorised"))["score"].to_numpy()
    return float(np.quantile(honest, 1.0 - false_rate, method="higher"))


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the keys: how many there are, and the share above the threshold."""

    name: str
    keys: int
    rate: float


def attackers(keys: pl.DataFrame, least_exchanges: int = 0, share: tuple[float, float] = (0.0, 1.0)) -> pl.DataFrame:
    """Attack keys of a size, with an attack share in a closed range."""
    big = pl.col("key_exchanges") >= least_exchanges
    return keys.filter(pl.col("attack") & big & pl.col("key_attack_share").is_between(*share))


def rate(keys: pl.DataFrame, bar: float) -> Group:
    """Share of keys above the bar."""
    return Group("", len(keys), float((keys["score"] > bar).mean() or 0.0))  # type: ignore[arg-type]


def by_kind(keys: pl.DataFrame, bar: float) -> list[Group]:
    """Share above the bar for every family or stratum."""
    held = keys.group_by("kind").agg(pl.len(), (pl.col("score") > bar).mean().alias("rate")).sort("kind")
    return [Group(str(name), int(count), float(share)) for name, count, share in held.rows()]


def summary(keys: pl.DataFrame, false_rates: Sequence[float] = (0.005, 0.001)) -> list[str]:
    """Lines: the goals' groups at each false-positive rate, then families and strata at the first of them."""
    lines = []
    for false_rate in false_rates:
        bar = threshold(keys, false_rate)
        whole = rate(attackers(keys), bar)
        big = rate(attackers(keys, 100, (0.5, 1.0)), bar)
        mixed = rate(attackers(keys, 100, (0.15, 0.4999)), bar)
        lines.append(
            f"at {false_rate:.1%} false positives: {whole.rate:.3f} of {whole.keys} attack keys; of those with 100 "
            f"exchanges and half of them attack {big.rate:.3f} of {big.keys}; a quarter {mixed.rate:.3f} of {mixed.keys}"
        )
    bar = threshold(keys, false_rates[0])
    lines.append("  found: " + ", ".join(f"{one.name} {one.rate:.2f}/{one.keys}" for one in by_kind(attackers(keys), bar)))
    wrong = by_kind(keys.filter(~pl.col("attack") & ~pl.col("authorised")), bar)
    false = ", ".join(f"{one.name} {round(one.rate * one.keys)}/{one.keys}" for one in wrong if one.rate > 0.0)
    lines.append(f"  false: {false or 'none'}")
    return lines
