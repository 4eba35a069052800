"""What happens to a family or a stratum that no training ever saw: trees fitted without it, judged on it.

A family left out must still be found; a stratum left out must still be left alone. Both are compared with trees that saw
everything, at the same false-positive rate of the same test worlds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from benchmarks.training.fit import fit
from benchmarks.training.judge import attackers, by_key, rate, threshold
from benchmarks.training.rows import LabelledRows

FALSE_RATE = 0.005
MODELS = 2
"""Fewer than are shipped: the difference is what counts, and there are 33 fits."""


@dataclass(frozen=True, slots=True)
class Left:
    """One kind: how many test keys it has, and the share of them above the threshold with and without it in training."""

    kind: str
    attack: bool
    keys: int
    known: float
    unknown: float

    @property
    def loss(self) -> float:
        """Points lost by not knowing it: recall for a family, false positives for a stratum."""
        return self.known - self.unknown if self.attack else self.unknown - self.known


def leave_out(train: LabelledRows, test: LabelledRows, names: Sequence[str], free: Sequence[str]) -> Iterator[Left]:
    """Every family and every stratum of the test worlds in turn."""
    whole = by_key(test, fit(train, names, free, models=MODELS).log_odds(test.matrix))
    bar = threshold(whole, FALSE_RATE)
    kinds = (
        whole.filter(~pl.col("authorised"))
        .select("attack", "kind")
        .unique()
        .sort("attack", "kind", descending=[True, False])
    )
    for attack, kind in kinds.rows():
        mine = (pl.col("attack") == attack) & (pl.col("kind") == kind)
        rest = train.take(train.facts.select(~mine).to_series().to_numpy())
        keys = by_key(test, fit(rest, names, free, models=MODELS).log_odds(test.matrix))
        # A stratum that is left out must not set its own threshold.
        other = threshold(keys if attack else keys.filter(~mine), FALSE_RATE)
        seen, unseen = (held.filter(mine & ~pl.col("authorised")) for held in (whole, keys))
        yield Left(kind, attack, len(seen), rate(seen, bar).rate, rate(unseen, other).rate)


def overall(keys: pl.DataFrame) -> float:
    """Recall of all attack keys at the false-positive rate of these tables."""
    return rate(attackers(keys), threshold(keys, FALSE_RATE)).rate
