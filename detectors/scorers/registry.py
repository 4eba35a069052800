"""Every named rule, by name. A new rule is one line here and one in `verdict.RULES`."""

from __future__ import annotations

from collections.abc import Callable

from detectors.scorers import (
    forced_reasoning,
    foreign_reasoning,
    logit_sweep,
    probe,
    reconstruction,
    rejection_sampling,
    task_harvest,
)
from detectors.scorers.base import Percentiles
from detectors.scorers.rule import NamedRule

RULES: dict[str, Callable[[Percentiles | None], NamedRule]] = {
    logit_sweep.NAME: logit_sweep.make,
    forced_reasoning.NAME: forced_reasoning.make,
    rejection_sampling.NAME: rejection_sampling.make,
    task_harvest.NAME: task_harvest.make,
    reconstruction.NAME: reconstruction.make,
    probe.NAME: probe.make,
    foreign_reasoning.NAME: foreign_reasoning.make,
}

MODULES: dict[str, tuple[str, ...]] = {
    "boosted": ("boosted", "masks"),
    "leak": ("leak",),
    "pooled": ("pooled", "pools"),
    "mixture": ("mixture", "pools"),
    "tails": ("tails", "peer", "surprise"),
    "isolation": ("isolation", "forest", "peer", "surprise"),
    **{name: (name, "rule") for name in RULES},
}
"""Modules whose code decides what a detector says, by its name, beside the features that it reads."""
