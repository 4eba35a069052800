"""When an entity sends, and how even."""

from __future__ import annotations

from math import inf

from detectors.catalogue.feature import NEVER, Feature

RHYTHM: tuple[Feature, ...] = (
    # --- Volume and rhythm
    Feature(
        "requests_1h", "requests", 0.0, inf, "1 h", "high", "log",
        "number of exchanges in the last hour, decayed",
        NEVER, "every bulk customer", "more keys: free", "velocity rules of card-testing defences",
    ),
    Feature(
        "requests_24h", "requests", 0.0, inf, "24 h", "high", "log",
        "number of exchanges in the last day, decayed",
        NEVER, "every bulk customer", "more keys: free", "velocity rules of card-testing defences",
    ),
    Feature(
        "ramp_ratio", "share", 0.0, 1.0, "life", "high", "linear",
        "share of its highest hourly volume that the key had already reached in its first hour: near 1 without any ramp",
        "the key was made over three days before it was first seen, or it is unknown when, or it has under 20 exchanges",
        "migrations of a running workload to a new key", "a day of warming up per key: cheap", "AA26-251A: no ramp",
    ),
    Feature(
        "interarrival_cv", "ratio", 0.0, inf, "24 h", "low", "log",
        "standard deviation of the gaps between exchanges over their mean; 1 for a Poisson stream",
        "fewer than ten gaps", "cron jobs, rate-limited batch clients", "jitter: free", "ServeGen, arXiv 2505.09999",
    ),
    Feature(
        "interarrival_regularity", "share", 0.0, 1.0, "24 h", "high", "linear",
        "regularity of the gaps between exchanges: exp(−standard deviation of their logarithm); 1: a metronome",
        "fewer than ten gaps", "cron jobs, rate-limited batch clients", "jitter: free", "ServeGen, arXiv 2505.09999",
    ),
    Feature(
        "circadian_flatness", "share", 0.0, 1.0, "7 d", "high", "linear",
        "entropy of the active hours over the hours of the day, over its maximum; 1 when every hour is used alike",
        "active over less than 24 hours or in fewer than six of them",
        "11–23 % of bulk clients, worldwide products, monitoring", "sleep eight hours: free",
        "AA26-251A: round-the-clock use; ServeGen",
    ),
    Feature(
        "longest_idle_h", "hours", 0.0, 168.0, "7 d", "low", "linear",
        "longest run of whole clock hours without an exchange between two active ones",
        "active over less than 24 hours", "worldwide products, monitoring", "sleep eight hours: free",
        "AA26-251A: round-the-clock use; ServeGen",
    ),
)  # fmt: skip
