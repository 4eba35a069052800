"""Pools against the pools of peers, alone and together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.catalogue import CATALOGUE
from detectors.contract import FeatureMatrix, ScoreStatus
from detectors.pooled import compare, together
from detectors.pooled.compare import Baseline
from detectors.scorers import mixture, pooled, pools
from detectors.scorers.pools import Pools

Floats = NDArray[np.float32]
MakePools = Callable[..., Floats]
PEERS = 120
GROUPS = (("payg/new/ask", "all"),)


@pytest.fixture(scope="module")
def peers(make_pools: MakePools) -> Floats:
    """Honest keys of 60 exchanges, a customer each."""
    return make_pools(1, PEERS, 60)


@pytest.fixture(scope="module")
def baseline(peers: Floats) -> Baseline:
    """Fitted on the peers."""
    found = compare.fit(peers, [f"o{at}" for at in range(PEERS)], GROUPS * PEERS)
    assert found is not None
    return found


def _matrix(pool: Floats, evidence: int = 60) -> FeatureMatrix:
    shape = (len(pool), len(CATALOGUE))
    return FeatureMatrix(
        np.zeros(shape), np.zeros(shape, np.bool_), np.full(len(pool), evidence, np.int64), GROUPS * len(pool), pool
    )


@pytest.fixture(scope="module")
def fitted(peers: Floats) -> Pools:
    """Both scorers' fitted part, from the peers."""
    found = pools.fit(_matrix(peers), [f"o{at}" for at in range(PEERS)], 1)
    assert found is not None
    return found


def test_thirty_keys_show_together_what_none_shows_alone(
    make_pools: MakePools, peers: Floats, baseline: Baseline, fitted: Pools
) -> None:
    """With 5 % attack each, at most three of 30 keys are among the rarest hundredth of peers; pooled they are found."""
    keys = make_pools(7, 30, 60, 0.05)
    alone = mixture.make(fitted).columns(_matrix(keys)).value
    assert (alone >= 0.99).sum() <= 3
    voters = [f"o{at}" for at in range(PEERS)]
    place = int(baseline.places(GROUPS)[0])
    assert together.pool_p_value(keys, peers, voters, baseline, place, 1, 499) <= 0.005
    honest = make_pools(8, 30, 60)
    assert together.pool_p_value(honest, peers, voters, baseline, place, 1, 499) > 0.05


def test_a_merged_pool_is_the_pool_of_all_exchanges(make_pools: MakePools) -> None:
    """Merging is the weighted mean, and counts add up."""
    keys = make_pools(3, 4, 20)
    whole = together.merged(keys)
    assert whole[:, 0].tolist() == [80.0, 80.0, 80.0]
    assert np.allclose(whole[:, 1:], keys[:, :, 1:].mean(axis=0), atol=1e-6)


def test_too_little_is_no_suspicion(make_pools: MakePools, peers: Floats, baseline: Baseline) -> None:
    """A pool of a handful of exchanges has p-value 1."""
    few = make_pools(5, 1, 5, 1.0)
    assert together.pool_p_value(few, peers, [""] * PEERS, baseline, 0, 1, 99) == 1.0


def test_power_rises_with_the_share(make_pools: MakePools, fitted: Pools) -> None:
    """The mixture score rises with the share of attack, and at one half it is as high as any peer's."""
    means = [
        float(mixture.make(fitted).columns(_matrix(make_pools(11, 8, 60, share))).value.mean()) for share in (0, 0.1, 0.5)
    ]
    assert means[0] < means[1] < means[2]
    assert means[2] > 1 - 1 / (PEERS + 1)


def test_the_mean_test_sees_another_topic(make_pools: MakePools, fitted: Pools) -> None:
    """Keys about something no peer asks about are rarer than nearly all peers."""
    assert (pooled.make(fitted).columns(_matrix(make_pools(12, 6, 60, 0.9))).value > 0.95).all()


def test_honest_newcomers_are_as_rare_as_the_calibration_says(make_pools: MakePools, fitted: Pools) -> None:
    """Of 80 honest keys that were not fitted on, no more than a few are among the rarest twentieth."""
    fresh = _matrix(make_pools(21, 80, 60))
    for make in (pooled.make, mixture.make):
        assert (make(fitted).columns(fresh).value > 0.95).sum() <= 10


def test_a_long_pool_is_not_odd_for_being_long(make_pools: MakePools, baseline: Baseline) -> None:
    """An honest key of 300 exchanges has about the statistic of one of 60."""
    long, short = (make_pools(31, 20, count) for count in (300, 60))
    places = np.zeros(20, np.intp)
    for test in (baseline.means_test, baseline.mixture_test):
        assert abs(float(np.median(test(long, places)) - np.median(test(short, places)))) < 1.5


def test_a_row_gives_the_same_bits_in_any_batch(make_pools: MakePools, fitted: Pools) -> None:
    """Alone, in another order and among others, a row has the same value to the last bit."""
    matrix = _matrix(make_pools(41, 70, 30, 0.1))
    order = np.random.default_rng(0).permutation(70)
    for make in (pooled.make, mixture.make):
        whole = make(fitted).columns(matrix).value
        assert np.array_equal(make(fitted).columns(matrix.take(order)).value, whole[order])
        assert [float(make(fitted).columns(matrix.take([at])).value[0]) for at in range(9)] == whole[:9].tolist()


def test_what_cannot_be_judged_is_no_number(make_pools: MakePools, fitted: Pools) -> None:
    """Without history, without pools or with few exchanges a row is not scored."""
    key = make_pools(51, 1, 30)
    assert mixture.make().score(_matrix(key))[0].status is ScoreStatus.NOT_APPLICABLE
    assert mixture.make(fitted).score(_matrix(make_pools(52, 1, 3)))[0].status is ScoreStatus.NOT_APPLICABLE
    assert mixture.make(fitted).score(_matrix(key, 2))[0].status is ScoreStatus.WARMING_UP


def test_goes_through_arrays_and_back(make_pools: MakePools, fitted: Pools) -> None:
    """A fitted part that was saved scores the same; one with an array missing or misshapen is refused."""
    matrix = _matrix(make_pools(61, 5, 40, 0.2))
    again = Pools.from_arrays(fitted.arrays())
    for make in (pooled.make, mixture.make):
        assert np.array_equal(make(again).columns(matrix).value, make(fitted).columns(matrix).value)
    arrays = fitted.arrays()
    with pytest.raises(ValueError, match="fit together"):
        Pools.from_arrays({**arrays, "baseline.means": arrays["baseline.means"][:, 1:]})
    del arrays["baseline.shares"]
    with pytest.raises(ValueError, match="no array"):
        Pools.from_arrays(arrays)


def test_a_handful_of_customers_is_no_history(make_pools: MakePools) -> None:
    """Fewer than twenty customers make no baseline, however many keys they have."""
    assert pools.fit(_matrix(make_pools(71, 30, 20)), ["one"] * 30, 1) is None
