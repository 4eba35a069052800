"""Looks: who has a ballot, what one look makes of all, and from when it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from detectors import drift, looks, reference
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix, Level, Score, ScoreStatus, Status, Verdict
from detectors.features import FeatureRow
from detectors.looks import DAY_US, DELAY_US, FLAGGED, SILENT, VOTES, Ballot, Looks
from detectors.model import Model, Peers, rules_only

MOVED = INDEX["valuable_share"]
AGE = INDEX["account_age_d"]
ORGS = 300


def _row(values: np.ndarray) -> FeatureRow:
    return FeatureRow(values, np.ones(len(CATALOGUE), np.bool_), 50, ("all",))


def _verdict(key_id: str, at_us: int, p_value: float | None = 0.5, **changes: object) -> Verdict:
    scored = ScoreStatus.NOT_APPLICABLE if p_value is None else ScoreStatus.SCORED
    scores = (Score("boosted", "1", scored, 1.0 - (p_value or 0.0)),)
    return replace(
        Verdict(key_id, "key", Status.JUDGED, 0.1, Level.CLEAR, at_us, at_us, None, (), scores, 0, 50, False, "m"),
        **changes,  # type: ignore[arg-type]
    )


def _values(seed: int, rows: int = ORGS) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, len(CATALOGUE)))
    values[:, AGE] += 100.0
    return values


@pytest.fixture(scope="module")
def model() -> Model:
    """A model of which only the reference and the fleet matter."""
    matrix = FeatureMatrix(_values(1), np.ones((ORGS, len(CATALOGUE)), np.bool_), np.full(ORGS, 50), (("all",),) * ORGS)
    orgs = [f"o{row}" for row in range(ORGS)]
    known = reference.fit(matrix, orgs)
    none = object()
    peers = Peers(known, none, none, none, none, none, fleet=drift.fleet(known, matrix, orgs))  # type: ignore[arg-type]
    return Model(rules_only().policy, peers, {})


Cast = Callable[..., dict[str, Ballot]]


@pytest.fixture
def cast(model: Model) -> Cast:
    """cast(seed, moved, **changes): everybody's ballots of interval 3, where so much was added to one feature."""

    def go(seed: int, moved: float, **changes: object) -> dict[str, Ballot]:
        values = _values(seed)
        values[:, MOVED] += moved
        verdicts = [_verdict(f"k{row}", 3 * DAY_US + row, (row + 1) / ORGS, **changes) for row in range(ORGS)]
        found = looks.ballots(model, verdicts, [_row(line) for line in values], {}, DAY_US)
        return {key_id: one for (_, key_id), one in found.items()}

    return go


def test_the_newest_verdict_of_an_interval_is_the_ballot(model: Model) -> None:
    """A later verdict replaces an earlier one of the same interval, and one of the next day is another ballot."""
    verdicts = [_verdict("k", at_us, p) for at_us, p in ((10, 0.3), (20, 0.4), (DAY_US, 0.5))]
    rows = [_row(line) for line in _values(2, 3)]
    found = looks.ballots(model, verdicts, rows, {"k": "acme"}, DAY_US)
    assert {name: one.p_value for name, one in found.items()} == {(0, "k"): pytest.approx(0.4), (1, "k"): 0.5}
    assert {one.org for one in found.values()} == {"acme"}
    assert found[0, "k"].ranks == drift.ranks(model.peers.reference, _matrix(rows[1]))[0].tobytes()  # type: ignore[union-attr]


def _matrix(row: FeatureRow) -> FeatureMatrix:
    return FeatureMatrix(row.values[None], row.present[None], np.array([50]), (row.groups,))


