"""Models: deterministic fits, what a poisoned history does to the rules, and files that refuse to be anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from detectors import model as models
from detectors.catalogue import INDEX
from detectors.contract import FeatureMatrix, ScoreStatus
from detectors.drift import Fleet
from detectors.features import FeatureRow, stack
from detectors.model import BadModel, Model, TooLittleHistory
from detectors.policy import ALARM, Policy

MakeRow = Callable[..., FeatureRow]
Honest = Callable[..., tuple[list[FeatureRow], list[str]]]


@pytest.fixture(scope="module")
def saved(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fitted model as a folder. Read-only: tests that damage it work on a copy."""
    folder = tmp_path_factory.mktemp("model") / "saved"
    models.save(model, folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model to damage."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def _edit(folder: Path, **fields: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **fields}))


def test_a_saved_model_judges_bit_for_bit_alike(model: Model, saved: Path, mixed_matrix: FeatureMatrix) -> None:
    """Scores, reasons, percentiles, policy and id survive the files."""
    again = models.load(saved)
    assert again.id == model.id
    assert again.policy == model.policy
    for mine, theirs in zip(model.scorers, again.scorers, strict=True):
        assert list(mine.score(mixed_matrix)) == list(theirs.score(mixed_matrix))
    assert again.percentile("valuable_share", 0.3, ("all",)) == model.percentile("valuable_share", 0.3, ("all",))


def test_the_same_history_and_seed_give_the_same_bytes(honest: Honest, tmp_path: Path) -> None:
    """Fit twice, save twice: equal files. Another seed is another model."""
    rows, owners = honest(4, 40, 2)
    ids = set()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fitted = models.fit(rows, owners, seed)
        ids.add(fitted.id)
        models.save(fitted, tmp_path / name)
    for file in ("manifest.json", "peers.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert len(ids) == 2


def test_rules_alone_are_a_model_that_can_be_saved(tmp_path: Path, harvest_row: MakeRow) -> None:
    """Without a history the named rules judge, and nothing has a percentile."""
    plain = models.rules_only()
    models.save(plain, tmp_path / "rules")
    again = models.load(tmp_path / "rules")
    assert again.id == plain.id == models.rules_only().id
    assert again.percentile("valuable_share", 0.5, ("all",)) is None
    values = {scorer.name: scorer.score(stack([harvest_row("logit_sweep")]))[0].value for scorer in again.scorers}
    assert values["logit_sweep"] == 1.0


def test_the_id_names_the_policy_too(model: Model) -> None:
    """Two models that differ in a threshold alone have different ids."""
    other = models.Model(Policy(watch=0.98), model.peers, model.notes)
    assert other.id != model.id


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "peers.npz").write_bytes((folder / "peers.npz").read_bytes()[:-1] + b"?"), "checksum"),
        (lambda folder: (folder / "peers.npz").unlink(), "No such file"),
        (lambda folder: (folder / "manifest.json").unlink(), "No such file"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "no manifest"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe"), "no manifest"),
        (lambda folder: _edit(folder, format=1), "format version is 1"),
        (lambda folder: _edit(folder, catalogue="0"), "catalogue version is 0"),
        (lambda folder: _edit(folder, fingerprint=99), "fingerprint version is 99"),
        (lambda folder: _edit(folder, id="0" * 16), "its manifest says"),
        (lambda folder: _edit(folder, policy={"watch": 0.5}), "its manifest says"),
        (lambda folder: _edit(folder, policy={"mood": 1}), "no manifest"),
        (lambda folder: _edit(folder, files={"../peers.npz": "0"}), "does not know"),
        (lambda folder: _edit(folder, scorers={"tails": "0"}), "scorers"),
    ],
)
def test_a_folder_that_is_not_what_was_saved_is_refused(damage: Callable[[Path], object], says: str, copy: Path) -> None:
    """Damage of any file and any foreign version give one sentence, and no model."""
    damage(copy)
    with pytest.raises(BadModel, match=says) as caught:
        models.load(copy)
    assert "\n" not in str(caught.value)


def _replace_arrays(folder: Path, arrays: dict[str, object]) -> None:
    np.savez_compressed(folder / "peers.npz", **arrays)  # type: ignore[arg-type]
    checksum = sha256((folder / "peers.npz").read_bytes()).hexdigest()
    _edit(folder, files={"peers.npz": checksum})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.pop("forest.left"), "no array forest.left"),
        (lambda arrays: arrays.update({"reference.votes": np.zeros((1, 1))}), "do not fit"),
        (lambda arrays: arrays.update({"forest.left": arrays["forest.left"] + 10_000}), "outside themselves"),
        (lambda arrays: arrays.update({"forest.right": arrays["forest.right"] * 0}), "outside themselves"),
        (lambda arrays: arrays.update({"forest.feature": arrays["forest.feature"] + 10_000}), "outside themselves"),
        (lambda arrays: arrays.update({"forest.scale": np.array([object()], object)}), "does not decode"),
    ],
)
def test_arrays_that_would_break_a_scorer_are_refused(change: Callable[[dict], object], says: str, copy: Path) -> None:
    """A right checksum is not enough: shapes and indices are checked, and a pickled object is never opened."""
    with np.load(copy / "peers.npz") as held:
        arrays = {name: held[name] for name in held.files}
    change(arrays)
    _replace_arrays(copy, arrays)
    with pytest.raises(BadModel, match=says):
        models.load(copy)


