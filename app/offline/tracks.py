"""What a replay remembers of each key for its verdict file and its report: peaks, first alarm, a thinned timeline.

About 1 KB for a key of few exchanges and at most 5 KB for one that never rests: numbers are kept packed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from detectors.contract import Level, Reason, Status, Verdict
from detectors.event import Event

MAX_POINTS = 240
"""Timeline points kept of a key; beyond it every second one is dropped."""

HOUR_US = 3_600_000_000
FLAGGED = Level.SUSPECT


class Point(NamedTuple):
    """The verdict on a key at one moment."""

    at_us: int
    score: float
    level: Level


class Timeline:
    """Verdicts in order, thinned; a change of level is never dropped."""

    __slots__ = ("_at_us", "_levels", "_scores", "_skipped", "_step")

    def __init__(self) -> None:
        self._at_us = array("q")
        self._scores = array("f")
        self._levels = bytearray()
        self._step = 1
        self._skipped = 0

    def __iter__(self) -> Iterator[Point]:
        for at_us, score, level in zip(self._at_us, self._scores, self._levels, strict=True):
            yield Point(at_us, score, Level(level))

    def __len__(self) -> int:
        return len(self._levels)

    def add(self, at_us: int, score: float, level: Level) -> None:
        """A verdict."""
        changed = not self._levels or self._levels[-1] != level
        self._skipped += 1
        if not changed and self._skipped < self._step:
            return
        self._skipped = 0
        self._at_us.append(at_us)
        self._scores.append(score)
        self._levels.append(level)
        if len(self) > MAX_POINTS:
            self._step *= 2
            levels = self._levels
            kept = [i for i in range(len(levels)) if i % 2 == 0 or levels[i] != levels[i - 1]]
            self._at_us = array("q", [self._at_us[i] for i in kept])
            self._scores = array("f", [self._scores[i] for i in kept])
            self._levels = bytearray(levels[i] for i in kept)


class Hourly:
    """Exchanges by clock hour."""

    __slots__ = ("_counts", "_hours")

    def __init__(self) -> None:
        self._hours = array("I")
        self._counts = array("I")

    def add(self, at_us: int) -> None:
        """Count an exchange."""
        hour = at_us // HOUR_US
        for i in range(len(self._hours) - 1, -1, -1):  # nearly always the last one
            if self._hours[i] == hour:
                self._counts[i] += 1
                return
            if self._hours[i] < hour:
                self._hours.insert(i + 1, hour)
                self._counts.insert(i + 1, 1)
                return
        self._hours.insert(0, hour)
        self._counts.insert(0, 1)

    def items(self) -> list[tuple[int, int]]:
        """(start of the hour in µs, exchanges), ascending; hours without any are left out."""
        return [(hour * HOUR_US, count) for hour, count in zip(self._hours, self._counts, strict=True)]


@dataclass(slots=True)
class Track:
    """One key in the judged part of a log.

    Attributes:
        judged: there was ever enough evidence for a verdict.
        score: the highest combined score so far: what the key is ranked by.
        level: the highest level so far. An alarm that later fades was an alarm.
        flagged_us: event time at which the level first reached SUSPECT.
        leaked: unique valuable responses taken since the first verdict above CLEAR, at the newest verdict.
        leaking_us: event time at which the leak accountant's alarm was first raised.
        reasons: of the verdict with the highest (level, score).
    """

    key_id: str
    org_id: str = ""
    plan: str = ""
    authorised: bool = False
    judged: bool = False
    requests: int = 0
    warmup_requests: int = 0
    score: float = 0.0
    level: Level = Level.CLEAR
    flagged_us: int | None = None
    leaked: int = 0
    leaking_us: int | None = None
    reasons: tuple[Reason, ...] = ()
    points: Timeline = field(default_factory=Timeline)
    hours: Hourly = field(default_factory=Hourly)

    @property
    def flagged(self) -> bool:
        """The level was SUSPECT or CONFIRMED at some moment."""
        return self.level >= FLAGGED

    def saw(self, event: Event, judged: bool) -> None:
        """An exchange of this key passed."""
        if event.org_id != self.org_id or event.plan != self.plan:  # else each event would keep its own copies alive
            self.org_id, self.plan = event.org_id, event.plan
        if judged:
            self.requests += 1
            self.hours.add(event.at_us)
        else:
            self.warmup_requests += 1

    def said(self, verdict: Verdict) -> None:
        """A verdict on this key in the judged part."""
        self.authorised = verdict.authorised
        if verdict.status is not Status.JUDGED:
            return
        if (verdict.level, verdict.score) > (self.level, self.score) or not self.judged:
            self.reasons = verdict.reasons
        self.judged = True
        self.leaked = verdict.leaked
        self.score = max(self.score, verdict.score)
        self.level = max(self.level, verdict.level)
        if self.flagged_us is None and verdict.level >= FLAGGED:
            self.flagged_us = verdict.at_us
        if self.leaking_us is None and verdict.leaking:
            self.leaking_us = verdict.at_us
        self.points.add(verdict.at_us, verdict.score, verdict.level)


class Tracks:
    """The tracks of every key of a log, by key id."""

    def __init__(self) -> None:
        self._by_key: dict[str, Track] = {}

    def of(self, key_id: str) -> Track:
        """The key's track, new if it was not seen before."""
        track = self._by_key.get(key_id)
        if track is None:
            track = self._by_key[key_id] = Track(key_id)
        return track

    def owner_of(self, key_id: str) -> str:
        """The key's organisation, or the key itself where it belongs to none."""
        return self.of(key_id).org_id or key_id

    def ranked(self) -> list[Track]:
        """Most suspicious first: by level, score, then id, so that the order is the same in every run."""
        return sorted(self._by_key.values(), key=lambda t: (-t.level, -t.score, t.key_id))

    def __len__(self) -> int:
        return len(self._by_key)
