"""Profile → FeatureRow: the catalogue computed for one entity at one moment.

A feature that is undefined is absent, never 0 and never NaN: a new account must not look perfectly
normal, nor perfectly odd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log, log2, sqrt

import numpy as np
from numpy.typing import NDArray

from detectors import peers
from detectors.catalogue import CATALOGUE, CATALOGUE_VERSION, INDEX, Feature
from detectors.contract import FeatureMatrix
from detectors.leak import Accountant
from detectors.pooled.rff import FEATURES
from detectors.pooled.rows import BIN_CENTRES, BINS, WIDTH
from detectors.profile import Profile
from detectors.sketch import gaps
from detectors.sketch.decay import DAY, DAY_US, HOUR, WEEK
from detectors.sketch.pool import SCALES, Pool
from detectors.tally import COUNTERS

__all__ = ["CATALOGUE", "CATALOGUE_VERSION", "INDEX", "Feature", "FeatureRow", "features", "stack"]

MIN_EXCHANGES = 5.0
"""Below this a share is an anecdote."""

MIN_GAPS = 10.0
NEW_KEY_DAYS = 3.0
BASELINE_US = 2 * DAY_US

HIGH_BIN = BINS // 2 + 1
"""Harvest ratios of e² and more …"""

PEAK_BIN = BINS // 2 + 2
"""… and of e⁴ and more."""

# Shares that make up an entity's behaviour, for the distance from its own baseline.
BEHAVIOUR = (
    "single_turn", "streamed", "tools", "short", "long", "refused", "logprobs", "biased", "multi_sample", "contracted",
    "elicit", "judge", "generate", "rewrite", "tagged_answer", "templated", "near_duplicate", "reasoning",
)  # fmt: skip


def _no_pool() -> NDArray[np.float32]:
    return np.zeros((len(SCALES), 1 + WIDTH), np.float32)


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One entity's features.

    Attributes:
        values: float64 of shape (d,), 0.0 where absent.
        present: bool of shape (d,).
        evidence: decayed 7-day count of answered exchanges.
        groups: peer groups, most specific first.
        pool: float32 of shape (scales, 1 + width), see `contract.FeatureMatrix`.
    """

    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    evidence: int
    groups: tuple[str, ...]
    pool: NDArray[np.float32] = field(default_factory=_no_pool)


def features(profile: Profile, now_us: int) -> FeatureRow:
    """Every feature of a profile at a time; `now_us` is normally the time of its last exchange."""
    week = dict(zip(COUNTERS, (profile.week * WEEK.fade(now_us, profile.landmarks[2])).tolist(), strict=True))
    day = dict(zip(COUNTERS, (profile.day * DAY.fade(now_us, profile.landmarks[1])).tolist(), strict=True))
    age_d = max(0.0, (now_us - profile.created_us) / DAY_US) if profile.created_us else None
    found: dict[str, float | None] = {}
    found.update(_rhythm(profile, week, day, now_us))
    found.update(_templates(profile, week, now_us))
    found.update(_shares(week))
    found.update(_breadth(profile, week, day, now_us))
    found.update(_abilities(week))
    found.update(_conversation(week, day))
    found.update(_contents(profile.pool))
    found.update(_leak(profile.account))
    found["account_age_d"] = age_d

    values = np.zeros(len(CATALOGUE))
    present = np.zeros(len(CATALOGUE), np.bool_)
    for column, feature in enumerate(CATALOGUE):
        value = found[feature.name]
        if value is not None:
            # Ratios of decayed sums may stray from their range by the rounding of additions.
            values[column] = min(max(value, feature.low), feature.high)
            present[column] = True
    pool = np.column_stack([np.array(profile.pool.counts, np.float32), profile.pool.means])
    values.flags.writeable = present.flags.writeable = pool.flags.writeable = False
    kind = peers.workload(_shape(week))
    groups = peers.groups(profile.plan, age_d, kind, profile.kind)
    return FeatureRow(values, present, int(week["answered"] + 0.5), groups, pool)


def stack(rows: Sequence[FeatureRow]) -> FeatureMatrix:
    """Rows → matrix, in order."""
    if not rows:
        width = len(CATALOGUE)
        nothing = np.zeros((0, len(SCALES), 1 + WIDTH), np.float32)
        return FeatureMatrix(np.zeros((0, width)), np.zeros((0, width), np.bool_), np.zeros(0, np.int64), (), nothing)
    return FeatureMatrix(
        np.stack([row.values for row in rows]),
        np.stack([row.present for row in rows]),
        np.array([row.evidence for row in rows], np.int64),
        tuple(row.groups for row in rows),
        np.stack([row.pool for row in rows]),
    )


def _part(part: float, whole: float, least: float = MIN_EXCHANGES) -> float | None:
    return part / whole if whole >= least else None


