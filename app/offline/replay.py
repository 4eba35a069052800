"""Replay: a log through the very analysis that the live worker runs, in event time, to a verdict per key.

Without a saved model a replay has two parts. The history, up to the end of the warm-up, builds profiles and gives the
feature rows a peer model is fitted on; then the rest is judged with that model, profiles kept, verdicts begun afresh.
With a saved model everything is judged, as live.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from app.errors import BadInput
from app.offline import report, verdicts
from app.offline.feeds import Feed, Item
from app.offline.history import History
from app.offline.progress import Meter, Silent
from app.offline.states import StateTable
from app.offline.tracks import Track, Tracks
from detectors import model as models
from detectors.analysis import Analysis
from detectors.contract import Verdict

BATCH = 256
"""Exchanges analysed in one call. It changes the speed and never a verdict."""

LATE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How a log is to be judged.

    Attributes:
        warmup_until_us: event time from which verdicts count; None: the middle of the log's span, or its start when a
            saved model judges.
        model: a saved model; None: fit one on the warm-up.
        seed: of the fit.
        hot_states: entity states kept as objects; the others wait on disk.
    """

    warmup_until_us: int | None = None
    model: models.Model | None = None
    seed: int = 0
    hot_states: int = 50_000


@dataclass
class Outcome:
    """What a replay found. `ranked` has every key of the log, most suspicious first."""

    ranked: list[Track]
    run: report.Run
    model: models.Model
    seconds: float = 0.0
    paths: list[Path] = field(default_factory=list)

    @property
    def flagged(self) -> list[Track]:
        """The flagged keys, most suspicious first."""
        return [track for track in self.ranked if track.flagged]

    @property
    def events_per_sec(self) -> float:
        """Exchanges judged or taken as history per second of wall clock."""
        return self.run.events / max(1e-9, self.seconds)


def run(feed: Feed, plan: Plan, source: str, meter: Meter | None = None) -> Outcome:
    """Play a feed.

    Raises:
        BadInput: nothing could be read, too much of it is malformed, or the warm-up holds too little to fit a model on.
    """
    started = time.monotonic()
    outcome = _Player(feed, plan, source, meter or Silent()).play()
    outcome.seconds = time.monotonic() - started
    return outcome


def write(outcome: Outcome, out: Path, with_report: bool = True) -> None:
    """Write verdicts.jsonl, campaigns.jsonl and the report into a folder, which is made.

    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        outcome.paths = [verdicts.write_verdicts(out, outcome.ranked), verdicts.write_campaigns(out)]
        if with_report:
            outcome.paths.append(report.write(out, outcome.run, outcome.ranked))
    except OSError as error:
        raise BadInput(f"{out}: {error.strerror or 'cannot be written'}") from None


class _Player:
    def __init__(self, feed: Feed, plan: Plan, source: str, meter: Meter) -> None:
        self._feed = feed
        self._plan = plan
        self._meter = meter
        self._tracks = Tracks()
        self._newest_us = 0
        self._border_us = 0
        self._states = StateTable(plan.hot_states)
        self._run = report.Run(source=source, start_us=0, end_us=0, judged_from_us=0, model="", events=0, warmup_events=0)
        self._run.bad = feed.bad

    def play(self) -> Outcome:
        border_us = self._border_us = self._find_border()
        items = self._feed.items()
        model = self._plan.model
        first: list[Item] = []
        if model is None:
            self._meter.stage("History")
            model, first = self._history(items, border_us)
        self._run.model = model.id
        self._meter.stage("Judging")
        self._judge(first, items, Analysis(model))
        self._states.close()
        if not self._run.events:
            raise BadInput(f"{self._run.source}: no exchange could be read")
        self._run.judged_from_us = max(border_us, self._run.start_us)
        self._run.notes += self._feed.notes
        return Outcome(self._tracks.ranked(), self._run, model)

    def _find_border(self) -> int:
        if self._plan.warmup_until_us is not None:
            return self._plan.warmup_until_us
        if self._plan.model is not None:
            return 0
        self._meter.stage("Finding the time span")
        first_us, last_us = self._feed.span(self._meter)
        return (first_us + last_us) // 2

    def _history(self, items: Iterator[Item], border_us: int) -> tuple[models.Model, list[Item]]:
        """Play up to the border and fit; gives back the item that was read beyond it."""
        analysis = Analysis(models.rules_only())
        history = History()
        batch: list[Item] = []
        beyond: list[Item] = []
        for item in items:
            if item[0].at_us >= border_us:
                beyond.append(item)
                break
            batch.append(item)
            if len(batch) == BATCH:
                self._observe_history(analysis, history, batch)
                batch = []
        self._observe_history(analysis, history, batch)
        model = history.fit(self._states, self._plan.seed)
        history.forget_verdicts(self._states)
        return model, beyond

    def _observe_history(self, analysis: Analysis, history: History, batch: Sequence[Item]) -> None:
        history.take(self._states, self._step(analysis, batch))

    def _judge(self, first: list[Item], items: Iterator[Item], analysis: Analysis) -> None:
        batch = first + list(islice(items, BATCH - len(first)))
        while batch:
            for verdict in self._step(analysis, batch):
                if verdict.entity_kind == "key" and verdict.at_us >= self._border_us:
                    self._tracks.of(verdict.entity_id).said(verdict)
            batch = list(islice(items, BATCH))

    def _step(self, analysis: Analysis, batch: Sequence[Item]) -> list[Verdict]:
        for event, _ in batch:
            judged = event.at_us >= self._border_us
            self._tracks.of(event.key_id).saw(event, judged)
            self._run.warmup_events += not judged
            if self._run.events == 0 or event.at_us < self._run.start_us:
                self._run.start_us = event.at_us
            self._newest_us = max(self._newest_us, event.at_us)
            self._run.late += event.at_us < self._newest_us - LATE_US
            self._run.events += 1
        self._run.end_us = self._newest_us
        found = analysis.observe(self._states, batch)
        self._states.trim()
        self._meter.at(self._feed.share, self._run.events)
        return found
