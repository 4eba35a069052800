"""Task harvest: a constant instruction has tasks, personas or harder versions of tasks made, long answer after long answer.

Input: task_generation_share, rewrite_share, user_top_share, valuable_share, slot_novelty, near_duplicate_rate,
    single_turn_ratio, valuable_total.
Output: Score in [0, 1], the weakest sign. Abstains (warming_up) below 20 answered exchanges.
Raises: nothing. Cost: under 10 µs per row, no memory.
Source: Self-Instruct (Wang et al. 2023), Evol-Instruct (Xu et al. 2023), persona-driven synthesis (Ge et al. 2024): one
    or a few fixed prompts around always new seeds, deduplicated. Where one exchange makes the task and the next one
    answers it, every second answer is long: full support for valuable answers at a third of all. Education and content
    products do the same for their own use: the rule alone is worth a look and no more.
Blind to: generation from free-form prompts; a chat around it.
False alarms: quiz and content makers, test-data generators; contracted synthetic-data customers (excused by contract).
Evasion: paraphrase the instruction per request: an extra model call each.
"""

from __future__ import annotations

from detectors.scorers.base import Percentiles
from detectors.scorers.rule import Condition, NamedRule

NAME = "task_harvest"


def make(peers: Percentiles | None) -> NamedRule:
    """The rule."""
    return NamedRule(
        NAME,
        "1",
        (
            (Condition("task_generation_share", 0.3, 0.6, bound=True), Condition("rewrite_share", 0.4, 0.7, bound=True)),
            (Condition("user_top_share", 0.25, 0.5),),
            (Condition("valuable_share", 0.15, 0.35, bound=True),),
            (Condition("slot_novelty", 0.5, 0.8),),
            (Condition("near_duplicate_rate", 0.5, 0.2),),
            (Condition("single_turn_ratio", 0.7, 0.95),),
            (Condition("valuable_total", 15.0, 45.0),),
        ),
        20,
        peers,
    )
