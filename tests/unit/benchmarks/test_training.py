"""How the shipped trees are trained: worlds, votes, signs and the artefact."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.training import fit, judge, profiles, ship
from benchmarks.training.rows import LabelledRows
from benchmarks.training.signs import signs
from detectors.artefacts import Artefact
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix
from detectors.scorers.boosted import Boosted

Make = Callable[[list[dict[str, Any]]], LabelledRows]

FRAME = """
start = 1770163200
pack = "pack"
[traces]
bulk = ["a"]
[roles]
answers = ["b", { source = "c", parts = [0] }]
[strata]
human_chat = { keys = 90, rate = 3.5 }
viral_app = { keys = 50, groups = 2, rate = 4.0 }
"""


@pytest.fixture
def make() -> Make:
    """make([{fact or feature: value}, …]): labelled rows with those facts, the rest alike."""

    def build(lines: list[dict[str, Any]]) -> LabelledRows:
        values, present = np.zeros((len(lines), len(CATALOGUE))), np.zeros((len(lines), len(CATALOGUE)), np.bool_)
        facts = []
        for number, line in enumerate(lines):
            for name in set(line) & set(INDEX):
                values[number, INDEX[name]], present[number, INDEX[name]] = line[name], True
            usual = {
                "run": "r", "key": f"k{number}", "org": f"o{number}", "attack": False, "kind": "human_chat",
                "authorised": False, "campaign": None, "mix": None, "paraphrase": None, "sampled": True, "warm": False,
                "attack_so_far": 10 * bool(line.get("attack")), "attack_share": 1.0 * bool(line.get("attack")),
                "key_exchanges": 200, "key_attack_share": 1.0 * bool(line.get("attack")),
            }  # fmt: skip
            facts.append({name: line.get(name, value) for name, value in usual.items()})
        frame = pl.DataFrame(facts, schema_overrides={"campaign": pl.String, "mix": pl.Float64, "paraphrase": pl.String})
        return LabelledRows(FeatureMatrix(values, present, np.full(len(lines), 50), (("all",),) * len(lines)), frame)

    return build


def test_a_world_is_legal_and_another_for_every_seed(tmp_path: Path) -> None:
    """The generator's own file format, the same for the same seed, and families and shapes that differ between seeds."""
    base = tmp_path / "base.toml"
    base.write_text(FRAME)
    texts = [profiles.draw(base, seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    world = tomllib.loads(texts[0])
    assert world["strata"].keys() == {"human_chat", "viral_app"}
    assert len({campaign["family"] for campaign in world["campaigns"]}) == 9
    for campaign in world["campaigns"]:
        assert world["warmup_days"] <= campaign["start_day"] < campaign["end_day"] <= world["days"]
        assert 0.0 < campaign["mix"] <= 1.0


def test_both_classes_weigh_alike_and_a_crowd_has_little_more_than_one_vote(make: Make) -> None:
    """A campaign of 32 keys weighs far less than 32 times one of a single key."""
    crowd = [{"attack": True, "campaign": "crowd", "kind": "relay"} for _ in range(32)]
    rows = make([*crowd, {"attack": True, "campaign": "alone", "kind": "probe"}, {}, {}])
    weight = fit.weights(rows.facts)
    attack = rows.facts["attack"].to_numpy()
    assert weight[attack].sum() == pytest.approx(weight[~attack].sum())
    assert weight[:32].sum() / weight[32] == pytest.approx(32**0.4)


def test_what_has_not_attacked_yet_and_what_is_authorised_teaches_nothing(make: Make) -> None:
    """Cover traffic is no attack, and an authorised customer is neither honest nor not."""
    rows = make([{"attack": True, "attack_so_far": 2}, {"attack": True}, {"authorised": True}, {}, {"sampled": False}])
    assert fit.usable(rows).tolist() == [False, True, False, True, False]


def test_a_feature_that_turns_with_the_corpus_is_found(make: Make) -> None:
    """One family, two corpora, on either side of honest traffic: the side is the corpus's and not the family's."""
    lines: list[dict[str, Any]] = []
    for at in range(20):
        jitter = at / 1000
        lines.append({"kind": "human_chat", "judge_share": 0.5 + jitter, "valuable_share": 0.2 + jitter})
        for run, value in (("r1", 0.9), ("r2", 0.1)):
            harvest = {"run": run, "attack": True, "campaign": run, "kind": "forced_cot"}
            lines.append({**harvest, "judge_share": value + jitter, "valuable_share": 0.9 + jitter})
    found = {one.name: one for one in signs(make(lines), {"r1/forced_cot": "first", "r2/forced_cot": "second"})}
    assert (found["judge_share"].turns, found["valuable_share"].turns) == (1.0, 0.0)
    assert found["valuable_share"].auc == 1.0
    assert not found["valuable_share"].against


def test_a_key_counts_with_its_highest_score_after_the_warm_up(make: Make) -> None:
    """Earlier scores and keys that only sent cover do not count, and the threshold is one that honest keys exceed."""
    lines: list[dict[str, Any]] = [{"key": "a"}, {"key": "a"}, {"key": "a", "warm": True}]
    lines += [{"key": "b"}, {"key": "c", "attack": True}, {"key": "d", "attack": True, "attack_so_far": 0}]
    keys = judge.by_key(make(lines), np.array([0.1, 0.3, 0.9, 0.2, 0.8, 0.9]))
    assert dict(keys.select("key", "score").rows()) == {"a": 0.3, "b": 0.2, "c": 0.8}
    bar = judge.threshold(keys, 0.005)
    assert bar == 0.3
    assert judge.rate(judge.attackers(keys), bar).rate == 1.0
    assert "1.000 of 1 attack keys" in judge.summary(keys)[0]


def test_what_is_written_is_what_was_fitted(make: Make, tmp_path: Path) -> None:
    """Fitted, calibrated, written and read again, the trees give the same bits; honest organisations calibrate."""
    dice = np.random.default_rng(1)
    lines: list[dict[str, Any]] = []
    for number in range(400):
        attack = number % 2 == 0
        share = float(dice.uniform(0.4, 1.0) if attack else dice.uniform(0.0, 0.6))
        lines.append({"attack": attack, "campaign": f"c{number}" if attack else None, "valuable_share": share})
    rows = make(lines)
    names = ["valuable_share", "elicitation_share", "code_share"]
    trees = ship.calibrated(fit.fit(rows, names, models=2), rows)
    ship.write(trees, {"made_by": "a test"}, tmp_path)
    card = tomllib.loads((tmp_path / "boosted.toml").read_text())
    with np.load(tmp_path / "boosted.npz") as held:
        again = Boosted.from_artefact(Artefact("boosted", card, dict(held)))
    assert again.log_odds(rows.matrix).tolist() == trees.log_odds(rows.matrix).tolist()
    assert len(again.peers) == 200
    assert set(again.monotone) == {"valuable_share", "elicitation_share"}
