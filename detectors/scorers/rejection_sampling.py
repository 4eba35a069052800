"""Rejection sampling: each task is answered several times at length, so that the best answer can be kept.

Input: multiplicity_peak, samples_mean, valuable_share, valuable_total, single_turn_ratio, account_age_d.
Output: Score in [0, 1], the weakest sign. Abstains (warming_up) below 20 answered exchanges.
Raises: nothing. Cost: under 10 µs per row, no memory.
Source: rejection-sampling sets (RFT, Yuan et al. 2023): these built so hold tens of thousands of tasks at 4 to
    16 samples. A hundred different tasks with long answers are a harvest's first hours and more than most evaluations
    with repeats. An evaluation of a settled account is left to the peer-group scorers: benchmarks run with n > 1 are the
    honest twin, and they belong to customers of months.
Blind to: aged accounts; repeats spread over keys or further apart than the 64 tasks that are remembered.
False alarms: a new customer who runs a long benchmark with repeats on the first day.
Evasion: age the account; spread the k samples over k keys.
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.rule import Condition, NamedRule

NAME = "rejection_sampling"


def make(peers: Percentiles | None) -> NamedRule:
    """The rule."""
    return NamedRule(
        NAME,
        "1",
        (
            (Condition("multiplicity_peak", 0.15, 0.35), Condition("samples_mean", 1.3, 2.0)),
            (Condition("valuable_share", 0.5, 0.8, bound=True),),
            (Condition("valuable_total", 50.0, 150.0),),
            (Condition("single_turn_ratio", 0.7, 0.95),),
            (Condition("account_age_d", 45.0, 21.0),),
        ),
        20,
        peers,
    )
