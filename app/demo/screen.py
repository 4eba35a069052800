"""What is seen of the demonstration: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Protocol

from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from app.demo.findings import Finding

PLAIN_WIDTH = 160
WIDE_CHARS = 140
"""From this width on the reasons have room in the table."""

NARROW_CHARS = 100
"""Below this width the table does without what the client saw and what leaked."""

_AROUND = 9
"""Lines of a screen that the rows of the live table cannot have: its head, its title, and one below it."""

PLAIN_EVERY_SEC = 10.0
REASONS = 2
_STYLES = {"confirmed": "bold red", "suspect": "red", "watch": "yellow", "clear": "green", "warming up": "dim"}


def console() -> Console:
    """Standard output; as wide as a table needs where it is no terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


class View(Protocol):
    """Shows how the live part goes."""

    def show(self, findings: Sequence[Finding], seconds: float) -> None:
        """The present state, `seconds` after the traffic began."""
        ...


@contextmanager
def view(screen: Console) -> Iterator[View]:
    """The view that suits the console."""
    if not screen.is_terminal:
        yield _Lines(screen)
        return
    with Live(console=screen, auto_refresh=False, transient=True) as live:
        yield _Live(live)


def table(findings: Sequence[Finding], width: int, title: str = "", reasons: int = REASONS) -> Table:
    """One row per key: who was planted there and what the service found. Attackers come last.

    Args:
        findings: in the order of the rows.
        width: characters of the screen; a narrow one gets fewer columns, and one below WIDE_CHARS no reasons.
        title: above it.
        reasons: sentences of a row at most.
    """
    wide = width >= NARROW_CHARS
    reasons = reasons if width >= WIDE_CHARS else 0
    made = Table(title=title or None, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    made.add_column("planted as", no_wrap=True)
    made.add_column("key", no_wrap=True, style="dim")
    made.add_column("level", no_wrap=True, min_width=len("warming up"))
    made.add_column("score", no_wrap=True, min_width=len("0.000"), justify="right")
    for name in ("requests", "limited", "leaked") if wide else ("requests",):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("action", no_wrap=True, min_width=len("throttle"))
    if reasons:
        made.add_column("top reasons", ratio=1)
    attacks = False
    for found in findings:
        if found.client.kind.attack and not attacks:
            attacks = True
            made.add_section()
        style = _STYLES.get(found.level, "")
        cells = [
            found.client.name,
            found.key_id[:8],
            f"[{style}]{found.level}[/]",
            f"{found.score:.3f}",
            f"{found.tally.sent:,}",
            *((f"{found.tally.limited:,}", f"{found.leaked:,}") if wide else ()),
            found.action if not found.acted_on else f"[red]{found.action}[/]",
        ]
        if reasons:
            cells.append("\n".join(escape(text) for text in _told(found, reasons)))
        made.add_row(*cells)
    return made


def result(screen: Console, findings: Sequence[Finding]) -> None:
    """The final table; on a screen that is not wide the reasons stand below it."""
    _print(screen, table(findings, screen.width))
    if screen.width >= WIDE_CHARS:
        return
    for found in findings:
        if told := _told(found, REASONS):
            lines = [fill(f"• {text}", screen.width, initial_indent="  ", subsequent_indent="    ") for text in told]
            screen.print(f"{found.client.name}:", *lines, sep="\n", markup=False, soft_wrap=True)
    screen.print()


def _print(screen: Console, what: RenderableType) -> None:
    """Print it; where nobody looks at a screen, without the spaces that fill its lines."""
    if screen.is_terminal:
        screen.print(what)
        return
    with screen.capture() as captured:
        screen.print(what)
    for line in captured.get().splitlines():
        screen.print(line.rstrip(), soft_wrap=True, markup=False)


def _told(found: Finding, most: int) -> list[str]:
    """Reasons worth showing: a clear key has none."""
    return [] if found.level in ("clear", "warming up") else list(found.reasons[:most])


def summary(findings: Sequence[Finding], seconds: float) -> str:
    """One line: requests so far, refusals, and how many keys are at each level."""
    levels = Counter(found.level for found in findings)
    counted = ", ".join(
        f"{levels[name]} {name}" for name in ("confirmed", "suspect", "watch", "clear", "warming up") if levels[name]
    )
    sent = sum(found.tally.sent for found in findings)
    limited = sum(found.tally.limited for found in findings)
    return f"{seconds:3.0f} s: {sent:,} requests, {limited:,} refused with 429; keys: {counted}"


class _Lines:
    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._last = time.monotonic()

    def show(self, findings: Sequence[Finding], seconds: float) -> None:
        if time.monotonic() - self._last >= PLAIN_EVERY_SEC:
            self._last = time.monotonic()
            self._screen.print(summary(findings, seconds), soft_wrap=True)


class _Live:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, findings: Sequence[Finding], seconds: float) -> None:
        size = self._live.console.size
        shown = list(findings)
        if len(shown) > size.height - _AROUND:  # the honest and clear, whom the title counts, make room first
            shown.sort(key=lambda found: not (found.client.kind.attack or found.level not in ("clear", "warming up")))
            shown = [found for found in findings if found in shown[: max(1, size.height - _AROUND)]]
        self._live.update(table(shown, size.width, summary(findings, seconds), reasons=0), refresh=True)
