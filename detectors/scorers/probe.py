"""Probe: many different prompts that are nearly all refused, by an account of days.

Input: probe_refusals, refusal_rate, account_age_d, single_turn_ratio.
Output: Score in [0, 1], the weakest sign. Abstains (warming_up) below 8 answered exchanges.
Raises: nothing. Cost: under 10 µs per row, no memory.
Source: the probe phase disclosed in September 2026 (Anthropic): more than 12,000 requests tried a different trick each
    time, nearly all refused. Red teams look alike but belong to settled accounts and get answers as well; a young red
    team is a false alarm, so the rule alone is worth a look and no more.
Blind to: probing on aged accounts or in long conversations; probes that the model answers.
False alarms: new safety researchers, abusive end users of a new product.
Evasion: age the account; probe among harmless traffic.
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.rule import Condition, NamedRule

NAME = "probe"


def make(peers: Percentiles | None) -> NamedRule:
    """The rule."""
    return NamedRule(
        NAME,
        "1",
        (
            (Condition("probe_refusals", 4.0, 12.0),),
            (Condition("refusal_rate", 0.4, 0.7, bound=True),),
            (Condition("account_age_d", 30.0, 10.0),),
            (Condition("single_turn_ratio", 0.7, 0.95),),
        ),
        8,
        peers,
    )