def test_who_has_a_vote(model: Model) -> None:
    """Settled customers have; accounts of days, contracted uses and flagged keys have none, nor has who is not judged."""
    values = _values(3, 5)
    values[1, AGE] = 2.0
    verdicts = [
        _verdict("settled", 1),
        _verdict("young", 1),
        _verdict("contracted", 1, authorised=True),
        _verdict("flagged", 1, level=Level.SUSPECT),
        _verdict("warming", 1, status=Status.WARMING_UP),
    ]
    found = looks.ballots(model, verdicts, [_row(line) for line in values], {}, DAY_US)
    voices = {key_id: one.voice for (_, key_id), one in found.items()}
    assert voices == {"settled": VOTES, "young": SILENT, "contracted": SILENT, "flagged": FLAGGED}
    assert found[0, "contracted"].p_value is None


def test_a_flagged_key_silences_its_organisation(model: Model) -> None:
    """The other keys of its organisation have no vote either, though they are compared."""
    values = [_row(line) for line in _values(4, 3)]
    verdicts = [_verdict("a", 1), _verdict("b", 1, level=Level.CONFIRMED), _verdict("c", 1)]
    found = looks.ballots(model, verdicts, values, {"a": "acme", "b": "acme", "c": "other"}, DAY_US)
    look = Looks().after(model, 0, {key_id: one for (_, key_id), one in found.items()}).newest
    assert look is not None
    assert (look.voters, look.judged) == (1, 3)


def test_a_fleet_that_moved_freezes_the_feature_from_an_hour_after_the_interval(model: Model, cast: Cast) -> None:
    """Exchanges from then on are judged as if nobody had the feature; earlier ones are not."""
    found = Looks().after(model, 3, cast(5, 2.0))
    begins = 4 * DAY_US + DELAY_US
    assert list(found.at(begins).frozen) == ["valuable_share"]
    assert found.at(begins - 1).frozen == {}
    matrix = FeatureMatrix(_values(6, 2), np.ones((2, len(CATALOGUE)), np.bool_), np.array([50, 50]), (("all",), ("all",)))
    shown = found.shown(matrix, [begins - 1, begins])
    assert shown.present[0].all()
    assert np.flatnonzero(~shown.present[1]).tolist() == [MOVED]
    assert Looks().after(model, 3, cast(7, 0.0)).shown(matrix, [begins, begins]) is matrix


def test_whoever_collects_the_ballots_the_look_is_the_same(model: Model, cast: Cast) -> None:
    """The order in which workers' ballots come together does not matter to a single bit."""
    ballots = cast(8, 1.5)
    backwards = dict(reversed(ballots.items()))
    assert Looks().after(model, 3, ballots) == Looks().after(model, 3, backwards)


def test_those_who_stand_out_are_called(model: Model, cast: Cast) -> None:
    """By Benjamini and Hochberg; the list is those at or below the look's bar, the smallest first."""
    ballots = cast(9, 0.0)
    for key_id in ("k200", "k100"):
        ballots[key_id] = msgspec.structs.replace(ballots[key_id], p_value=1e-4)
    newest = Looks(q=0.1).after(model, 3, ballots).newest
    assert newest is not None
    assert newest.called == 2
    assert [key_id for key_id, _ in looks.called(newest, ballots.items())] == ["k100", "k200"]
    quiet = Looks().after(model, 3, cast(10, 0.0)).newest
    assert quiet is not None
    assert (quiet.called, quiet.bar) == (0, 0.0)
    assert looks.called(quiet, cast(10, 0.0).items()) == []


def test_a_model_without_a_fleet_freezes_nothing(cast: Cast) -> None:
    """The named rules alone have no history to compare with; keys are listed all the same."""
    newest = Looks().after(rules_only(), 3, cast(11, 5.0)).newest
    assert newest is not None
    assert newest.frozen == {}
    assert newest.judged == ORGS


def test_ballots_survive_their_bytes(cast: Cast) -> None:
    """A ballot is as it was after it was stored, and what is none is ignored."""
    ballot = cast(12, 0.0)["k0"]
    assert looks.decode(looks.encode(ballot)) == ballot
    assert len(looks.encode(ballot)) < 200
    assert looks.decode(b"nonsense") is None
    assert looks.decode(looks.encode(msgspec.structs.replace(ballot, ranks=b"short"))) is None
