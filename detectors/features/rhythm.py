"""When an entity sends: volume, gaps, hours, overlap, and how it meets limits."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

from detectors.features.parts import MIN_EXCHANGES, Counts, Found, part
from detectors.profile import Profile
from detectors.sketch import gaps
from detectors.sketch.decay import DAY_US, HOUR

MIN_GAPS = 10.0
NEW_KEY_DAYS = 3.0
MIN_BINS = 12.0
"""Two busy hours."""
MIN_BINNED = 20.0


def rhythm(profile: Profile, week: Counts, day: Counts, now_us: int) -> Found:
    """Volume, gaps, hours, overlap, limits."""
    spaced = day["gap_n"] >= MIN_GAPS and day["gap_sum"] > 0
    seen_h = profile.hours.span()
    young = profile.created_us > 0 and profile.first_at_us - profile.created_us <= NEW_KEY_DAYS * DAY_US
    ramped = young and week["requests"] >= 20 and profile.peak_hour > 0
    busy = week["bins"] >= MIN_BINS and week["bin_sum"] >= MIN_BINNED
    mean = week["bin_sum"] / week["bins"] if busy else 0.0
    timed, overlapped = week["timed"] >= MIN_EXCHANGES, week["overlap"]
    return {
        "fano_factor": max(0.0, week["bin_sq"] / week["bins"] / mean - mean) if busy else None,
        "in_flight_mean": overlapped / week["timed"] if timed else None,
        "in_flight_steadiness": week["same_overlap"] / week["timed"] if timed and overlapped >= MIN_EXCHANGES else None,
        "backoff_s": exp(week["wait_ln"] / week["waits"]) if week["waits"] >= MIN_EXCHANGES else None,
        "requests_1h": profile.hour * HOUR.fade(now_us, profile.landmarks[0]),
        "requests_24h": day["requests"],
        "ramp_ratio": min(1.0, profile.first_hour / profile.peak_hour) if ramped else None,
        "interarrival_cv": gaps.variation(day["gap_n"], day["gap_sum"], day["gap_sq"]) if spaced else None,
        "interarrival_regularity": gaps.regularity(day["gap_n"], day["gap_ln"], day["gap_ln_sq"]) if spaced else None,
        "circadian_flatness": _flatness(profile.hours.by_hour_of_day())
        if seen_h >= 24 and profile.hours.active() >= 6
        else None,
        "longest_idle_h": float(profile.hours.longest_idle()) if seen_h >= 24 else None,
        "retry_rate": part(week["retries"], week["requests"]),
        "limited_rate": part(week["limited"], week["requests"]),
    }


def _flatness(by_hour: Sequence[int]) -> float:
    total = sum(by_hour)
    return -sum(n / total * log(n / total) for n in by_hour if n) / log(24)
