"""Reconstruction: finished answers are brought along, and long reasoning behind them is asked for.

Input: answer_supplied_share, elicitation_share, valuable_share, slot_novelty, multiplicity_peak.
Output: Score in [0, 1], the weakest sign. Abstains (warming_up) below 20 answered exchanges.
Raises: nothing. Cost: under 10 µs per row, no memory.
Source: Anthropic, February 2026, and AA26-251A: prompts for the reasoning behind a response that is already complete.
    Explanation and audit products ask the same about decisions and get short answers; the long answer is what sets the
    harvest apart, and it is not enough to be certain: the rule alone is worth a look and no more.
    Half support at an eighth of the traffic: such harvests hide in cover, and ordinary customers hardly ever do this.
    Evaluations that bring reference answers along ask each item several times; who wants the reasoning asks once.
Blind to: tasks and answers that are sent as a conversation; short reasoning.
False alarms: tutors that explain model solutions, audits with long texts.
Evasion: drop the labels around question and answer: free, but it confuses the model.
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.rule import Condition, NamedRule

NAME = "reconstruction"


def make(peers: Percentiles | None) -> NamedRule:
    """The rule."""
    return NamedRule(
        NAME,
        "1",
        (
            (Condition("answer_supplied_share", 0.06, 0.18, bound=True),),
            (Condition("elicitation_share", 0.06, 0.18, bound=True),),
            (Condition("valuable_share", 0.1, 0.3, bound=True),),
            (Condition("slot_novelty", 0.5, 0.8),),
            (Condition("multiplicity_peak", 0.6, 0.3, absent=1.0),),
        ),
        20,
        peers,
    )
