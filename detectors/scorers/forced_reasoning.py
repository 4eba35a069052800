"""Forced reasoning: one constant element makes the model write its reasoning into tags, over always new tasks.

Input: elicitation_share, elicitation_constancy, answer_tag_share, valuable_share, single_turn_ratio, slot_novelty.
Output: Score in [0, 1], the weakest sign. Abstains (warming_up) below 5 answered exchanges.
Raises: nothing. Cost: under 10 µs per row, no memory.
Source: the campaigns disclosed in February and September 2026 (Anthropic): a fixed text added to every request makes
    the reasoning come inline in tags before the answer. Shares of 0.8 and more: a campaign's keys do little else, and
    what an account mixes in as cover is judged by the peer-group scorers. Bounds, so that five of five is not yet full
    support.
Blind to: reasoning without tags (explanation and audit products ask for that, too), keys whose answers are not stored,
    cover traffic above a third of the key.
False alarms: prompt-engineered single-turn products that have long reasoning in tags; calibration demotes the rule where
    such customers are common.
Evasion: another delimiter than a tag (a parser per delimiter), history in front (input tokens), short reasoning (worth
less).
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.rule import Condition, NamedRule

NAME = "forced_reasoning"


def make(peers: Percentiles | None) -> NamedRule:
    """The rule."""
    return NamedRule(
        NAME,
        "1",
        (
            (Condition("elicitation_share", 0.5, 0.8, bound=True),),
            (Condition("elicitation_constancy", 0.6, 0.9),),
            (Condition("answer_tag_share", 0.5, 0.8, bound=True),),
            (Condition("valuable_share", 0.4, 0.7, bound=True),),
            (Condition("single_turn_ratio", 0.6, 0.9),),
            (Condition("slot_novelty", 0.5, 0.8),),
        ),
        5,
        peers,
    )