def test_too_little_history_is_refused(honest: Honest, make_row: MakeRow) -> None:
    """Nineteen organisations are too few, and rows without evidence do not count."""
    rows, owners = honest(2, 19)
    with pytest.raises(TooLittleHistory, match="19 organisations"):
        models.fit(rows, owners, 1)
    with pytest.raises(TooLittleHistory, match="0 organisations"):
        models.fit([make_row(2)] * 50, [str(n) for n in range(50)], 1)


def test_contamination_that_a_certain_rule_knows_is_taken_out(honest: Honest, harvest_row: MakeRow) -> None:
    """One organisation that sweeps logits in the history is not a peer, and the rule stays as sharp as it was."""
    rows, owners = honest(6, 60, 2)
    dirty = models.fit([*rows, harvest_row("logit_sweep")], [*owners, "thief"], 1)
    known = models.fit([*rows, harvest_row("logit_sweep")], [*owners, "thief"], 1, honest=["thief"])
    assert known.notes["taken_out"] == 0
    assert known.id != dirty.id
    clean = models.fit(rows, owners, 1)
    assert dirty.notes["taken_out"] == 1
    assert dirty.policy == Policy()
    assert dirty.peers is not None
    assert clean.peers is not None
    assert np.array_equal(dirty.peers.tails.peers["all"], clean.peers.tails.peers["all"])


def test_a_rule_that_honest_customers_fulfil_is_demoted(honest: Honest, harvest_row: MakeRow) -> None:
    """Where many organisations have reasoning in tags, forced reasoning is a pattern and they stay peers."""
    rows, owners = honest(6, 60, 2)
    tagging = [harvest_row("forced_reasoning") for _ in range(4)]
    fitted = models.fit([*rows, *tagging], [*owners, *(f"tags-{n}" for n in range(4))], 1)
    rule = fitted.policy.rules["forced_reasoning"]
    assert (rule.suspect, rule.confirmed, rule.suspect_if_rare) == (None, None, 0.5)
    assert fitted.notes["taken_out"] == 0
    assert fitted.policy.rules["logit_sweep"] == Policy().rules["logit_sweep"]


def test_a_small_history_makes_nobody_suspect_by_oddness(honest: Honest, harvest_row: MakeRow) -> None:
    """Thirty peers resolve one in 31: the oddest key ever seen stays below the score that is worth a look."""
    fitted = models.fit(*honest(8, 30, 2), seed=1)
    matrix = stack([harvest_row("reconstruction")])
    for scorer in (one for one in fitted.scorers if one.name in fitted.policy.peer_scorers):
        (score,) = scorer.score(matrix)
        assert score.status is ScoreStatus.SCORED
        assert score.value < fitted.policy.watch
    assert fitted.policy.suspect is None


def test_percentile_of_an_unknown_feature_is_an_error(model: Model) -> None:
    """A misspelt name is a mistake of the caller, not a missing peer."""
    with pytest.raises(KeyError):
        model.percentile("mood", 1.0, ("all",))


def test_the_leak_alarm_lies_above_all_but_one_in_a_thousand_of_the_history(honest: Honest) -> None:
    """Never below its own bound, and above what the history's honest organisations ever reached."""
    rows, owners = honest(5, 40, 2)
    assert models.fit(rows, owners, 1).policy.alarm == ALARM
    rows[0].values[INDEX["leak_evidence"]] = 12.0
    alarm = models.fit(rows, owners, 1).policy.alarm
    assert 12.0 < alarm < 12.001


def test_the_fleet_of_the_history_is_saved_with_the_model(model: Model, saved: Path) -> None:
    """Votes survive the files; by default every row has one, and where newest rows are named those alone have."""
    again = models.load(saved)
    assert model.peers is not None
    assert again.peers is not None
    for fitted in (model.peers, again.peers):
        assert fitted.fleet is not None
    assert np.array_equal(again.peers.fleet.votes, model.peers.fleet.votes)  # type: ignore[union-attr]
    assert np.array_equal(again.peers.fleet.beyond, model.peers.fleet.beyond)  # type: ignore[union-attr]


def test_only_newest_rows_are_the_fleet(honest: Honest) -> None:
    """What later fleets are compared with is as they are: one row of each entity."""
    rows, owners = honest(6, 40, 2)
    fleets = [models.fit(rows, owners, 1, newest=newest).peers.fleet for newest in (None, range(1, 80, 2), range(1, 40, 2))]  # type: ignore[union-attr]
    assert [fleet.votes.max() for fleet in fleets if fleet is not None] == [40, 40, 20]
    assert not np.array_equal(fleets[0].beyond, fleets[1].beyond)  # type: ignore[union-attr]


def test_a_model_without_a_fleet_is_read_as_one_that_freezes_nothing(model: Model, tmp_path: Path) -> None:
    """A model that was saved before there was one judges on; one whose votes are of another shape is refused."""
    assert model.peers is not None
    for fleet, damaged in ((None, False), (Fleet(np.ones(3), np.ones((3, 7))), True)):
        folder = tmp_path / str(damaged)
        models.save(models.Model(model.policy, replace(model.peers, fleet=fleet), {}), folder)
        if damaged:
            with pytest.raises(BadModel, match="fleet"):
                models.load(folder)
        else:
            found = models.load(folder).peers
            assert found is not None
            assert found.fleet is None
