"""What a replay remembers of each key for its verdict file and its report: peaks, first alarm, a thinned timeline."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from detectors.contract import Level, Reason, Status, Verdict
from detectors.event import Event

MAX_POINTS = 240
"""Timeline points kept of a key; beyond it every second one is dropped."""

HOUR_US = 3_600_000_000
FLAGGED = Level.SUSPECT


@dataclass(frozen=True, slots=True)
class Point:
    """The verdict on a key at one moment."""

    at_us: int
    score: float
    level: Level


@dataclass(slots=True)
class Track:
    """One key in the judged part of a log.

    Attributes:
        score: the highest combined score so far: what the key is ranked by.
        level: the highest level so far. An alarm that later fades was an alarm.
        flagged_us: event time at which the level first reached SUSPECT.
        reasons: of the verdict with the highest (level, score).
    """

    key_id: str
    org_id: str = ""
    plan: str = ""
    authorised: bool = False
    requests: int = 0
    warmup_requests: int = 0
    score: float = 0.0
    level: Level = Level.CLEAR
    flagged_us: int | None = None
    reasons: tuple[Reason, ...] = ()
    last: Verdict | None = None
    points: list[Point] = field(default_factory=list)
    hours: Counter[int] = field(default_factory=Counter)
    _step: int = 1
    _skipped: int = 0

    @property
    def flagged(self) -> bool:
        """The level was SUSPECT or CONFIRMED at some moment."""
        return self.level >= FLAGGED

    @property
    def judged(self) -> bool:
        """There was ever enough evidence for a verdict."""
        return self.last is not None and self.last.status is Status.JUDGED

    def saw(self, event: Event, judged: bool) -> None:
        """An exchange of this key passed."""
        self.org_id, self.plan = event.org_id, event.plan
        if judged:
            self.requests += 1
            self.hours[event.at_us // HOUR_US] += 1
        else:
            self.warmup_requests += 1

    def said(self, verdict: Verdict) -> None:
        """A verdict on this key in the judged part."""
        self.last = verdict
        self.authorised = verdict.authorised
        if verdict.status is not Status.JUDGED:
            return
        if (verdict.level, verdict.score) > (self.level, self.score) or not self.reasons:
            self.reasons = verdict.reasons
        self.score = max(self.score, verdict.score)
        self.level = max(self.level, verdict.level)
        if self.flagged_us is None and verdict.level >= FLAGGED:
            self.flagged_us = verdict.at_us
        self._remember(Point(verdict.at_us, verdict.score, verdict.level))

    def _remember(self, point: Point) -> None:
        changed = not self.points or self.points[-1].level != point.level
        self._skipped += 1
        if not changed and self._skipped < self._step:
            return
        self._skipped = 0
        self.points.append(point)
        if len(self.points) > MAX_POINTS:
            self._step *= 2
            self.points = [p for i, p in enumerate(self.points) if i % 2 == 0 or p.level != self.points[i - 1].level]


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

    def ranked(self) -> list[Track]:
        """Most suspicious first: by level, score, then id, so that the order is the same in every run."""
        return sorted(self._by_key.values(), key=lambda t: (-t.level, -t.score, t.key_id))

    def __len__(self) -> int:
        return len(self._by_key)
