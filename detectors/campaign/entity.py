"""A group of keys as one entity: what its members did, added up, in the features that every scorer reads.

Sums of counters, pools and accounts merge exactly, up to the rounding of a trace; counters fade from the time of each
trace on, as those of a key do. What would need more than a trace holds
(gaps, repeats, chains, hours of several keys together) is absent, and scorers take absent features for what they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.campaign.fleet import pools
from detectors.campaign.trace import Kind, Trace, marks_of, unpacked
from detectors.catalogue import INDEX
from detectors.features import FeatureRow, features
from detectors.profile import Profile
from detectors.sketch.decay import DAY, HOUR, WEEK
from detectors.sketch.pool import SCALES
from detectors.tally import COUNTERS
from detectors.tally import INDEX as COUNTER

MOST_MEMBERS = 512
"""Members that a test reads: their exchanges are enough for any share, and the work stays small."""

_TOPS = {Kind.SYSTEM: "system", Kind.HEAD: "head", Kind.TAIL: "tail", Kind.GRAM: "grams", Kind.CONTRACT: "contract"}

UNKNOWN = (
    "requests_1h", "requests_24h", "ramp_ratio", "interarrival_cv", "interarrival_regularity", "circadian_flatness",
    "longest_idle_h", "skeleton_entropy", "multiplicity_peak", "parameter_entropy", "logit_bias_diversity",
    "coverage_growth", "baseline_shift", "probe_refusals", "model_pivot_share", "network_diversity",
    "client_diversity", "language_diversity", "tokens_24h", "topic_shift", "topic_evenness", "topic_top_share",
    "fano_factor", "in_flight_steadiness", "items_repeated", "repeat_exactness", "end_user_diversity",
    "spend_velocity", "template_share", "elicitation_constancy", "account_age_d", "valuable_total", "leak_evidence",
    "leak_taken",
)  # fmt: skip
"""Features of a group that its members' traces do not tell."""


def pooled(traces: Sequence[Trace], now_us: int) -> FeatureRow:
    """The row of a group.

    Args:
        traces: of its members; of more than MOST_MEMBERS the first ones are read.
        now_us: time of the test; not before any of the traces.
    """
    read = traces[:MOST_MEMBERS]
    profile = Profile.new("", "key")
    profile.landmarks = (HOUR.landmark(now_us), DAY.landmark(now_us), WEEK.landmark(now_us))
    profile.first_at_us = min(trace.first_us for trace in read)
    profile.last_at_us = now_us
    fade = WEEK.fade(now_us, profile.landmarks[2])
    profile.week = sums(read, now_us) / fade
    profile.plan = max((trace.plan for trace in read), key=[trace.plan for trace in read].count)
    _fill_pool(profile, read)
    _fill_tops(profile, read, now_us)
    profile.account.taken = sum(trace.account[0] for trace in read)
    profile.account.responses = sum(trace.account[1] for trace in read)
    row = features(profile, now_us)
    hidden = [INDEX[name] for name in UNKNOWN]
    values, present = row.values.copy(), row.present.copy()
    values[hidden], present[hidden] = 0.0, False
    return FeatureRow(values, present, row.evidence, row.groups, row.pool)


def sums(traces: Sequence[Trace], now_us: int) -> NDArray[np.float64]:
    """Counters of the week before a time, of all together, in their order; float64 of shape (len(COUNTERS),)."""
    whole = unpacked(b"".join(trace.sums for trace in traces)).reshape(-1, len(COUNTERS))
    found: NDArray[np.float64] = _faded(traces, now_us) @ whole.astype(np.float64)
    return found


def _faded(traces: Sequence[Trace], now_us: int) -> NDArray[np.float64]:
    """What is left of the counters of each trace: a key that fell silent has cast none since."""
    age_us = np.fromiter((now_us - trace.at_us for trace in traces), np.float64, len(traces))
    left: NDArray[np.float64] = np.exp2(-age_us / WEEK.half_life_us)
    return left


def _fill_pool(profile: Profile, traces: Sequence[Trace]) -> None:
    held = [trace for trace in traces if trace.pool]
    if not held:
        return
    counts, means = pools(held)
    total = float(counts.sum())
    mean = (counts[:, None] * means).sum(axis=0) / total
    profile.pool.means[:] = mean
    profile.pool.counts = [min(total, 2.0 * scale) for scale in SCALES]


def _fill_tops(profile: Profile, traces: Sequence[Trace], now_us: int) -> None:
    generated, fade = COUNTER["generated"], WEEK.fade(now_us, profile.landmarks[2])
    totals: dict[tuple[str, int], float] = {}
    for trace in traces:
        own = float(sums([trace], now_us)[generated])
        for mark, share in marks_of(trace):
            name = _TOPS.get(Kind(mark >> 32))
            if name is not None:
                item = (name, mark & 0xFFFFFFFF)
                totals[item] = totals.get(item, 0.0) + share * own
    for name, top in profile.tops.items():
        mine = sorted(((weight, item) for (kind, item), weight in totals.items() if kind == name), reverse=True)
        top.entries = {item: [weight / fade, 0.0] for weight, item in mine[: top.capacity]}
        top.total = float(profile.week[generated])
