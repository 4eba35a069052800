"""Training of the network that rates one exchange."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harvest.exchanges import Exchanges
from benchmarks.harvest.training import train, weights
from detectors.fingerprint.harvest import SHAPE, WIDTH


def _exchanges(count: int) -> Exchanges:
    """Half are attacks, which reason and turn away along the last component; one honest customer sends most of the rest."""
    rng = np.random.default_rng(1)
    attack = np.arange(count) % 2 == 1
    columns = np.zeros((count, WIDTH), np.float32)
    columns[:, SHAPE.index("written")] = rng.normal(5.0, 1.0, count) + attack
    columns[:, len(SHAPE) :] = rng.integers(-30, 31, (count, WIDTH - len(SHAPE)))
    columns[attack, -1] += 60
    owner = np.where(attack, "1/campaign", np.where(rng.random(count) < 0.9, "1/big", "1/small"))
    kind = np.where(attack, "forced_cot", "human_chat")
    return Exchanges(columns, attack, kind.astype(np.str_), owner.astype(np.str_), np.ones(count, np.int64))


def test_classes_weigh_alike_and_a_large_customer_less_an_exchange() -> None:
    """Each class sums to a half; an exchange of the large customer weighs less than one of the small, its sum more."""
    of = _exchanges(2000)
    share = weights(of)
    assert share[of.attack].sum() == pytest.approx(0.5)
    assert share[~of.attack].sum() == pytest.approx(0.5)
    big, small = (share[of.owner == name] for name in ("1/big", "1/small"))
    assert big[0] < small[0]
    assert big.sum() > small.sum()


def test_learns_a_log_ratio_with_its_sign_and_again_the_same() -> None:
    """Attacks are above 0 and honest exchanges below, and one seed gives one network."""
    of = _exchanges(20_000)
    network = train(of, seed=3)
    ratios = network.ratios(of.columns)
    assert (ratios[of.attack] > 0).mean() > 0.9
    assert (ratios[~of.attack] < 0).mean() > 0.9
    assert np.array_equal(network.first, train(of, seed=3).first)


def test_without_the_embedding_it_counts_for_nothing() -> None:
    """Rows that differ in their embedding alone are rated alike."""
    of = _exchanges(2000)
    rows = of.columns[:2].copy()
    rows[1, : len(SHAPE)] = rows[0, : len(SHAPE)]
    one, other = train(of, embedding=False).ratios(rows)
    assert one == other
