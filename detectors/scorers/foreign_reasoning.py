"""Foreign reasoning: blocks of the model's reasoning come back that were never given to this entity.

Input: foreign_reasoning, foreign_reasoning_share. Output: Score in [0, 1], the weaker sign. Abstains (warming_up) below 5
answered exchanges; silent where nobody can know yet what was given (`profile.provenance`).
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.rule import Condition, NamedRule

NAME = "foreign_reasoning"


def make(peers: Percentiles | None) -> NamedRule:
    """The rule."""
    return NamedRule(
        NAME,
        "1",
        (
            (Condition("foreign_reasoning", 1.0, 6.0),),
            (Condition("foreign_reasoning_share", 0.05, 0.3),),
        ),
        5,
        peers,
    )
