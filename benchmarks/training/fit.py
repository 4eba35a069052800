"""Fits the shipped boosted trees: which features, what weight each row has, how they are kept from learning a generator.

- One vote: a campaign or an organisation weighs as much as another of its class, with a mild bonus for many keys; a key's
  rows share its vote. Both classes weigh the same, so log-odds of 0 mean nothing but "as often here as there".
- Rows at a key's 1st, 2nd, 4th, 8th … scoring: what is learned must hold for the young.
- What a generator sets by rule, or what depends on how much a campaign asks of one key, is left out or blurred.
- Several small models, each on its own part of the features and with whole groups of them blanked out in some rows, so
  that no group decides alone: a signal that fails on somebody's traffic must leave others to speak.
- Monotone where the catalogue knows the side and the sources agree with it; a feature whose side turns is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.training.judge import LEAST_ATTACKS, LEAST_EVIDENCE
from benchmarks.training.rows import LabelledRows
from detectors.catalogue import CATALOGUE, INDEX
from detectors.scorers.boosted import Boosted, exported, learnable, sides

LEFT_OUT = {
    "account_age_d": "the generator makes attackers new or aged by rule; rules and peers look at it",
    "network_diversity": "drawn from address pools that the generator gives attackers",
    "client_diversity": "drawn from client stacks that the generator gives attackers",
    "weekend_share": "depends on the day on which a world begins",
    "circadian_flatness": "needs more days than a world has",
    "longest_idle_h": "needs more days than a world has",
    "retry_rate": "set by rule",
    "limited_rate": "set by rule",
    "parameter_entropy": "set by rule, and free to change",
    "max_tokens_hugging": "set by rule, and free to change",
    "model_pivot_share": "models are set by rule",
    "ramp_ratio": "first sights of keys are set by rule",
    "requests_1h": "volume: a campaign chooses it by its number of keys",
    "requests_24h": "volume",
    "tokens_24h": "volume",
    "valuable_total": "volume",
    "leak_taken": "volume",
    "constant_elicitations": "volume",
    "answers_supplied": "volume",
    "constant_forced_answers": "volume",
    "items_repeated": "volume",
    "output_echoes": "volume",
    "spend_velocity": "volume over the account's age",
    "end_user_share": "set by rule",
    "end_user_diversity": "set by rule",
    "client_mismatch_share": "attackers copy the client of an honest key by rule",
    "parameter_novelty": "set by rule, and free to change",
    "thinking_hugging": "set by rule, and free to change",
    "backoff_s": "who is limited, and waits how long, is set by rule",
    "fano_factor": "arrivals are drawn from few processes",
    "in_flight_mean": "arrivals and latencies are drawn from few processes",
    "in_flight_steadiness": "arrivals and latencies are drawn from few processes",
    "foreign_reasoning": "no world has it; a named rule judges it",
    "foreign_reasoning_share": "no world has it; a named rule judges it",
    "moved_reasoning_share": "no world has it; a named rule judges it",
}
"""Features that the trees do not see, and why."""

BLURRED = {"probe_refusals": 0.5, "logit_bias_diversity": 0.5, "leak_evidence": 0.3, "interarrival_cv": 0.3}
"""Volume-like features, and the standard deviation of the factor's logarithm that each row's value is multiplied by."""

GROUPS: dict[str, tuple[str, ...]] = {
    "ratio of single exchanges": (
        "harvest_mean", "harvest_high_share", "harvest_peak_share", "harvest_spread", "harvest_low_share",
        "harvest_top_share", "harvest_recent_mean", "leak_evidence", "leak_taken", "leak_mean",
    ),
    "intents": (
        "elicitation_share", "elicitation_constancy", "answer_supplied_share", "judge_share", "task_generation_share",
        "rewrite_share", "answer_tag_share", "forced_answer_share", "constant_elicitations", "constant_elicitation_share",
        "probe_refusals", "refusal_rate", "elicitation_floor", "answer_supplied_floor", "judge_floor",
        "task_generation_floor", "rewrite_floor", "judged_near_share",
    ),
    "templates": (
        "skeleton_entropy", "skeleton_top_share", "user_top_share", "slot_novelty", "near_duplicate_rate",
        "multiplicity_peak", "contract_top_share", "system_prompt_share", "repeat_exactness", "template_share",
    ),
    "shape": (
        "single_turn_ratio", "mean_turn_depth", "output_input_ratio", "output_tokens_mean", "input_tokens_mean",
        "chain_continuation", "depth_spread", "input_spread", "output_spread", "valuable_share", "tool_share",
        "reasoning_share", "thinking_share", "open_chains", "output_echo_share",
    ),
    "breadth": (
        "coverage_growth", "topic_spread", "ability_concentration", "code_share", "maths_share", "language_diversity",
        "baseline_shift", "topic_shift", "topic_evenness", "topic_top_share",
    ),
    "samples and logits": ("logprobs_share", "logit_bias_share", "logit_bias_diversity", "samples_mean"),
    "rhythm": ("interarrival_cv", "interarrival_regularity"),
}  # fmt: skip
"""What is blanked out together, and left out together in the ablation."""

MODELS, ROUNDS = 3, 120
LEAVES = 8
"""Three questions a tree: what interacts more deeply is the generator's."""

