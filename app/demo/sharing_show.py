"""The worked example of sharing as people see it: what is done, what left, and the table of what leaked."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as Rows

from app.demo import sharing
from app.demo.shared_day import Way, less
from app.offline import progress

GOAL = 0.9
"""By so much less leaks at the second provider once an analyst there has agreed; else the example has failed."""


def run(seed: int, keep: Path | None, view: Console, notes: Console) -> int:
    """Plays the example; returns the exit status, 1 where sharing helped less than it should.

    Raises:
        StillwatchError: something could not be started.
    """
    if keep is not None:
        return _play(keep, seed, view, notes)
    with tempfile.TemporaryDirectory(prefix="stillwatch-sharing-") as folder:
        return _play(Path(folder), seed, view, notes)


def _play(folder: Path, seed: int, view: Console, notes: Console) -> int:
    now_sec = time.time()
    border_us = round(now_sec * 1_000_000)
    for name in (sharing.FIRST, sharing.SECOND):
        (folder / name).mkdir()
    sharing.share_keys(folder)
    with progress.meter(notes) as meter:
        first = sharing.make(folder, sharing.FIRST, seed, now_sec, meter)
        campaign, says, held = asyncio.run(sharing.tell(folder, first, meter))
        second = sharing.make(folder, sharing.SECOND, seed, now_sec + 86_400, meter)
        # What is valid from the publication on is looked for on the day after it.
        wanted, ways = sharing.compare(folder, second, held, border_us + 1, meter)
    view.print(f"{sharing.FIRST} caught {campaign}, and told the group:", soft_wrap=True, markup=False)
    for line in says:
        view.print(f"  {line}", soft_wrap=True, markup=False)
    kinds = ", ".join(sorted({one.indicator.kind for one in held}))
    view.print(f"{sharing.SECOND} holds {len(held)} indicators ({kinds}).", soft_wrap=True)
    view.print(
        f"On the next day {sharing.KEYS[sharing.SECOND]} keys of the same operation come to {sharing.SECOND}; four in five "
        f"of their requests are a person's conversation. They ask {wanted:,} times. Answers that leaked until a key was "
        "caught, keys of the operation caught, after how many answers the first of them was, and honest keys taken for it:",
        soft_wrap=True,
    )
    view.print(_table(ways))
    if failed := status(ways):
        view.print(f"Sharing should have kept {GOAL:.0%} from leaking, and kept {less(ways[2], ways[0]):.0%}.")
    return failed


def status(ways: Sequence[Way]) -> int:
    """Of the command: 0 where sharing kept GOAL of the answers from leaking, once a person had agreed."""
    return 0 if less(ways[2], ways[0]) >= GOAL else 1


def _table(ways: Sequence[Way]) -> Rows:
    table = Rows("at provider-b", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for head in ("leaked", "less", "caught", "first at", "honest keys"):
        table.add_column(head, justify="right")
    for way in ways:
        fewer = "" if way is ways[0] else f"{less(way, ways[0]):.0%}"
        first = "none" if way.before_first is None or not way.caught else f"{way.before_first:,}"
        table.add_row(way.name, f"{way.leaked:,}", fewer, str(len(way.caught)), first, str(len(way.honest)))
    return table
