"""Features are frozen when the whole fleet moves in them, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import drift, reference
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix
from detectors.drift import CALM_LOOKS, MOST, Fleet, Look

HIGH, LOW = "valuable_share", "account_age_d"
ORGS = 400


def _rows(seed: int, moved: float = 0.0, share: float = 1.0, rows: int = ORGS) -> FeatureMatrix:
    """Rows of which a share moved in two features by so many deviations, to the suspicious side."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, len(CATALOGUE)))
    who = rng.random(rows) < share
    values[:, INDEX[HIGH]] += moved * who
    values[:, INDEX[LOW]] -= moved * who
    present = np.ones(values.shape, np.bool_)
    return FeatureMatrix(values, present, np.full(rows, 100), (("all",),) * rows)


def _orgs(rows: int = ORGS) -> list[str]:
    return [f"o{row}" for row in range(rows)]


@pytest.fixture(scope="module")
def usual() -> reference.Reference:
    """What is normal in the history."""
    return reference.fit(_rows(1), _orgs())


@pytest.fixture(scope="module")
def base(usual: reference.Reference) -> Fleet:
    """The history's own customers."""
    return drift.fleet(usual, _rows(1), _orgs())


def _jumped(usual: reference.Reference, base: Fleet, rows: FeatureMatrix, orgs: list[str] | None = None) -> set[str]:
    found = drift.jumps(base, drift.fleet(usual, rows, orgs or _orgs(len(rows))))
    return {CATALOGUE[column].name for column in np.flatnonzero(found)}


def test_a_fleet_that_did_not_move_freezes_nothing(usual: reference.Reference, base: Fleet) -> None:
    """Twenty looks at new customers of the same kind find no jump in any of all features."""
    assert all(not _jumped(usual, base, _rows(seed)) for seed in range(100, 120))


def test_a_fleet_that_moves_freezes_what_it_moved_in(usual: reference.Reference, base: Fleet) -> None:
    """On either suspicious side, exactly the features in which all, or a fifth of all, moved."""
    assert _jumped(usual, base, _rows(2, 1.0)) == {HIGH, LOW}
    assert _jumped(usual, base, _rows(3, 4.0, 0.2)) == {HIGH, LOW}


def test_moving_to_the_harmless_side_freezes_nothing(usual: reference.Reference, base: Fleet) -> None:
    """Nobody is suspected for it, so nothing has to be left out."""
    assert not _jumped(usual, base, _rows(4, -2.0))


def test_a_campaign_of_one_in_a_hundred_freezes_nothing(usual: reference.Reference, base: Fleet) -> None:
    """A few harvesters among the fleet do not blind what looks at them."""
    assert not _jumped(usual, base, _rows(5, 8.0, 0.01))


def test_an_organisation_has_one_vote(usual: reference.Reference, base: Fleet) -> None:
    """A thousand keys of one customer that moved freeze nothing."""
    still, moved = _rows(6), _rows(7, 8.0, rows=1000)
    rows = FeatureMatrix(
        np.concatenate([still.values, moved.values]),
        np.concatenate([still.present, moved.present]),
        np.concatenate([still.evidence, moved.evidence]),
        still.groups + moved.groups,
    )
    orgs = [*_orgs(), *["one"] * 1000]
    assert not _jumped(usual, base, rows, orgs)
    assert drift.fleet(usual, rows, orgs).votes[INDEX[HIGH]] == ORGS + 1


def test_too_few_customers_freeze_nothing(usual: reference.Reference, base: Fleet) -> None:
    """Fewer than a hundred organisations are no fleet."""
    assert not _jumped(usual, base, _rows(8, 3.0, rows=99))


def test_sketches_of_workers_add_up(usual: reference.Reference) -> None:
    """What two workers saw of different organisations is what one would have seen of all."""
    rows = _rows(9, 1.0)
    halves = [
        drift.fleet(usual, rows.take(part), [_orgs()[row] for row in part])
        for part in (list(range(150)), list(range(150, ORGS)))
    ]
    merged, whole = halves[0].merged(halves[1]), drift.fleet(usual, rows, _orgs())
    assert np.array_equal(merged.votes, whole.votes)
    assert np.allclose(merged.beyond, whole.beyond)


def test_a_frozen_feature_thaws_after_calm_looks() -> None:
    """It stays frozen until it has not jumped CALM_LOOKS times in a row; a jump begins the count anew."""
    jump, calm = np.zeros(len(CATALOGUE)), np.zeros(len(CATALOGUE))
    jump[INDEX[HIGH]] = 0.3
    state = drift.look(Look({}), jump)
    for moved, looks in ((calm, 1), (jump, 0), *((calm, count) for count in range(1, CALM_LOOKS))):
        state = drift.look(state, moved)
        assert state.frozen == {HIGH: looks}
    assert drift.look(state, calm).frozen == {}


def test_never_more_than_a_quarter_is_frozen() -> None:
    """When everything moves, the largest jumps are frozen, and it is said that more moved."""
    moved = np.linspace(0.1, 0.9, len(CATALOGUE))
    state = drift.look(Look({}), moved)
    assert set(state.frozen) == {feature.name for feature in CATALOGUE[-MOST:]}
    assert state.too_many
    assert len(drift.look(state, moved[::-1]).frozen) == MOST


def test_a_frozen_feature_is_absent() -> None:
    """To a scorer a frozen feature is one that nobody has; the others keep their bits."""
    rows = _rows(10)
    hidden = drift.without(rows, Look({HIGH: 0}))
    column = INDEX[HIGH]
    assert not hidden.present[:, column].any()
    assert not hidden.values[:, column].any()
    others = np.arange(len(CATALOGUE)) != column
    assert np.array_equal(hidden.values[:, others], rows.values[:, others])
    assert drift.without(rows, Look({})) is rows
