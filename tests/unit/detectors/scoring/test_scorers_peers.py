"""The peer-group scorers: surprise is one-sided, within the group, and a rank among the peers of the history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detectors import reference
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import ScoreStatus
from detectors.features import FeatureRow, stack
from detectors.model import Model
from detectors.scorers.surprise import HARVEST, surprises

MakeRow = Callable[..., FeatureRow]
Honest = Callable[..., tuple[list[FeatureRow], list[str]]]
PEERS = ("tails", "isolation")


@pytest.mark.parametrize("name", PEERS)
def test_a_harvest_is_rare_and_an_ordinary_key_is_not(
    name: str, model: Model, harvest_row: MakeRow, make_row: MakeRow
) -> None:
    """A harvest without a rule's help scores above 0.9; an ordinary key below 0.8."""
    scorer = next(scorer for scorer in model.scorers if scorer.name == name)
    harvest, ordinary = scorer.score(stack([harvest_row("task_harvest"), make_row()]))
    assert harvest.value > 0.9
    assert ordinary.value < 0.8
    assert harvest.reasons
    assert not ordinary.reasons


@pytest.mark.parametrize("name", PEERS)
def test_being_odd_on_the_harmless_side_does_not_count(name: str, model: Model, make_row: MakeRow) -> None:
    """A key that is extreme on the harmless side of everything scores no more than an ordinary one."""
    scorer = next(scorer for scorer in model.scorers if scorer.name == name)
    harmless = {}
    for feature in (CATALOGUE[INDEX[feature]] for feature in HARVEST):
        harmless[feature.name] = feature.low if feature.suspicious == "high" else min(feature.high, 5_000.0)
    odd, ordinary = scorer.score(stack([make_row(**harmless), make_row()]))
    assert odd.value <= ordinary.value


@pytest.mark.parametrize("name", PEERS)
def test_an_entity_without_known_peers_is_not_judged(name: str, model: Model, make_row: MakeRow) -> None:
    """A group that the history does not know gives a status, not a guess."""
    scorer = next(scorer for scorer in model.scorers if scorer.name == name)
    (score,) = scorer.score(stack([make_row(names=("org/payg", "org"))]))
    assert score.status is ScoreStatus.NOT_APPLICABLE


@pytest.mark.parametrize("name", PEERS)
def test_new_honest_organisations_are_as_rare_as_promised(name: str, model: Model, honest: Honest) -> None:
    """Of fresh honest organisations about 5 % ever score above 0.95, and never many more: the p-value holds."""
    scorer = next(scorer for scorer in model.scorers if scorer.name == name)
    rows, owners = honest(99, 400)
    best: dict[str, float] = {}
    for owner, score in zip(owners, scorer.score(stack(rows)), strict=True):
        best[owner] = max(best.get(owner, 0.0), score.value)
    # Two standard errors above 5 % for 400 organisations, and one more for the 240 peers behind the p-value.
    assert 0.01 <= np.mean([value > 0.95 for value in best.values()]) <= 0.09


def test_an_organisation_has_one_vote(honest: Honest, make_row: MakeRow) -> None:
    """A customer with a thousand odd rows moves a percentile by one vote in a hundred and one."""
    rows, owners = honest(1, 100)
    odd = [make_row(valuable_share=0.9)] * 1000
    column = INDEX["valuable_share"]
    before = reference.fit(stack(rows), owners)
    after = reference.fit(stack(rows + odd), owners + ["odd"] * 1000)
    for value in (0.1, 0.2, 0.3):
        was, now = (known.percentile(column, value, ("all",)) for known in (before, after))
        assert was is not None
        assert now is not None
        assert was == pytest.approx(now, abs=100 * (1 / 101 + 1 / 64))


def test_percentiles_are_shares_strictly_below(make_row: MakeRow) -> None:
    """A value that everybody has is above nobody; one beyond everybody is above all."""
    rows = [make_row(valuable_share=0.25, names=("all",)) for _ in range(60)]
    known = reference.fit(stack(rows), [f"o{n}" for n in range(60)])
    column = INDEX["valuable_share"]
    assert known.percentile(column, 0.25, ("all",)) == 0.0
    assert known.percentile(column, 0.26, ("all",)) == 100.0
    assert known.percentile(column, 0.26, ("none",)) is None
    assert known.percentile(INDEX["logit_bias_diversity"], 1.0, ("all",)) is None


def test_a_small_group_borrows_from_the_wider_one(make_row: MakeRow) -> None:
    """A group with too few voters is unknown, so its members are compared with the wider group."""
    rows = [make_row(valuable_share=n / 100, names=("big", "all")) for n in range(80)]
    rows += [make_row(valuable_share=0.99, names=("tiny", "all")) for _ in range(10)]
    known = reference.fit(stack(rows), [f"o{n}" for n in range(90)])
    assert known.names == ("all", "big")
    column = INDEX["valuable_share"]
    assert known.percentile(column, 0.9, ("big", "all")) == 100.0
    assert known.percentile(column, 0.9, ("tiny", "all")) == pytest.approx(100 * 80 / 90, abs=2)


def test_a_surprise_is_at_most_that_of_one_in_the_votes_plus_one(honest: Honest, harvest_row: MakeRow) -> None:
    """However extreme a value is, its tail is never below 1 / (votes + 1)."""
    rows, owners = honest(1, 60)
    found = surprises(reference.fit(stack(rows), owners), stack([harvest_row("task_harvest")]))
    assert found.max() == pytest.approx(np.log(61))
    assert found.min() >= 0.0