def _rhythm(profile: Profile, week: dict[str, float], day: dict[str, float], now_us: int) -> dict[str, float | None]:
    spaced = day["gap_n"] >= MIN_GAPS and day["gap_sum"] > 0
    seen_h = profile.hours.span()
    young = profile.created_us > 0 and profile.first_at_us - profile.created_us <= NEW_KEY_DAYS * DAY_US
    ramped = young and week["requests"] >= 20 and profile.peak_hour > 0
    return {
        "requests_1h": profile.hour * HOUR.fade(now_us, profile.landmarks[0]),
        "requests_24h": day["requests"],
        "ramp_ratio": min(1.0, profile.first_hour / profile.peak_hour) if ramped else None,
        "interarrival_cv": gaps.variation(day["gap_n"], day["gap_sum"], day["gap_sq"]) if spaced else None,
        "interarrival_regularity": gaps.regularity(day["gap_n"], day["gap_ln"], day["gap_ln_sq"]) if spaced else None,
        "circadian_flatness": _flatness(profile.hours.by_hour_of_day())
        if seen_h >= 24 and profile.hours.active() >= 6
        else None,
        "longest_idle_h": float(profile.hours.longest_idle()) if seen_h >= 24 else None,
        "retry_rate": _part(week["retries"], week["requests"]),
        "limited_rate": _part(week["limited"], week["requests"]),
    }


def _flatness(by_hour: Sequence[int]) -> float:
    total = sum(by_hour)
    return -sum(n / total * log(n / total) for n in by_hour if n) / log(24)


def _templates(profile: Profile, week: dict[str, float], now_us: int) -> dict[str, float | None]:
    fade = WEEK.fade(now_us, profile.landmarks[2])
    generated, worded = week["generated"], week["worded"]
    tops = {name: top.top()[1] * fade for name, top in profile.tops.items()}
    user = max(tops["head"], tops["tail"], tops["grams"])
    entropies = [
        _entropy([value * fade for value in profile.tops[name].floors()], profile.tops[name].total * fade)
        for name in ("head", "tail")
    ]
    repeated = profile.repeats.histogram(fade)
    counted = sum(repeated)
    peak = max(repeated[1:]) / counted if counted > 0 else 0.0
    many = week["multi_sample"] / generated if generated > 0 else 0.0
    bits = _entropy(
        [value * fade for value in profile.tops["parameters"].floors()], profile.tops["parameters"].total * fade
    )
    enough = generated >= MIN_EXCHANGES
    return {
        "skeleton_entropy": _relative(min(entropies), worded) if worded >= MIN_EXCHANGES else None,
        "skeleton_top_share": _part(max(user, tops["system"]), generated),
        "user_top_share": _part(user, generated),
        "slot_novelty": _part(week["templated_novel"], week["templated"]),
        "near_duplicate_rate": _part(week["near_duplicate"], worded),
        "multiplicity_peak": max(peak, many) if enough else None,
        "contract_top_share": _part(tops["contract"], generated),
        "parameter_entropy": bits if enough else None,
        "elicitation_constancy": _part(tops["elicited"], week["elicit"]),
    }


def _entropy(parts: Sequence[float], total: float) -> float:
    """Entropy in bits of a top-k sketch; what it does not hold counts as items that came once."""
    if total <= 0:
        return 0.0
    shares = [part / total for part in parts if part > 0]
    rest = max(0.0, 1.0 - sum(shares))
    singles = rest * log2(max(2.0, total)) if rest > 1e-9 else 0.0
    return max(0.0, singles - sum(share * log2(share) for share in shares))


def _relative(bits: float, count: float) -> float:
    return min(1.0, bits / log2(max(2.0, count)))


def _shares(week: dict[str, float]) -> dict[str, float | None]:
    generated = week["generated"]
    of = {
        "single_turn_ratio": "single_turn",
        "mean_turn_depth": "depth",
        "output_tokens_mean": "output_tokens",
        "input_tokens_mean": "input_tokens",
        "logprobs_share": "logprobs",
        "logit_bias_share": "biased",
        "samples_mean": "samples",
        "elicitation_share": "elicit",
        "answer_supplied_share": "supplied",
        "judge_share": "judge",
        "task_generation_share": "generate",
        "rewrite_share": "rewrite",
        "refusal_rate": "refused",
        "valuable_share": "valuable",
        "reasoning_share": "reasoning",
        "tool_share": "tools",
    }
    out = {name: _part(week[counter], generated) for name, counter in of.items()}
    has_input = generated >= MIN_EXCHANGES and week["input_tokens"] > 0
    out["output_input_ratio"] = week["output_tokens"] / week["input_tokens"] if has_input else None
    out["max_tokens_hugging"] = _part(week["hugging"], week["capped"])
    out["answer_tag_share"] = _part(week["tagged_answer"], week["answers_seen"])
    return out


