"""Named rules: what they find, what they must leave alone, and how they explain themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detectors.contract import ScoreStatus
from detectors.features import FeatureRow, stack
from detectors.model import Model
from detectors.scorers.registry import RULES
from detectors.scorers.rule import Condition, lower_bound

MakeRow = Callable[..., FeatureRow]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_finds_its_harvest(name: str, harvest_row: MakeRow) -> None:
    """Traffic that shows every sign of a rule gets its full score, with a reason for every clause."""
    (score,) = RULES[name](None).score(stack([harvest_row(name)]))
    assert (score.status, score.value) == (ScoreStatus.SCORED, 1.0)
    assert len(score.reasons) == len(RULES[name](None).clauses)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_leaves_ordinary_traffic_alone(name: str, make_row: MakeRow) -> None:
    """An ordinary customer has no score at all, not a low one."""
    (score,) = RULES[name](None).score(stack([make_row()]))
    assert (score.value, score.reasons) == (0.0, ())


HONEST = {
    "explanation and audit: short reasoning behind decisions": {
        "elicitation_share": 1.0, "elicitation_constancy": 1.0, "answer_supplied_share": 1.0, "single_turn_ratio": 1.0,
        "slot_novelty": 1.0, "user_top_share": 1.0, "valuable_share": 0.02, "output_tokens_mean": 60.0,
    },
    "viral app: reasoning demanded by the default prompt, in conversations and without tags": {
        "elicitation_share": 1.0, "elicitation_constancy": 1.0, "valuable_share": 0.9, "single_turn_ratio": 0.55,
        "slot_novelty": 0.85, "account_age_d": 1.0, "answer_tag_share": 0.0,
    },
    "evaluation of a settled account: repeats, long answers": {
        "multiplicity_peak": 0.95, "samples_mean": 5.0, "valuable_share": 0.95, "valuable_total": 90.0,
        "single_turn_ratio": 1.0, "account_age_d": 85.0, "logprobs_share": 1.0,
    },
    "label classifier: one bias map on everything, a token out": {
        "logit_bias_share": 1.0, "logit_bias_diversity": 1.0, "output_tokens_mean": 1.0, "single_turn_ratio": 1.0,
        "logprobs_share": 1.0,
    },
    "judge: a constant rubric, a word out": {
        "judge_share": 1.0, "user_top_share": 1.0, "single_turn_ratio": 1.0, "slot_novelty": 1.0, "output_tokens_mean": 1.0,
        "valuable_share": 0.0,
    },
    "pipeline: one template over always new texts, short outputs": {
        "user_top_share": 1.0, "skeleton_top_share": 1.0, "slot_novelty": 1.0, "near_duplicate_rate": 0.0,
        "single_turn_ratio": 1.0, "output_tokens_mean": 20.0, "valuable_share": 0.0, "contract_top_share": 1.0,
    },
    "red team of a settled account": {
        "probe_refusals": 20.0, "refusal_rate": 0.5, "single_turn_ratio": 1.0, "account_age_d": 116.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("stratum", HONEST)
def test_no_rule_is_fulfilled_by_an_honest_twin(stratum: str, make_row: MakeRow) -> None:
    """The honest customers that look most like a harvest stay below half a score in every rule."""
    matrix = stack([make_row(500, **HONEST[stratum])])
    assert {
        name: make(None).score(matrix)[0].value for name, make in RULES.items() if make(None).score(matrix)[0].value >= 0.5
    } == {}


def test_nothing_makes_up_for_a_missing_sign(harvest_row: MakeRow, make_row: MakeRow) -> None:
    """A rule's score is its weakest sign: a harvest without tags is no forced reasoning, however long it goes on."""
    tagless = make_row(10_000, elicitation_share=1.0, elicitation_constancy=1.0, valuable_share=1.0, slot_novelty=1.0)
    assert RULES["forced_reasoning"](None).score(stack([tagless]))[0].value == 0.0


def test_five_of_five_is_less_than_fifty_of_fifty(harvest_row: MakeRow) -> None:
    """Shares are judged by their confidence bound, so the score grows with the evidence behind the same shares."""
    scores = RULES["forced_reasoning"](None).score(stack([harvest_row("forced_reasoning", n) for n in (4, 5, 8, 50)]))
    assert [score.status for score in scores] == [ScoreStatus.WARMING_UP] + [ScoreStatus.SCORED] * 3
    assert 0.5 < scores[1].value < scores[2].value <= scores[3].value == 1.0


@pytest.mark.parametrize(
    ("share", "count", "bound"), [(1.0, 5, 0.753), (1.0, 50, 0.968), (0.5, 100, 0.436), (0.0, 10, 0.0)]
)
def test_lower_bound_is_wilsons(share: float, count: int, bound: float) -> None:
    """One-sided 90 % bounds of the published formula."""
    assert lower_bound(share, count) == pytest.approx(bound, abs=1e-3)
    assert lower_bound(share, 0) == 0.0


def test_a_condition_may_ask_for_low_values() -> None:
    """Support grows towards `full` on whichever side it lies."""
    short = Condition("output_tokens_mean", 24.0, 8.0)
    assert [short.support(value, 10) for value in (30.0, 24.0, 16.0, 8.0, 1.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert short.direction == "low"


def test_reasons_say_value_percentile_and_direction(model: Model, harvest_row: MakeRow) -> None:
    """With a history behind it, a rule's reason is a sentence with the value, the peers and the side."""
    rule = next(scorer for scorer in model.scorers if scorer.name == "forced_reasoning")
    (score,) = rule.score(stack([harvest_row("forced_reasoning")]))
    said = {reason.feature: reason for reason in score.reasons}["elicitation_share"]
    assert (said.value, said.percentile, said.direction) == (1.0, 100.0, "high")
    assert said.text == (
        "The share of exchanges that ask for the reasoning to be written out, in a form or in words is 1.00; "
        "no comparable key is as high."
    )


def test_without_peers_a_reason_says_so(harvest_row: MakeRow) -> None:
    """A percentile is never invented."""
    (score,) = RULES["logit_sweep"](None).score(stack([harvest_row("logit_sweep")]))
    said = {reason.feature: reason for reason in score.reasons}["output_tokens_mean"]
    assert said.percentile is None
    assert said.text == "The mean output tokens of an answer is 1.00 tokens, which is low; no comparable keys are known."
