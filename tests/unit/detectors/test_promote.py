"""A candidate is judged by anchors that do not move and by the first model, not by the one before it."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import artefacts, promote
from detectors.catalogue import INDEX
from detectors.contract import FeatureMatrix, Level
from detectors.model import rules_only
from detectors.promote import Anchors, BadAnchors, Judged

WIDTH = len(INDEX)


def _anchors(honest: int = 50, attack: int = 50, confirmed: int = 0) -> Anchors:
    count = honest + attack
    matrix = FeatureMatrix(
        np.full((count, WIDTH), 0.5),
        np.ones((count, WIDTH), np.bool_),
        np.full(count, 40),
        (("all",),) * count,
        np.zeros((count, 3, 5), np.float32),
    )
    sure = np.arange(count) < confirmed
    return Anchors(matrix, np.arange(count) >= honest, sure, tuple(f"row {at}" for at in range(count)))


def _judged(anchors: Anchors, honest: float = 0.3, attack: float = 0.998, level: Level = Level.SUSPECT) -> Judged:
    score = np.where(anchors.attack, attack, honest)
    return Judged(score, np.where(anchors.attack, level, Level.CLEAR).astype(np.int8))


def test_the_baseline_passes_against_itself() -> None:
    """What has not moved costs nothing of the budget."""
    anchors = _anchors()
    found = promote.compare(_judged(anchors), _judged(anchors), anchors)
    assert found.passed
    assert found.figures["stability, attack"] == found.figures["doubt about attacks"] == 0.0


def test_steps_that_each_look_small_are_refused_by_their_sum() -> None:
    """A model that every day doubts attackers by a fifth more is refused on the fourth day: the baseline stays."""
    anchors = _anchors()
    first = _judged(anchors)
    passed = [promote.compare(_judged(anchors, attack=1 - 0.002 * 1.2**day), first, anchors).passed for day in range(1, 8)]
    assert passed == [True] * 3 + [False] * 4


def test_attackers_that_are_no_longer_flagged_are_counted() -> None:
    """Two points may be lost and not three; that they are still on watch does not help."""
    anchors = _anchors(attack=100)
    for lost, passes in ((2, True), (3, False)):
        now = _judged(anchors)
        now.level[-lost:] = Level.WATCH
        found = promote.compare(now, _judged(anchors), anchors)
        assert found.passed == passes
        assert found.figures["attacks no longer flagged"] == pytest.approx(lost / 100)
        assert found.figures["attacks no longer found"] == 0.0


def test_honest_customers_that_are_flagged_are_counted() -> None:
    """One honest anchor in a hundred may be flagged more than by the baseline; of few anchors two."""
    anchors = _anchors(honest=300)
    for flagged, passes in ((3, True), (4, False)):
        now = _judged(anchors)
        now.level[:flagged] = Level.SUSPECT
        found = promote.compare(now, _judged(anchors), anchors)
        assert found.passed == passes
        assert passes or found.failures[0].startswith("1.3% of the honest anchors are flagged")


def test_a_first_model_must_find_half_of_the_attacks() -> None:
    """Without a baseline the anchors alone decide."""
    anchors = _anchors()
    assert promote.compare(_judged(anchors), None, anchors).passed
    blind = promote.compare(_judged(anchors, level=Level.CLEAR), None, anchors)
    assert blind.failures == ("0.0% of the attack anchors are found; at least 50% must be",)


def test_a_confirmed_case_has_no_tolerance() -> None:
    """One customer whom people found honest and who would be flagged is enough, and is named; it counts nowhere else."""
    anchors = _anchors(honest=200, confirmed=1)
    now = _judged(anchors)
    now.level[0] = Level.CONFIRMED
    found = promote.compare(now, _judged(anchors), anchors)
    assert found.failures == ("row 0: a confirmed honest customer is judged confirmed",)
    assert found.figures["honest flagged"] == 0.0


def test_anchors_come_back_from_their_arrays() -> None:
    """Also under a catalogue with other features: what is gone is dropped, what is new is absent."""
    anchors = _anchors(3, 2)
    arrays = anchors.arrays()
    again = Anchors.from_arrays(arrays)
    assert np.array_equal(again.matrix.values, anchors.matrix.values)
    assert (again.matrix.groups, again.kinds) == (anchors.matrix.groups, anchors.kinds)
    arrays["features"][0] = "of_another_time"
    other = Anchors.from_arrays(arrays)
    assert not other.matrix.present[:, 0].any()
    assert other.matrix.present[:, 1:].all()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("attack", None, "have no array attack"),
        ("evidence", np.zeros(1), "do not fit together"),
        ("pool", np.zeros((1, 3, 5)), "do not fit together"),
        ("values", np.full((5, WIDTH), np.nan), "not finite"),
    ],
)
def test_damaged_anchors_are_refused(
    name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None, words: str
) -> None:
    """One sentence says what is wrong with them."""
    arrays = _anchors(3, 2).arrays()
    if value is None:
        del arrays[name]
    else:
        arrays[name] = value
    with pytest.raises(BadAnchors, match=words):
        Anchors.from_arrays(arrays)


def test_joined_anchors_stay_in_order_and_need_pools_of_one_shape() -> None:
    """Shipped ones first, then an operator's."""
    both = promote.joined([_anchors(2, 1), _anchors(0, 1)])
    assert both.attack.tolist() == [False, False, True, True]
    narrow = _anchors(1, 0)
    narrow.matrix.pool.resize((1, 2, 5), refcheck=False)
    with pytest.raises(BadAnchors, match="different shapes"):
        promote.joined([_anchors(2, 1), narrow])


def test_the_shipped_anchors_are_of_this_catalogue() -> None:
    """They are read, hold both sides, and are judged by any model."""
    anchors = Anchors.from_arrays(artefacts.load("anchors").arrays)
    assert set(artefacts.load("anchors").arrays["features"].tolist()) == set(INDEX)
    assert anchors.attack.any()
    assert not anchors.attack.all()
    found = promote.check(rules_only(), rules_only(), anchors)
    assert found.passed