def _breadth(profile: Profile, week: dict[str, float], day: dict[str, float], now_us: int) -> dict[str, float | None]:
    counts = {name: count.estimate for name, count in profile.distincts.items()}
    languages = profile.languages[1:]
    total = sum(languages)
    spoken = week["worded"] >= MIN_EXCHANGES and total > 0
    spread = -sum(n / total * log(n / total) for n in languages if n > 0) if spoken else 0.0
    based = profile.last_at_us - profile.first_at_us >= BASELINE_US and day["generated"] >= MIN_EXCHANGES
    words = week["worded"]
    return {
        "coverage_growth": min(1.0, log(max(1.0, profile.cells.estimate())) / log(words)) if words >= 20 else None,
        "baseline_shift": _distance(day, week) if based else None,
        "model_pivot_share": profile.models.share_since(now_us - DAY_US) if based else None,
        "probe_refusals": day["probe_refused"],
        "logit_bias_diversity": counts["biases"] if counts["biases"] > 0 else None,
        "network_diversity": counts["networks"] if counts["networks"] > 0 else None,
        "client_diversity": counts["clients"] if counts["clients"] > 0 else None,
        "language_diversity": exp(spread) if spoken else None,
        "valuable_total": counts["valuable"],
    }


def _abilities(week: dict[str, float]) -> dict[str, float | None]:
    generated = week["generated"]
    classes = ("code", "maths", "tools", "graded", "made", "text", "extract")
    return {
        "code_share": _part(week["code"], generated),
        "maths_share": _part(week["maths"], generated),
        "ability_concentration": _part(max(week[name] for name in classes), generated),
        "thinking_share": week["reasoning_tokens"] / week["output_tokens"]
        if generated >= MIN_EXCHANGES and week["output_tokens"] > 0
        else None,
        "forced_answer_share": _part(week["forced_answer"], week["answers_seen"]),
        "constant_elicitations": week["elicit_constant"],
        "constant_elicitation_share": _part(week["elicit_constant"], generated),
    }


def _conversation(week: dict[str, float], day: dict[str, float]) -> dict[str, float | None]:
    generated = week["generated"]
    enough = generated >= MIN_EXCHANGES
    return {
        "chain_continuation": _part(week["continued"], generated),
        "depth_spread": _deviation(week["depth"], week["depth_sq"], generated) if enough else None,
        "input_spread": _deviation(week["input_ln"], week["input_ln_sq"], generated) if enough else None,
        "output_spread": _deviation(week["written_ln"], week["written_ln_sq"], generated) if enough else None,
        "system_prompt_share": _part(week["prompted"], generated),
        "tokens_24h": day["input_tokens"] + day["output_tokens"],
        "weekend_share": _part(week["weekend"], generated),
    }


def _deviation(total: float, squares: float, count: float) -> float:
    return sqrt(max(0.0, squares / count - (total / count) ** 2))


def _contents(pool: Pool) -> dict[str, float | None]:
    """Of the scale in the middle: long enough for a share, short enough for a change."""
    count = pool.counts[1]
    if count < MIN_EXCHANGES:
        return dict.fromkeys(("topic_spread", "harvest_mean", "harvest_high_share", "harvest_peak_share"))
    mean, shares = pool.means[1, :FEATURES], pool.means[1, FEATURES:]
    worth = min(count, float(SCALES[1]))
    within = (float(mean @ mean) * worth - 1.0) / (worth - 1.0)
    return {
        "topic_spread": 1.0 - within,
        "harvest_mean": float(shares @ BIN_CENTRES),
        "harvest_high_share": float(shares[HIGH_BIN:].sum()),
        "harvest_peak_share": float(shares[PEAK_BIN:].sum()),
    }


def _leak(account: Accountant) -> dict[str, float | None]:
    judged = account.responses >= MIN_EXCHANGES
    return {
        "leak_evidence": account.highest if judged else None,
        "leak_taken": account.taken,
        "leak_mean": account.taken / account.responses if judged else None,
    }


def _distance(day: dict[str, float], week: dict[str, float]) -> float:
    total = sum((day[name] / day["generated"] - week[name] / week["generated"]) ** 2 for name in BEHAVIOUR)
    return sqrt(total / len(BEHAVIOUR))


def _shape(week: dict[str, float]) -> dict[str, float]:
    answered, generated = max(week["answered"], 1e-9), max(week["generated"], 1e-9)
    return {
        "answered": week["answered"],
        "embeddings": week["embeddings"] / answered,
        "completions": week["completions"] / answered,
        "tools": week["tools"] / generated,
        "single_turn": week["single_turn"] / generated,
        "short": week["short"] / generated,
        "templated": week["templated"] / generated,
        "out_in": week["output_tokens"] / max(week["input_tokens"], 1e-9),
    }
