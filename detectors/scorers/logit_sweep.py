"""Logit sweep: the same short question under ever new logit biases, to read the output layer off the answers.

Input: logit_bias_diversity, logit_bias_share, output_tokens_mean, single_turn_ratio.
Output: Score in [0, 1], the weakest sign. Abstains (warming_up) below 8 answered exchanges.
Raises: nothing. Cost: under 10 µs per row, no memory.
Source: Carlini et al. 2024 (arXiv 2403.06634) and Finlayson et al. 2024 (arXiv 2403.09539): the attack needs a bias map per
    token or group of tokens, thousands in all, and one output token each. A product has one map, or one per label set: half
    support at 16 maps lies far above both and far below the attack.
Blind to: sweeps spread over many keys with under a dozen maps each; attacks that need no bias where logprobs are unlimited.
False alarms: research on calibration; a classifier that makes a bias map per request.
Evasion: keys with few maps each. Padding the output costs tokens and one more account per dozen maps.
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.rule import Condition, NamedRule

NAME = "logit_sweep"


def make(peers: Percentiles | None) -> NamedRule:
    """The rule."""
    return NamedRule(
        NAME,
        "1",
        (
            (Condition("logit_bias_diversity", 8.0, 24.0),),
            (Condition("logit_bias_share", 0.2, 0.6, bound=True),),
            (Condition("output_tokens_mean", 24.0, 8.0),),
            (Condition("single_turn_ratio", 0.5, 0.8),),
        ),
        8,
        peers,
    )
