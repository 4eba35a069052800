"""Conformal p-values: their exact definition, their resolution, one vote per organisation, fallback to wider groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import calibrate
from detectors.calibrate import ENOUGH, Conformal

ALL = ("all",)


def _of(*peers: float) -> Conformal:
    return Conformal({"all": np.array(sorted(peers), np.float64)})


def test_p_value_counts_the_peers_at_or_above() -> None:
    """(1 + peers at or above) / (1 + peers), ties included."""
    fitted = _of(1.0, 2.0, 2.0, 3.0)
    assert [fitted.p_value(value, ALL) for value in (0.0, 1.0, 2.0, 2.5, 3.0, 9.0)] == [1.0, 1.0, 0.8, 0.4, 0.4, 0.2]


@pytest.mark.parametrize("peers", [1, 20, 199])
def test_nothing_is_rarer_than_one_in_the_peers_plus_one(peers: int) -> None:
    """A small history cannot make anything rare: however odd, 1 − score stays above nine tenths of the last step."""
    fitted = _of(*range(peers))
    assert fitted.p_value(1e12, ALL) == 1 / (peers + 1)
    score = fitted.score(1e12, ALL)
    assert score is not None
    assert 1 - score == pytest.approx(0.9 / (peers + 1), rel=1e-6)


def test_without_peers_there_is_no_p_value() -> None:
    """An unknown group has neither p-value nor score."""
    assert _of(1.0).p_value(1.0, ("elsewhere",)) is None
    assert _of(1.0).score(1.0, ("elsewhere",)) is None


finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=1, max_size=60), finite, finite)
def test_score_rises_with_the_statistic_and_never_promises_more_than_the_p_value(
    peers: list[float], first: float, second: float
) -> None:
    """The refined score is monotone, in [0, 1], and at most 1 − p up to the highest peer."""
    fitted = _of(*peers)
    low, high = sorted((first, second))
    scores = [fitted.score(value, ALL) for value in (low, high)]
    p_values = [fitted.p_value(value, ALL) for value in (low, high)]
    assert 0.0 <= scores[0] <= scores[1] < 1.0
    for value, score, p in zip((low, high), scores, p_values, strict=True):
        if value <= max(peers):
            assert score <= 1 - p + 1e-12
        assert score >= 1 - p - 1 / (len(peers) + 1) - 1e-12


def test_an_organisation_is_one_peer_at_its_highest() -> None:
    """A thousand rows of one organisation are one peer, represented by the most suspicious one."""
    fitted = calibrate.fit([1.0, 5.0, 2.0, *[3.0] * 1000], ["a", "a", "b", *["c"] * 1000], [ALL] * 1003)
    assert fitted.peers["all"].tolist() == [2.0, 3.0, 5.0]


def test_the_most_specific_group_with_enough_peers_judges() -> None:
    """A group is preferred from ENOUGH peers on; a smaller one leaves the judgement to the wider group."""
    orgs = [f"o{n}" for n in range(ENOUGH + 10)]
    groups = [("big" if n < ENOUGH else "small", "all") for n in range(ENOUGH + 10)]
    fitted = calibrate.fit([float(n) for n in range(ENOUGH + 10)], orgs, groups)
    assert sorted(fitted.peers) == ["all", "big"]
    assert fitted.group(("big", "all")) == "big"
    assert fitted.group(("small", "all")) == "all"
    assert fitted.group(("small",)) is None


def test_contamination_makes_p_values_larger_never_smaller() -> None:
    """Attackers among the peers cost power: no p-value falls when some are added at the top."""
    clean, dirty = _of(*range(200)), _of(*range(200), 900.0, 950.0)
    for value in (10.0, 150.0, 199.0, 500.0, 2000.0):
        before, after = clean.p_value(value, ALL), dirty.p_value(value, ALL)
        assert before is not None
        assert after is not None
        assert after >= before - 1 / 201
    assert dirty.p_value(800.0, ALL) == 3 / 203
