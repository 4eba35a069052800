"""Feature rows made by hand: a history of honest organisations, a model fitted on it, and matrices for the suites."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from detectors import model as models
from detectors.catalogue import CATALOGUE, INDEX
from detectors.contract import FeatureMatrix
from detectors.features import FeatureRow, stack
from detectors.fingerprint.embedding import DIMENSIONS
from detectors.model import Model
from detectors.peers import groups
from detectors.pooled.rows import WIDTH, pool_row
from detectors.scorers.registry import RULES
from detectors.sketch.pool import Pool

MakeRow = Callable[..., FeatureRow]

ORDINARY = {
    "requests_24h": 20.0, "interarrival_regularity": 0.1, "skeleton_entropy": 0.8, "skeleton_top_share": 0.6,
    "user_top_share": 0.2,
    "slot_novelty": 0.6, "near_duplicate_rate": 0.2, "multiplicity_peak": 0.05, "single_turn_ratio": 0.6,
    "mean_turn_depth": 1.8,
    "output_input_ratio": 0.5, "output_tokens_mean": 120.0, "input_tokens_mean": 240.0, "parameter_entropy": 0.2,
    "logprobs_share": 0.0, "logit_bias_share": 0.0, "samples_mean": 1.0, "elicitation_share": 0.02,
    "answer_supplied_share": 0.0,
    "judge_share": 0.02, "task_generation_share": 0.02, "rewrite_share": 0.01, "probe_refusals": 0.1,
    "answer_tag_share": 0.0,
    "refusal_rate": 0.01, "leak_evidence": 0.7,
    "valuable_share": 0.2, "valuable_total": 6.0, "reasoning_share": 0.1, "account_age_d": 120.0,
}  # fmt: skip

HARVESTS: dict[str, dict[str, float]] = {
    "logit_sweep": {
        "logit_bias_diversity": 900.0, "logit_bias_share": 1.0, "logprobs_share": 1.0, "output_tokens_mean": 1.0,
        "single_turn_ratio": 1.0,
    },
    "forced_reasoning": {
        "elicitation_share": 1.0, "elicitation_constancy": 1.0, "answer_tag_share": 1.0, "valuable_share": 0.99,
        "single_turn_ratio": 1.0, "slot_novelty": 0.99, "user_top_share": 1.0, "output_tokens_mean": 900.0,
        "account_age_d": 2.0,
    },
    "rejection_sampling": {
        "multiplicity_peak": 0.9, "samples_mean": 4.0, "valuable_share": 0.95, "valuable_total": 400.0,
        "single_turn_ratio": 1.0,
        "account_age_d": 3.0,
    },
    "task_harvest": {
        "task_generation_share": 1.0, "user_top_share": 1.0, "valuable_share": 1.0, "slot_novelty": 0.95,
        "near_duplicate_rate": 0.02, "single_turn_ratio": 1.0, "valuable_total": 200.0, "output_tokens_mean": 1200.0,
        "account_age_d": 4.0,
    },
    "reconstruction": {
        "answer_supplied_share": 0.6, "elicitation_share": 0.7, "valuable_share": 0.7, "slot_novelty": 0.95,
        "elicitation_constancy": 1.0, "account_age_d": 9.0,
    },
    "foreign_reasoning": {"foreign_reasoning": 12.0, "foreign_reasoning_share": 0.9},
    "probe": {"probe_refusals": 40.0, "refusal_rate": 0.9, "account_age_d": 1.0, "single_turn_ratio": 1.0},
}  # fmt: skip


def _row(evidence: int = 60, names: Sequence[str] | None = None, **features: float) -> FeatureRow:
    known = {**ORDINARY, **features}
    values, present = np.zeros(len(CATALOGUE)), np.zeros(len(CATALOGUE), np.bool_)
    for name, value in known.items():
        values[INDEX[name]], present[INDEX[name]] = value, True
    named = tuple(names) if names else groups("payg", known["account_age_d"], "chat")
    return FeatureRow(values, present, evidence, named, _pool(evidence, float(known["output_tokens_mean"])))


def _pool(exchanges: int, seed: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """What so many exchanges would leave: directions around one, ratios that are mostly honest."""
    dice = np.random.default_rng(int(seed * 1000))
    pool = Pool(WIDTH)
    for harvest in dice.integers(-60, 20, min(exchanges, 60)).tolist():
        direction = (dice.normal(0.0, 16.0, DIMENSIONS) + 4.0).astype(np.int8).tobytes()
        pool.add(pool_row(direction, harvest))
    return np.column_stack([np.array(pool.counts, np.float32), pool.means])


@pytest.fixture(scope="session")
def make_row() -> MakeRow:
    """make_row(evidence=60, names=None, **features): an ordinary entity's features, except those given."""
    return _row


@pytest.fixture(scope="session")
def harvest_row() -> Callable[..., FeatureRow]:
    """harvest_row(rule, evidence=200): features that fulfil a named rule."""
    return lambda rule, evidence=200: _row(evidence, **HARVESTS[rule])


def _honest(seed: int, orgs: int, rows_each: int = 3) -> tuple[list[FeatureRow], list[str]]:
    dice = np.random.default_rng(seed)
    rows, owners = [], []
    for org in range(orgs):
        kind = ("chat", "ask", "batch", "agent")[org % 4]
        age = float(dice.uniform(1.0, 400.0))
        for moment in range(rows_each):
            changed = {}
            for name, value in ORDINARY.items():
                high = CATALOGUE[INDEX[name]].high
                changed[name] = float(min(high, value * dice.lognormal(0.0, 0.5) + dice.uniform(0.0, 0.02)))
            changed["account_age_d"] = age
            rows.append(_row(8 * (moment + 1) ** 2, groups("payg" if org % 3 else "team", age, kind), **changed))
            owners.append(f"org-{org}")
    return rows, owners


@pytest.fixture(scope="session")
def honest() -> Callable[..., tuple[list[FeatureRow], list[str]]]:
    """honest(seed, orgs, rows_each=3): rows of ordinary organisations, and who each belongs to."""
    return _honest


@pytest.fixture(scope="session")
def model() -> Model:
    """A model fitted on 240 ordinary organisations."""
    return models.fit(*_honest(1, 240), seed=3)


@pytest.fixture(scope="session")
def mixed_matrix() -> FeatureMatrix:
    """Ordinary rows, young ones, and one that fulfils each rule; some features absent here and there."""
    rows = _honest(5, 8, 2)[0] + [_row(200, **HARVESTS[name]) for name in RULES] + [_row(2), _row(6), _row(0)]
    dice = np.random.default_rng(7)
    thinned = []
    for number, row in enumerate(rows):
        present = row.present & ((dice.uniform(size=len(CATALOGUE)) > 0.1) | (number >= 16))
        thinned.append(FeatureRow(np.where(present, row.values, 0.0), present, row.evidence, row.groups, row.pool))
    return stack(thinned)
