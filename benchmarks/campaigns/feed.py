"""Worlds whose exchanges were read and fingerprinted once, as a feed of a replay: the same verdicts as from their logs.

A world is named as in `benchmarks.training.worlds` and `frames`, one seed at a time: "dev:4", "random-ae:700". Its
exchanges lie in its folder without their texts, under a digest of the sources that make fingerprints; if one changes, they
are made anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from app.offline.feeds import Item
from app.offline.progress import Meter
from app.offline.records import BadLines
from benchmarks.campaigns.frames import run_of
from benchmarks.labelled import LabelledRun
from benchmarks.training import worlds
from benchmarks.training.rows import labelled_items


def world(name: str) -> LabelledRun:
    """The run of one world; generated where it is not there yet.

    Raises:
        argparse.ArgumentTypeError: the name has no such form, or stands for more than one.
        NoBench: the labelled benchmark is missing or refuses.
    """
    found = worlds.parsed(name)
    if len(found) != 1:
        raise argparse.ArgumentTypeError(f"{name}: one world is named profile:seed, this names {len(found)}")
    return run_of(*found[0])


def items(name: str) -> list[Item]:
    """Every exchange of a world, without texts and in the log's order, and its fingerprint.

    Raises:
        as `world`.
    """
    return labelled_items(world(name))


def truth(name: str) -> dict[str, Any]:
    """The answer key of a world: `warmup_until` (unix s), `keys` and `campaigns`.

    Raises:
        as `world`.
    """
    return truth_of(world(name))


def truth_of(run: LabelledRun) -> dict[str, Any]:
    """The answer key of a run."""
    found: dict[str, Any] = json.loads((run.folder / "truth.json").read_text())
    return found


class ItemsFeed:
    """Exchanges that are in memory, in their order; see `app.offline.feeds.Feed`."""

    def __init__(self, found: Sequence[Item]) -> None:
        self._items = found
        self._next = 0
        self.bad = BadLines(0.0)
        self.notes: list[str] = []

    @property
    def share(self) -> float:
        """By number of exchanges."""
        return self._next / max(1, len(self._items))

    def span(self, meter: Meter) -> tuple[int, int]:
        """Of all of them."""
        del meter  # quicker than it could be told
        times = [event.at_us for event, _ in self._items]
        return min(times), max(times)

    def history(self, border_us: int) -> Iterator[Item]:
        """Ends at the first exchange at or after the border, which is handed out with the rest."""
        while self._next < len(self._items) and self._items[self._next][0].at_us < border_us:
            self._next += 1
            yield self._items[self._next - 1]

    def rest(self) -> Iterator[Item]:
        """Goes on where the history ended."""
        while self._next < len(self._items):
            self._next += 1
            yield self._items[self._next - 1]
