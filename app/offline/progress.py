"""Progress of a long job: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY_SEC = 15.0
REDRAW_EVERY_SEC = 0.1
WIDE_CHARS = 120
"""From this width on there is room for a long bar and for the time passed; all else fits in 80."""


class Meter(Protocol):
    """What a job reports to."""

    def stage(self, text: str, share: float = 0.0, events: int = 0) -> None:
        """A new stage begins; its name is shown. It goes on from `share` and `events`, which its rate does not count."""
        ...

    def at(self, share: float, events: int) -> None:
        """`share` of the input, 0–1, is done and `events` have been handled, those of earlier stages included."""
        ...


class Silent:
    """Reports to nobody."""

    def stage(self, text: str, share: float = 0.0, events: int = 0) -> None:
        """Ignored."""

    def at(self, share: float, events: int) -> None:
        """Ignored."""


@dataclass
class _Clock:
    every_sec: float
    last: float = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.every_sec:
            return False
        self.last = now
        return True


class _Stage:
    """How fast a stage is: by what has come since it began."""

    def __init__(self, share: float = 0.0, events: int = 0) -> None:
        self._started = time.monotonic()
        self._share = share
        self._events = events

    def rate(self, share: float, events: int) -> tuple[float, float | None]:
        """(events per second, seconds left or None while it is too early to tell)."""
        passed = max(1e-6, time.monotonic() - self._started)
        done = share - self._share
        return (events - self._events) / passed, passed * (1 - share) / done if done > 0.01 else None


class _Bar:
    def __init__(self, progress: Progress, unit: str) -> None:
        self._progress = progress
        self._unit = unit
        self._clock = _Clock(REDRAW_EVERY_SEC)
        self._task: TaskID | None = None
        self._stage = _Stage()

    def stage(self, text: str, share: float = 0.0, events: int = 0) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=1.0)
        self._task = self._progress.add_task(text, total=1.0, rate="")
        self._progress.update(self._task, completed=min(1.0, share))
        self._stage = _Stage(share, events)

    def at(self, share: float, events: int) -> None:
        rate, _ = self._stage.rate(share, events)
        if self._task is not None and self._clock.due():
            self._progress.update(self._task, completed=min(1.0, share), rate=f"{events:,} {self._unit}, now {rate:,.0f}/s")


class _Plain:
    def __init__(self, console: Console, unit: str) -> None:
        self._console = console
        self._unit = unit
        self._clock = _Clock(PLAIN_EVERY_SEC, time.monotonic())
        self._text = ""
        self._stage = _Stage()

    def stage(self, text: str, share: float = 0.0, events: int = 0) -> None:
        self._text = text
        self._stage = _Stage(share, events)
        self._console.print(text, highlight=False)

    def at(self, share: float, events: int) -> None:
        rate, left_sec = self._stage.rate(share, events)
        if self._clock.due():
            left = "" if left_sec is None else f", about {left_sec:,.0f} s left"
            done = f"{events:,} {self._unit}, now {rate:,.0f}/s"
            self._console.print(f"{self._text}: {share:.0%}, {done}{left}", highlight=False)


@contextmanager
def meter(console: Console | None, unit: str = "events") -> Iterator[Meter]:
    """The meter that suits the console: a live bar on a terminal, plain lines elsewhere, nothing for None.

    Args:
        console: where it is shown.
        unit: what is counted, in the plural.
    """
    if console is None:
        yield Silent()
    elif not console.is_terminal:
        yield _Plain(console, unit)
    else:
        wide = console.width >= WIDE_CHARS
        columns = (
            TextColumn("{task.description}"),
            BarColumn(40 if wide else 8),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[rate]}"),
            *((TimeElapsedColumn(),) if wide else ()),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield _Bar(progress, unit)
