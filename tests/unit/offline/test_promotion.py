"""A person puts a model in its place; what was there before is kept, and what fails is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from app.errors import BadInput, ConfigError
from app.offline import promotion
from app.offline.promotion import Person, Place, Refused
from detectors import model as models
from detectors.features import stack
from detectors.promote import Anchors, Checked

WHO = Person("ada", "2026-11-25T00:00:00+00:00", "reviewed by two people")
NONE = Anchors(stack([]), np.zeros(0, np.bool_), np.zeros(0, np.bool_), ())


def _candidate(folder: Path, watch: float) -> Path:
    model = models.rules_only()
    changed = replace(model, policy=msgspec.structs.replace(model.policy, watch=watch))
    models.save(changed, folder)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty place."""
    return Place(tmp_path / "models" / "live")


def test_a_promoted_model_is_loaded_from_the_place(place: Place, tmp_path: Path) -> None:
    """Who, when and why stand beside it; the first is the baseline of those that follow."""
    steps = [place.promote(_candidate(tmp_path / str(n), 0.9 + n / 100), NONE, WHO) for n in range(2)]
    assert models.load(place.path).id == steps[1].model
    assert (steps[0].baseline, steps[1].baseline, steps[1].previous) == (steps[0].folder,) * 3
    assert place.history() == steps
    beside = msgspec.json.decode((place.path / promotion.BESIDE).read_bytes(), type=promotion.Promotion)
    assert (beside.by, beside.at, beside.reason) == (WHO.by, WHO.at, WHO.reason)


def test_going_back_is_one_call_and_can_be_repeated(place: Place, tmp_path: Path) -> None:
    """Each call puts the model before the present one in the place; before the first there is none."""
    steps = [place.promote(_candidate(tmp_path / str(n), 0.9 + n / 100), NONE, WHO) for n in range(3)]
    for before in (steps[1], steps[0]):
        assert place.back(WHO).model == models.load(place.path).id == before.model
    with pytest.raises(BadInput, match="no model before"):
        place.back(WHO)
    assert [step.action for step in place.history()] == ["promoted"] * 3 + ["rolled back"] * 2


def test_a_model_that_was_in_the_place_is_adopted(place: Place, tmp_path: Path) -> None:
    """A plain folder moves into the store, is the baseline, and one goes back to it."""
    _candidate(place.path, 0.5)
    old = models.load(place.path).id
    step = place.promote(_candidate(tmp_path / "new", 0.9), NONE, WHO)
    assert [one.action for one in place.history()] == ["adopted", "promoted"]
    assert step.baseline == place.history()[0].folder
    assert place.back(WHO).model == models.load(place.path).id == old


def test_what_fails_is_refused_and_nothing_moves(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says why, and the model in use stays."""
    first = place.promote(_candidate(tmp_path / "a", 0.9), NONE, WHO)
    monkeypatch.setattr(promotion, "check", lambda *_: Checked(("it is blind",), {}))
    with pytest.raises(Refused, match="is not promoted: it is blind"):
        place.promote(_candidate(tmp_path / "b", 0.8), NONE, WHO)
    assert models.load(place.path).id == first.model
    assert len(place.history()) == 1


def test_candidates_are_compared_with_the_baseline_and_not_with_the_model_before(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many were promoted since; a new baseline is begun only by asking for it."""
    seen: list[str | None] = []

    def check(candidate: models.Model, baseline: models.Model | None, anchors: Anchors) -> Checked:
        seen.append(None if baseline is None else baseline.id)
        return Checked((), {})

    monkeypatch.setattr(promotion, "check", check)
    first, *_ = [place.promote(_candidate(tmp_path / str(n), 0.9 + n / 100), NONE, WHO) for n in range(3)]
    fresh = place.promote(_candidate(tmp_path / "fresh", 0.5), NONE, WHO, new_baseline=True)
    place.promote(_candidate(tmp_path / "last", 0.6), NONE, WHO)
    assert seen == [None, first.model, first.model, None, fresh.model]


@pytest.mark.parametrize("reason", ["", "short", "two lines,\nof which one", "x" * 501])
def test_a_reason_is_one_line_that_says_something(reason: str, place: Place, tmp_path: Path) -> None:
    """Without one nothing is promoted."""
    with pytest.raises(ConfigError, match="--reason must be one line of 10 to 500 characters"):
        place.promote(_candidate(tmp_path / "a", 0.9), NONE, replace(WHO, reason=reason))
    assert not place.path.exists()


def test_what_is_no_model_is_named(place: Place, tmp_path: Path) -> None:
    """A folder without a model, and a record that is damaged."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="CANDIDATE: "):
        place.promote(tmp_path / "empty", NONE, WHO)
    place.promote(_candidate(tmp_path / "a", 0.9), NONE, WHO)
    (place.store / promotion.LOG).write_text("{}\n")
    with pytest.raises(BadInput, match=r"promotions\.jsonl: "):
        place.history()


def test_cases_of_an_operator_join_the_shipped_anchors(tmp_path: Path) -> None:
    """They are kept as they were saved; a file that is none is named."""
    shipped = promotion.anchors_of()
    path = tmp_path / "cases.npz"
    mine = Anchors(shipped.matrix.take([0, 1]), shipped.attack[:2], np.ones(2, np.bool_), ("key a", "key b"))
    promotion.save_cases(path, mine)
    both = promotion.anchors_of([path])
    assert len(both) == len(shipped) + 2
    assert both.confirmed.sum() == 2
    assert both.kinds[-2:] == mine.kinds
    path.write_text("nothing")
    with pytest.raises(BadInput, match=r"--cases .*cases\.npz: "):
        promotion.anchors_of([path])