BINS = 63
BLANKED = 0.15
"""Share of rows in which a group is blanked out, each group by itself."""

FEATURES_PER_MODEL = 0.7


def used(names: Sequence[str] = tuple(feature.name for feature in CATALOGUE)) -> list[str]:
    """Features that the trees may see."""
    return [name for name in names if name not in LEFT_OUT]


def usable(rows: LabelledRows) -> NDArray[np.bool_]:
    """Rows to learn from: with evidence, sampled, no authorised customer's, and an attacker's only once it attacks."""
    facts = rows.facts
    attacking = (facts["attack_so_far"] >= LEAST_ATTACKS).to_numpy() & (facts["attack_share"] >= 0.08).to_numpy()
    known = (rows.matrix.evidence >= LEAST_EVIDENCE) & facts["sampled"].to_numpy() & ~facts["authorised"].to_numpy()
    found: NDArray[np.bool_] = known & (attacking | ~facts["attack"].to_numpy())
    return found


def weights(facts: pl.DataFrame) -> NDArray[np.float64]:
    """Weight of each row; the mean is 1 and both classes have the same sum."""
    owner = pl.when(pl.col("attack")).then(pl.col("campaign")).otherwise(pl.col("org"))
    held = facts.with_columns(owner=pl.col("run") + "/" + owner, row=1.0 / pl.len().over("run", "key"))
    held = held.with_columns(row=pl.col("row") / pl.col("row").sum().over("owner") ** 0.6)
    out = held["row"].to_numpy().copy()
    attack = facts["attack"].to_numpy()
    for side in (attack, ~attack):
        out[side] *= len(out) / 2.0 / out[side].sum()
    return out


def values(rows: LabelledRows, names: Sequence[str]) -> NDArray[np.float64]:
    """Features as the trees take them, NaN where absent."""
    columns = [INDEX[name] for name in names]
    return np.where(rows.matrix.present[:, columns], rows.matrix.values[:, columns], np.nan)


def fit(rows: LabelledRows, names: Sequence[str], free: Sequence[str] = (), seed: int = 0, models: int = MODELS) -> Boosted:
    """Trees fitted on labelled rows.

    Args:
        rows: of any moments; those to learn from are chosen here.
        names: features that the trees may see.
        free: of these, the ones without a monotone constraint whatever the catalogue says.
        seed: of every random choice.
        models: how many are averaged.
    """
    part = rows.take(usable(rows))
    whole, label, weight = values(part, names), part.facts["attack"].to_numpy(), weights(part.facts)
    constraints = np.array([0 if name in free else side for name, side in zip(names, sides(names), strict=True)])
    estimators: list[tuple[HistGradientBoostingClassifier, NDArray[np.intp]]] = []
    for number in range(models):
        dice = np.random.default_rng([seed, number])
        seen = dice.permutation(len(names))[: max(2, round(FEATURES_PER_MODEL * len(names)))]
        disturbed = _disturbed(whole, names, dice)
        seen = learnable(disturbed, seen)
        estimator = HistGradientBoostingClassifier(
            max_iter=ROUNDS,
            learning_rate=0.1,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=60,
            l2_regularization=5.0,
            max_features=0.4,
            max_bins=BINS,
            monotonic_cst=constraints[seen],
            early_stopping=False,
            random_state=seed * 1000 + number,
        )
        estimators.append((estimator.fit(disturbed[:, seen], label, sample_weight=weight), seen))
    monotone = [name for name, side in zip(names, constraints.tolist(), strict=True) if side]
    return exported(estimators, names, monotone, np.zeros(1))


def _disturbed(whole: NDArray[np.float64], names: Sequence[str], dice: np.random.Generator) -> NDArray[np.float64]:
    """Groups of features blanked out in some rows, and what is like a volume blurred."""
    out = whole.copy()
    for column, name in enumerate(names):
        if name in BLURRED:
            out[:, column] *= np.exp(dice.normal(0.0, BLURRED[name], len(out)))
    for members in GROUPS.values():
        columns = [column for column, name in enumerate(names) if name in members]
        rows = np.flatnonzero(dice.uniform(size=len(out)) < BLANKED)
        out[np.ix_(rows, columns)] = np.nan
    return out
