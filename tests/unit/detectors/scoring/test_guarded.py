"""Scores that hold in small peer groups, and many p-values at a look."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import calibrate, discovery, guarded
from detectors.calibrate import ENOUGH, Conformal

SMALL, WIDE = 40, 3000
GROUPS = ("few", "all")


def _two_kinds(rng: np.random.Generator, shift: float) -> Conformal:
    """A pool of which one small group lies higher by `shift` deviations."""
    few = rng.standard_normal(SMALL) + shift
    return Conformal({"few": np.sort(few), "all": np.sort(np.append(few, rng.standard_normal(WIDE)))})


def _score(conformal: Conformal, value: float, groups: tuple[str, ...] = GROUPS) -> float:
    return float(guarded.scores(conformal, np.array([value]), (groups,))[0])


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 3.0])
def test_a_small_group_that_lies_higher_holds_its_level(shift: float) -> None:
    """Newcomers of a small group pass a level of 1 % in at most 1 % of the cases, which the pool alone breaks."""
    rng = np.random.default_rng(3)
    passed = pooled = 0
    for _ in range(60):
        fitted = _two_kinds(rng, shift)
        fresh = rng.standard_normal(200) + shift
        groups = (GROUPS,) * len(fresh)
        passed += int((guarded.scores(fitted, fresh, groups) >= 0.99).sum())
        pooled += int((fitted.scores(fresh, groups) >= 0.99).sum())
    assert passed / 12_000 <= 0.013  # three deviations of a share of 1 % whose 60 calibrations differ
    if shift >= 2.0:
        assert pooled / 12_000 > 0.1


def test_what_no_peer_comes_near_is_still_told_in_a_small_group() -> None:
    """Forty peers resolve one in 41; the tail of the wider group tells beyond that."""
    fitted = _two_kinds(np.random.default_rng(4), 0.0)
    assert _score(fitted, 8.0) > 0.999 > 1 - 1 / (SMALL + 1)


def test_a_group_is_never_less_careful_than_the_wider_one() -> None:
    """A small group of harmless customers does not make what is usual elsewhere look rare."""
    rng = np.random.default_rng(5)
    fitted = _two_kinds(rng, -3.0)
    fresh = rng.standard_normal(100)
    few = guarded.scores(fitted, fresh, (GROUPS,) * 100)
    wide = guarded.scores(fitted, fresh, (("all",),) * 100)
    assert (few <= wide).all()


def test_a_large_group_judges_alone() -> None:
    """With ENOUGH peers of its own the guarded score is the conformal one."""
    rng = np.random.default_rng(6)
    fitted = Conformal({"few": np.sort(rng.standard_normal(ENOUGH)), "all": np.sort(rng.standard_normal(WIDE) + 1.0)})
    fresh = rng.standard_normal(50) * 2.0
    groups = (GROUPS,) * 50
    assert guarded.scores(fitted, fresh, groups).tolist() == pytest.approx(fitted.scores(fresh, groups).tolist(), abs=1e-12)


def test_guarded_scores_rise_and_have_the_same_bits_in_any_batch() -> None:
    """A higher statistic never scores lower, up to a rounding, and a row alone scores what it scores among others."""
    rng = np.random.default_rng(7)
    fitted = _two_kinds(rng, 1.0)
    values = np.sort(rng.standard_normal(300) * 3.0)
    groups = tuple(GROUPS if row % 3 else ("all",) for row in range(300))
    found = guarded.scores(fitted, values, groups)
    assert [_score(fitted, float(value), names) for value, names in zip(values, groups, strict=True)] == found.tolist()
    assert (np.diff(guarded.scores(fitted, values, (GROUPS,) * 300)) >= -1e-12).all()
    assert np.isnan(_score(fitted, 0.0, ("elsewhere",)))


def test_small_groups_are_kept_for_the_guard() -> None:
    """From LEAST organisations on a group is kept, though below ENOUGH it does not judge alone."""
    orgs = [f"o{number}" for number in range(100)]
    groups = [("kept" if number < calibrate.LEAST else f"{number}", "all") for number in range(100)]
    fitted = calibrate.fit([float(number) for number in range(100)], orgs, groups)
    assert sorted(fitted.peers) == ["all", "kept"]
    assert fitted.group(("kept", "all")) == "all"


def test_contamination_costs_power_and_never_false_alarms() -> None:
    """With 1 % harvesters among the peers a level of 1 % is passed less often by honest ones, and hardly by harvesters."""
    rng = np.random.default_rng(8)
    honest = rng.standard_normal(2000)
    harvesters = rng.standard_normal(20) + 4.0
    fresh, caught = rng.standard_normal(20_000), rng.standard_normal(2000) + 4.0
    shares: dict[str, NDArray[np.float64]] = {}
    for name, peers in (("clean", honest), ("dirty", np.append(honest, harvesters))):
        fitted = Conformal({"all": np.sort(peers)})
        shares[name] = np.array([np.mean(fitted.scores(part, (("all",),) * len(part)) >= 0.99) for part in (fresh, caught)])
    assert shares["dirty"][0] <= shares["clean"][0] <= 0.0125
    assert shares["dirty"][1] < shares["clean"][1]


def test_a_look_calls_what_benjamini_and_hochberg_call() -> None:
    """The largest k with p(k) ≤ q k / m, by hand; an entity that is not judged counts for nothing."""
    p = np.array([0.9, 0.01, np.nan, 0.039, 0.02, 0.5])
    assert discovery.called(p, 0.1).tolist() == [False, True, False, True, True, False]
    assert discovery.called(p, 0.1, most=2).tolist() == [False, True, False, False, True, False]
    assert not discovery.called(p, 0.001).any()
    assert discovery.called(np.zeros(0), 0.1).shape == (0,)
    with pytest.raises(ValueError, match="between 0 and 1"):
        discovery.called(p, 1.0)


def test_of_those_called_the_stated_share_is_honest() -> None:
    """Entities that share their peers, 2 % of them harvesters: the mean share of honest ones among those called is q."""
    rng = np.random.default_rng(9)
    wrong = []
    for _ in range(40):
        fitted = Conformal({"all": np.sort(rng.standard_normal(2000))})
        values = rng.standard_normal(1000)
        values[:20] += 5.0
        groups = (("all",),) * 1000
        called = discovery.called(1.0 - fitted.scores(values, groups), 0.1)
        wrong.append(called[20:].sum() / max(1, called.sum()))
    assert np.mean(wrong) <= 0.12


def test_a_look_cannot_call_fewer_than_its_peers_resolve() -> None:
    """`least` is exactly where entities at the floor begin to be called."""
    entities, peers, q = 1000, 999, 0.1
    few = discovery.least(entities, peers, q)
    for count, told in ((few - 1, False), (few, True)):
        p = np.ones(entities)
        p[:count] = 1 / (peers + 1)
        assert discovery.called(p, q).any() == told
    assert discovery.least(10, 10_000, 0.1) == 1


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_fused_scorers_hold_their_level_whatever_depends_on_what(correlation: float) -> None:
    """Four scorers of honest entities, from independent to one and the same: 1 % and 0.2 % are passed no more often."""
    rng = np.random.default_rng(10)
    shared, own = rng.standard_normal(200_000), rng.standard_normal((4, 200_000))
    values = np.sqrt(correlation) * shared + np.sqrt(1.0 - correlation) * own
    ranks = np.argsort(np.argsort(-values, axis=1), axis=1)
    fused = discovery.fused((ranks + 1) / 200_000)
    for level in (0.01, 0.002):
        assert (fused <= level).mean() <= 1.15 * level


def test_one_sure_scorer_suffices() -> None:
    """Three scorers that see nothing leave a p-value of one in ten thousand below one in two thousand."""
    assert discovery.fused(np.array([[1e-4], [1.0], [0.6], [0.9]]))[0] < 1 / 2000
    assert discovery.fused(np.array([[0.03], [np.nan]]))[0] == pytest.approx(0.03)
    assert np.isnan(discovery.fused(np.array([[np.nan], [np.nan]]))[0])
