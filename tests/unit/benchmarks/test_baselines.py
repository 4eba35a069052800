"""What our detector is compared with: thresholds of the warm-up, windows, and the rates by group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.baselines import judged, published, report, simple, verdicts
from benchmarks.baselines.figures import HALF, QUARTER, Rates, groups_of, threshold
from benchmarks.baselines.published import Window
from benchmarks.baselines.verdicts import Moment, Said
from detectors.policy import Policy
from detectors.scorers import foreign_reasoning


def test_a_threshold_is_what_the_warm_up_exceeds_and_a_key_is_flagged_when_it_first_exceeds_it() -> None:
    """The warm-up sets the limit, later traffic does not, and what only touches the limit is not flagged."""
    quiet = [Moment(f"w{at}", 1.0, float(at)) for at in range(10)]
    later = [Moment("a", 20.0, 9.0), Moment("a", 30.0, 9.5), Moment("a", 40.0, 99.0), Moment("b", 20.0, 9.0)]
    said = verdicts.from_moments([*quiet, *later], 10.0)
    assert said == {"a": Said(99.0, 30.0), "b": Said(9.0, None)}


def test_without_a_warm_up_nothing_is_flagged() -> None:
    """There is no threshold to exceed."""
    assert verdicts.from_moments([Moment("a", 20.0, 9.0)], 10.0) == {"a": Said(9.0, None)}


def test_verdicts_are_ranks_that_keep_ties_and_order(tmp_path: Path) -> None:
    """Whatever unit a statistic has, the file's scores lie in (0, 1] and say the same."""
    path = tmp_path / "verdicts.jsonl"
    verdicts.write(path, {"a": Said(-3.0), "b": Said(1e9, 5.0), "c": Said(-3.0)})
    read = verdicts.read(path)
    assert read == {"a": Said(0.5), "b": Said(1.0, 5.0), "c": Said(0.5)}
    assert all("first_ts" in json.loads(line) for line in path.read_text().splitlines())


def test_a_threshold_never_lets_more_honest_keys_pass_than_asked() -> None:
    """Ties are not cut: where they are too many, the next higher score counts, or one above all."""
    assert threshold([0.0] * 198 + [1.0, 2.0], 0.005) == 2.0
    assert threshold([0.0] * 198 + [2.0, 2.0], 0.005) > 2.0
    assert threshold([0.0] * 198 + [2.0, 2.0], 0.01) == 2.0


def _key(label: str, requests: int = 200, **more: Any) -> dict[str, Any]:
    return {"label": label, "requests": requests, "requests_eval": requests, "stratum": "human_chat", **more}


@pytest.fixture
def truth() -> dict[str, Any]:
    """A run of 200 honest keys, an authorised one, and an attack key that was answered at 5, 11, 12 and 13."""
    keys = {f"h{at}": _key("benign") for at in range(200)}
    keys["known"] = _key("benign", authorised=True)
    keys["cover"] = _key("attack", campaign="c", attack_requests_eval=0, attack_fraction=0.0, answered=[])
    answered = [[at, "item", 1] for at in (5.0, 11.0, 12.0, 13.0)]
    keys["bad"] = _key("attack", campaign="c", attack_requests_eval=3, attack_fraction=0.6, answered=answered)
    campaign = {"k": 1, "family": "probe", "mix": 0.5, "paraphrase": "none"}
    return {"warmup_until": 10.0, "keys": keys, "campaigns": {"c": campaign}}


def test_rates_count_as_the_benchmark_does(truth: dict[str, Any]) -> None:
    """Authorised keys and senders of mere cover are in no rate, and only answers after the warm-up have leaked."""
    rates = Rates()
    rates.add(truth, {"bad": Said(0.9, 12.5), "h0": Said(0.95, 11.0), "known": Said(1.0, 11.0)})
    assert (rates.found["all attack keys", 0.005].hits, rates.found["all attack keys", 0.005].keys) == (0, 1)
    assert (rates.false.hits, rates.false.keys) == (1, 200)
    assert (rates.authorised.hits, rates.authorised.keys) == (1, 1)
    assert rates.waits == [2]
    rates.add(truth, {"bad": Said(0.9)})
    assert (rates.found[HALF, 0.005].hits, rates.found[HALF, 0.005].keys) == (1, 2)
    assert rates.waits == [2, np.inf]


def test_a_key_that_nothing_is_said_of_is_never_found(truth: dict[str, Any]) -> None:
    """A silent method gives every key the lowest score, and finds none of them at any rate."""
    rates = Rates()
    rates.add(truth, {})
    assert not any(one.hits for one in rates.found.values())


