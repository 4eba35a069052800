"""Worlds by name: "random:100-107", "random-bb:200,203", "dev:4" are runs of the labelled benchmark.

What is trained on and what is judged on is told by such names; texts and wordings of different letters have nothing in
common (`benchmarks.labelled.generate`), so training on some letters and judging on others says what holds on traffic that
nobody tuned anything to.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.labelled import LabelledRun, generate


def parsed(name: str) -> list[tuple[str, int]]:
    """Profile and seed of each world that a name stands for.

    Raises:
        argparse.ArgumentTypeError: the name has no such form.
    """
    profile, _, listed = name.partition(":")
    found: list[tuple[str, int]] = []
    try:
        for part in listed.split(","):
            first, _, last = part.partition("-")
            found += [(profile, seed) for seed in range(int(first), int(last or first) + 1)]
    except ValueError:
        found = []
    if not profile or not found:
        raise argparse.ArgumentTypeError(f"{name}: worlds are named profile:seeds, as in random:100-107,111")
    return found


def runs(names: Sequence[str]) -> list[LabelledRun]:
    """Runs of all of these, in order; generated where they are not there yet.

    Raises:
        NoBench: the labelled benchmark or its corpora are missing, or it refuses one.
    """
    return [generate(profile, seed) for name in names for profile, seed in parsed(name)]
