"""How widely an entity asks, from where, and how far it is from its own past."""

from __future__ import annotations

from math import exp, log, sqrt

from detectors.features.parts import MIN_EXCHANGES, Counts, Found
from detectors.profile import Profile
from detectors.sketch.decay import DAY_US

BASELINE_US = 2 * DAY_US

# Shares that make up an entity's behaviour, for the distance from its own baseline.
BEHAVIOUR = (
    "single_turn", "streamed", "tools", "short", "long", "refused", "logprobs", "biased", "multi_sample", "contracted",
    "elicit", "judge", "generate", "rewrite", "tagged_answer", "templated", "near_duplicate", "reasoning",
)  # fmt: skip


def breadth(profile: Profile, week: Counts, day: Counts, now_us: int) -> Found:
    """Cells, topics, languages, networks, clients, and change."""
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
        "end_user_diversity": counts["end_users"] if counts["end_users"] > 0 else None,
        "topic_evenness": profile.topics.evenness() if words >= 20 else None,
        "topic_top_share": profile.topics.largest() if words >= 20 else None,
        "valuable_total": counts["valuable"],
    }


def _distance(day: Counts, week: Counts) -> float:
    total = sum((day[name] / day["generated"] - week[name] / week["generated"]) ** 2 for name in BEHAVIOUR)
    return sqrt(total / len(BEHAVIOUR))
