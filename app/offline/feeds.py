"""Where a replay's exchanges come from: a request log, or the archive a live deployment wrote.

A feed hands out (event, fingerprint) in the order the analysis must see them, and knows how far it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Protocol

from app.errors import BadInput
from app.offline import records
from app.offline.exchange import EventBuilder
from app.offline.progress import Meter
from app.offline.records import BadLines, Parser
from app.offline.source import MAX_LINE_BYTES, LogFile
from detectors.event import Event
from detectors.fingerprint import Fingerprint, fingerprint

Item = tuple[Event, Fingerprint]

LATE_US = 60_000_000
"""How far behind a younger exchange one may stand before it is counted as out of order: longer than most answers take."""


class Feed(Protocol):
    """One input, gone through once: `history` first if there is to be one, then `rest`. `span` may be asked before."""

    bad: BadLines
    notes: list[str]

    @property
    def share(self) -> float:
        """How much of the input has been handed out, 0–1."""
        ...

    def span(self, meter: Meter) -> tuple[int, int]:
        """Event times of the first and last exchange, in µs, without handing any out."""
        ...

    def history(self, border_us: int) -> Iterator[Item]:
        """What stands before the first exchange at or after the border."""
        ...

    def rest(self) -> Iterator[Item]:
        """Everything that was not handed out yet, in order."""
        ...


class LogFeed:
    """A request log in the benchmark's format, or in another one through a mapping.

    It is taken in its own order. Logs are written when answers end and hold the times at which requests arrived, so small
    steps back are normal, live as well; large ones are counted.
    """

    def __init__(self, path: Path, builder: EventBuilder, bad: BadLines, parser: Parser | None = None) -> None:
        self._path = path
        self._builder = builder
        self._parser = parser
        self._log: LogFile | None = None
        self._items: Iterator[Item] | None = None
        self._beyond: list[Item] = []
        self._late = 0
        self.bad = bad
        self.notes: list[str] = []

    @property
    def share(self) -> float:
        """By bytes of the file on disk."""
        return self._log.position_bytes / max(1, self._log.size_bytes) if self._log else 0.0

    def span(self, meter: Meter) -> tuple[int, int]:
        """A quick pass that reads nothing but the times; bad lines are left to the real pass."""
        log = self._log = LogFile(self._path)
        first = last = None
        for number, line in log.lines():
            try:
                at = self._parser(line).ts if self._parser else records.parse_time(line[:MAX_LINE_BYTES])
            except BadInput:
                continue
            first, last = (at, at) if first is None or last is None else (min(first, at), max(last, at))
            meter.at(self.share, number)
        if first is None or last is None:
            # The real pass would say so as well, but only after the caller has used a span that does not exist.
            for _ in self.rest():
                pass
            raise BadInput(f"{self._path}: no exchange could be read{f' ({log.damage})' if log.damage else ''}")
        return round(first * 1_000_000), round(last * 1_000_000)

    def history(self, border_us: int) -> Iterator[Item]:
        """Ends at the first exchange at or after the border; earlier ones that stand behind it come with the rest."""
        for item in self._read():
            if item[0].at_us >= border_us:
                self._beyond.append(item)
                return
            yield item

    def rest(self) -> Iterator[Item]:
        """Line by line; what a line holds of prompts is dropped when the next one is read."""
        while self._beyond:
            yield self._beyond.pop()
        yield from self._read()

    def again(self, keys: Container[str]) -> Iterator[Event]:
        """The log once more from its beginning, for some keys alone; what cannot be used was counted before."""
        for number, record in records.read(LogFile(self._path), BadLines(1.0), self._parser or records.parse):
            if record.key in keys:
                with contextlib.suppress(BadInput):
                    yield self._builder.event(record, number)

    def _read(self) -> Iterator[Item]:
        """The one iterator over the file, so that a second caller goes on where the first stopped."""
        if self._items is None:
            self._items = self._lines()
        return self._items

    def _lines(self) -> Iterator[Item]:
        log = self._log = LogFile(self._path)
        newest_us = 0
        for number, record in records.read(log, self.bad, self._parser or records.parse):
            try:
                event = self._builder.event(record, number)
            except BadInput as error:
                self.bad.add(number, str(error))
                continue
            newest_us = max(newest_us, event.at_us)
            self._late += event.at_us < newest_us - LATE_US
            yield event, fingerprint(event)
        if log.damage:
            self.notes.append(log.damage)
        if self._late:
            self.notes.append(
                f"{self._late:,} exchanges stand more than a minute behind a younger one; the log's order was kept"
            )