def test_groups_by_size_and_share(truth: dict[str, Any]) -> None:
    """The goals' groups are those of busy keys; half and a quarter do not overlap."""
    campaign = truth["campaigns"]["c"]
    assert HALF in groups_of({"requests": 100, "attack_fraction": 0.5}, campaign)
    assert QUARTER in groups_of({"requests": 100, "attack_fraction": 0.25}, campaign)
    assert not {HALF, QUARTER} & set(groups_of({"requests": 99, "attack_fraction": 1.0}, campaign))


@pytest.fixture
def cut() -> list[Window]:
    """Windows of 20 of 80 keys in the warm-up, and of two later ones: one like them, one of a single direction."""
    rng = np.random.default_rng(0)

    def window(key: str, at: float, spread: float) -> Window:
        rows = rng.standard_normal((20, 64)) * spread
        rows[:, 0] += 1.0
        return Window(key, at, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))

    return [*(window(f"w{at}", 1.0, 0.3) for at in range(80)), window("like", 20.0, 0.3), window("narrow", 20.0, 0.01)]


def test_published_methods_find_what_lies_elsewhere(cut: list[Window]) -> None:
    """A key whose queries are all alike stands out against the warm-up, and one like the others does not."""
    known = published.reference(cut, 10.0)
    for name, (statistic, both) in published.methods(known).items():
        found = {one.key: one.value for one in published.moments(statistic, both, cut, 10.0) if one.at > 10.0}
        assert set(found) == {"like", "narrow"}
        if name in ("SEAT", "CAP", "Mahalanobis", "MMD"):
            assert found["narrow"] > found["like"], name
            assert found["narrow"] > 1.0, name


def test_reference_and_thresholds_share_no_key(cut: list[Window]) -> None:
    """What a method was fitted on would make its own thresholds too low."""
    found = list(published.moments(lambda window: float(window[0, 0]), False, cut, 10.0))
    assert not any(published.is_reference(one.key) for one in found if one.at < 10.0)


def test_a_size_that_the_warm_up_hardly_knows_says_nothing(cut: list[Window]) -> None:
    """A hundredth of a handful of windows is no threshold."""
    few = [*cut[:20], *cut[-2:]]
    assert not list(published.moments(lambda window: 1.0, True, few, 10.0))


def test_ratios_are_one_at_the_rare_value_on_either_side() -> None:
    """Sizes are comparable: 1.0 is what one in a hundred exceeds, whatever the unit."""
    usual = np.arange(1001.0)
    got = published.ratios(np.array([500.0, 995.0, 5.0, 990.0]), usual, True)
    assert got[:3].tolist() == pytest.approx([0.0, 1.0, 1.0])
    assert published.ratios(np.array([990.0, 10.0]), usual, False).tolist() == pytest.approx([1.0, -1.0])


def test_the_first_model_knows_peers_and_rules_alone() -> None:
    """Nothing that was learned elsewhere, no pool, no leak and no provenance."""
    first = judged.first_policy(Policy())
    assert not first.calibrated
    assert foreign_reasoning.NAME not in first.rules
    assert first.peer_scorers == Policy().peer_scorers


def test_what_is_no_better_is_said(truth: dict[str, Any]) -> None:
    """Rows where another method is above ours, and where it is level, are named; one that stands aside is not compared."""
    ours, other, aside = Rates(), Rates(), Rates()
    ours.add(truth, {})
    other.add(truth, {"bad": Said(1.0)})
    aside.add(truth, {"bad": Said(1.0)})
    text = "\n".join(report.tables({report.OURS: ours, "other": other}))
    assert "Below the best of the others: all attack keys at 0.5% (0.000; other 1.000)" in text
    text = "\n".join(report.tables({report.OURS: other, "other": other, "aside": aside}, ["aside"]))
    assert "Below the best of the others: no row." in text
    assert "Level with the best of the others: all attack keys at 0.5% (1.000; other 1.000)" in text
    text = "\n".join(report.tables({report.OURS: ours, "other": ours, "aside": aside}, ["aside"]))
    assert "Below the best of the others: no row." in text


def test_volume_forgets_what_is_a_day_old() -> None:
    """The count at a request is of the 24 hours before it."""
    items = [(_Sent(at), None) for at in (0, simple.DAY_US - 1, simple.DAY_US)]
    assert [one.value for one in simple.volume(items)] == [1.0, 2.0, 2.0]  # type: ignore[arg-type]


class _Sent:
    """As much of an event as a count needs."""

    def __init__(self, at_us: int) -> None:
        self.key_id, self.at_us = "k", at_us
