"""The attackers of the thirty days do what is said of them, on rows that are still rows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import boiling_frog
from benchmarks.boiling_frog import Side, Sources
from detectors import model as models
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix
from detectors.features import FeatureRow
from detectors.promote import Anchors

AGE = INDEX["account_age_d"]
GROUPS = ("payg/settled/chat", "*/settled/chat", "*/*/chat", "all")


@pytest.fixture
def sources() -> Sources:
    """Honest rows in the middle of every range, teaching ones at its top, and no examination."""
    low, high = (np.array([min(getattr(feature, side), 1e6) for feature in CATALOGUE]) for side in ("low", "high"))
    there = np.ones(len(CATALOGUE), np.bool_)
    honest, attack = (FeatureRow(low + part * (high - low), there, 60, GROUPS) for part in (0.5, 0.95))
    none = FeatureMatrix(np.zeros((0, len(CATALOGUE))), np.zeros((0, len(CATALOGUE)), np.bool_), np.zeros(0, np.int64), ())
    return Sources([honest] * 9, [attack] * 9, Anchors(none, np.zeros(0, np.bool_), np.zeros(0, np.bool_), ()))


def _sent(name: str, sources: Sources, day: int) -> list[boiling_frog.Sent]:
    return list(boiling_frog.STRATEGIES[name](sources, day, 30, np.random.default_rng(day)))


def test_the_ramp_goes_from_honest_to_harvest(sources: Sources) -> None:
    """The same old accounts every day, each day nearer to what the attacker wants."""
    days = [_sent("slow ramp", sources, day) for day in (0, 14, 29)]
    assert {one.org for one in days[0]} == {one.org for one in days[2]}
    shares = [float(np.mean([one.row.values[INDEX["elicitation_share"]] for one in day])) for day in days]
    assert shares == sorted(shares)
    assert shares[0] < 0.55 < shares[1] < 0.8 < shares[2]


def test_small_keys_are_many_young_and_strangers(sources: Sources) -> None:
    """Each is an organisation of its own with few exchanges; all together they are 5 % of the traffic."""
    sent = _sent("many small keys", sources, 3)
    assert len({one.org for one in sent}) == len(sent) > 20
    assert all(one.row.values[AGE] < 7 and one.row.groups[0] == "payg/new/chat" for one in sent)
    total = sum(one.row.evidence for one in sent)
    assert total == pytest.approx(0.05 * boiling_frog.ORGS_PER_DAY * 60, rel=0.05)


def test_sleepers_are_old_and_become_more(sources: Sources) -> None:
    """No age gives them away."""
    first, last = (_sent("sleeping accounts", sources, day) for day in (0, 29))
    assert len(first) < len(last)
    assert all(one.row.values[AGE] == 60.0 and "settled" in one.row.groups[0] for one in last)


def test_what_is_sent_is_within_the_ranges_of_the_catalogue(sources: Sources) -> None:
    """Noise and mixing leave no range, and what is absent stays 0."""
    for name in boiling_frog.STRATEGIES:
        for one in _sent(name, sources, 12):
            for feature, value, there in zip(CATALOGUE, one.row.values, one.row.present, strict=True):
                if feature.name != "account_age_d":
                    assert feature.low <= value <= feature.high
                assert there or value == 0.0


def test_the_table_tells_what_was_lost() -> None:
    """First, last and lost recall in points, at both levels, and what was refused."""
    side = Side("with guards", None, models.rules_only(), refused=3, recalls=[(1.0, 0.9), (0.99, 0.85)], false=[0.0, 0.01])
    line = list(boiling_frog.table([("slow ramp", 1, side)]))[-1]
    assert line.split()[-10:] == ["100.0", "99.0", "1.0", "90.0", "85.0", "5.0", "5.0", "1.0", "3", "0"]
