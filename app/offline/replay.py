"""Replay: a log through the very analysis that the live worker runs, in event time, to a verdict per key.

Without a saved model a replay has two parts. The history, up to the end of the warm-up, builds profiles and gives the
feature rows a peer model is fitted on; then the rest is judged with that model, profiles kept, verdicts begun afresh.
With a saved model everything is judged, as live; verdicts before the end of a warm-up are formed but not reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from app.errors import BadInput
from app.offline.booth import Booth
from app.offline.feeds import Feed, Item
from app.offline.history import Guards, History
from app.offline.labels import KeyLabels, Labelled
from app.offline.linking import Cuts, Linking, Reported
from app.offline.moments import written
from app.offline.progress import Meter, Silent
from app.offline.states import StateTable
from app.offline.tracks import Track, Tracks
from detectors import model as models
from detectors.analysis import Analysis
from detectors.campaign.trace import Trace
from detectors.contract import Verdict
from detectors.event import Event
from detectors.features import FeatureRow, features
from detectors.looks import DAY_US, Dated, Looks
from detectors.scorers.boosted import Boosted

BATCH = 256
"""Exchanges analysed in one call. It changes the speed and never a verdict."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a log is to be judged.

    Attributes:
        warmup_until_us: event time from which verdicts count; None: the middle of the log's span, or its start when a
            saved model judges.
        model: a saved model; None: fit one on the warm-up.
        seed: of the fit.
        labels: what people have found out about some of the keys.
        trees: of the model that is fitted, in place of the shipped ones.
        guards: what the fit does not learn from.
        suspects: model by whose flags the guards go; None: the named rules.
        seen: called with every exchange of the judged part, in order, and before the verdict that it leads to.
        heard: called with every verdict on a key in the judged part, in order.
        look_us: event time between two looks at the whole fleet.
        honest_share: of the keys that a look calls, the share that may be expected to be honest.
        hot_states: entity states kept as objects, at 15 to 30 KB each; the others wait on disk at 2 to 4 KB.
    """

    warmup_until_us: int | None = None
    model: models.Model | None = None
    seed: int = 0
    look_us: int = DAY_US
    honest_share: float = 0.05
    hot_states: int = 20_000
    labels: KeyLabels = field(default_factory=KeyLabels)
    trees: Boosted | None = None
    guards: Guards = field(default_factory=Guards)
    suspects: models.Model | None = None
    seen: Callable[[Event], None] | None = None
    heard: Callable[[Verdict], None] | None = None


@dataclass
class Run:
    """Facts about a replay.

    Attributes:
        judged_from_us: event time from which verdicts count.
        events: exchanges, of which `warmup_events` were earlier than that.
        fitted: the model was fitted on this log's own warm-up.
        peers: keys were compared with their peers; False: only the named rules judged.
        seconds: wall clock.
        looks: at the whole fleet, oldest first.
        called: (key id, p-value) of those that the newest of them calls, the smallest first.
        passes: how often the linker looked for campaigns.
    """

    source: str
    start_us: int = 0
    end_us: int = 0
    judged_from_us: int = 0
    model: str = ""
    fitted: bool = False
    events: int = 0
    warmup_events: int = 0
    seconds: float = 0.0
    peers: bool = True
    young: int = 0
    suspected: int = 0
    looks: list[Dated] = field(default_factory=list)
    called: list[tuple[str, float]] = field(default_factory=list)
    passes: int = 0

    @property
    def events_per_sec(self) -> float:
        """Exchanges per second of wall clock."""
        return self.events / max(1e-9, self.seconds)


@dataclass
class Outcome:
    """What a replay found.

    Attributes:
        ranked: every key of the log, most suspicious first.
        run: facts about the run.
        model: what judged.
        states: of every entity as the last exchange left it; `states.close()` gives their file back.
        labelled: keys of the judged part that have a label, by id.
        campaigns: groups of keys that were reported, the most suspicious first.
    """

    ranked: list[Track]
    run: Run
    model: models.Model
    states: StateTable
    labelled: list[Labelled] = field(default_factory=list)
    campaigns: list[Reported] = field(default_factory=list)
    flagged: list[Track] = field(init=False)

    def __post_init__(self) -> None:
        self.flagged = [track for track in self.ranked if track.flagged]


def play(feed: Feed, plan: Plan, source: str, meter: Meter | None = None) -> Outcome:
    """Play a feed.

    Raises:
        BadInput: nothing could be read, too much of it is malformed, or the warm-up leaves nothing to judge.
        TooLittleHistory: the warm-up holds too little to fit a model on.
    """
    started = time.monotonic()
    player = _Player(feed, plan, source, meter or Silent())
    try:
        outcome = player.play()
    except BaseException:
        player.states.close()
        raise
    outcome.run.seconds = time.monotonic() - started
    return outcome


class _Player:
    def __init__(self, feed: Feed, plan: Plan, source: str, meter: Meter) -> None:
        self._feed = feed
        self._plan = plan
        self._meter = meter
        self._tracks = Tracks()
        self.states = StateTable(plan.hot_states)
        self._run = Run(source)
        self._past: dict[str, Trace] = {}  # newest trace of each key of the history

    def play(self) -> Outcome:
        run = self._run
        border_us = run.judged_from_us = self._find_border()
        model = self._plan.model or self._history(border_us)
        run.model, run.peers = model.id, model.peers is not None
        self._meter.stage("Judging", self._feed.share, run.events)
        analysis = Analysis(model, Looks(self._plan.look_us, self._plan.honest_share))
        booth = Booth(analysis, self._tracks.owner_of)
        linking, cuts = Linking(model, border_us, self._past.values()), Cuts()
        self._past = {}
        for batch in _batches(self._feed.rest(), analysis.looks.counted, cuts):
            booth.count(batch[0][0].at_us)
            rows: list[FeatureRow] = []
            traces: list[Trace] = []
            verdicts = self._step(analysis, batch, rows, traces)
            booth.take(verdicts, rows)
            linking.take(traces)
            linking.count(run.end_us)
            for verdict in verdicts:
                if verdict.entity_kind == "key" and verdict.at_us >= border_us:
                    self._tracks.of(verdict.entity_id).said(verdict)
                    if self._plan.heard is not None:
                        self._plan.heard(verdict)
        if not run.events:
            raise BadInput(f"{run.source}: no exchange could be read{self._damage()}")
        if run.events == run.warmup_events:
            raise BadInput(
                f"the warm-up lasts until {written(border_us)}, but the last exchange of {run.source} is of "
                f"{written(run.end_us)}: nothing is left to judge{self._damage()}"
            )
        run.looks, run.called, run.passes = booth.looks, booth.called, linking.passes
        run.judged_from_us = max(border_us, run.start_us)
        ranked = self._tracks.ranked()
        return Outcome(ranked, run, model, self.states, self._labelled(ranked), linking.reported())

    def _labelled(self, ranked: Sequence[Track]) -> list[Labelled]:
        """What the replay made of the keys that people know about."""
        found = []
        for track in ranked:
            finding = self._plan.labels.of(track.key_id)
            if finding is None or not track.requests:
                continue
            state = self.states["key", track.key_id]
            group = features(state.profile, state.profile.last_at_us).groups[0]
            found.append(Labelled(track.key_id, finding, group, track.judged, track.flagged))
        self.states.trim()
        return sorted(found, key=lambda one: one.key_id)

    def _find_border(self) -> int:
        if self._plan.warmup_until_us is not None:
            return self._plan.warmup_until_us
        if self._plan.model is not None:
            return 0
        self._meter.stage("Finding the time span")
        first_us, last_us = self._feed.span(self._meter)
        return (first_us + last_us) // 2

    def _history(self, border_us: int) -> models.Model:
        self._meter.stage("History")
        analysis = Analysis(self._plan.suspects or models.rules_only())
        history = History(self._tracks.owner_of, labels=self._plan.labels, guards=self._plan.guards)
        for item in self._feed.history(border_us):
            # One at a time: a row must show the profile as it was when the key was scored.
            traces: list[Trace] = []
            history.take(self.states, self._step(analysis, [item], traces=traces))
            for one in traces:
                self._past[one.key_id] = one
        if not self._run.events:
            self._explain_empty_history(border_us)
        self._meter.stage("Fitting the model")
        model = history.fit(self.states, self._plan.seed, self._plan.trees)
        history.forget_verdicts(self.states)
        self._run.fitted = True
        self._run.young, self._run.suspected = len(history.young), len(history.flagged)
        return model

    def _explain_empty_history(self, border_us: int) -> None:
        first = next(self._feed.rest(), None)
        if first is None:
            raise BadInput(f"{self._run.source}: no exchange could be read{self._damage()}")
        raise BadInput(
            f"the warm-up lasts until {written(border_us)}, but the first exchange of {self._run.source} is of "
            f"{written(first[0].at_us)}: let it end later, or judge with a saved model"
        )

    def _damage(self) -> str:
        return f" ({'; '.join(self._feed.notes)})" if self._feed.notes else ""

    def _step(
        self,
        analysis: Analysis,
        batch: Sequence[Item],
        rows: list[FeatureRow] | None = None,
        traces: list[Trace] | None = None,
    ) -> list[Verdict]:
        run = self._run
        for event, _ in batch:
            judged = event.at_us >= run.judged_from_us
            self._tracks.of(event.key_id).saw(event, judged)
            if judged and self._plan.seen is not None:
                self._plan.seen(event)
            run.warmup_events += not judged
            run.start_us = min(run.start_us or event.at_us, event.at_us)
            run.end_us = max(run.end_us, event.at_us)
            run.events += 1
        found = analysis.observe(self.states, batch, rows, traces)
        self.states.trim()
        self._meter.at(self._feed.share, run.events)
        return found


def _batches(items: Iterator[Item], counted: Callable[[int], int], cuts: Cuts) -> Iterator[list[Item]]:
    """Batches that end where a look is due: what comes behind it may stand under it; and where a pass of the linker is.

    Args:
        items: exchanges.
        counted: event time of an exchange → the newest interval that may be looked at before it.
        cuts: says where a pass must be made before an exchange is taken.
    """
    batch: list[Item] = []
    newest: int | None = None
    for item in items:
        number = counted(item[0].at_us)
        late = cuts.before(item[0])
        if batch and (late or len(batch) == BATCH or (newest is not None and number > newest)):
            yield batch
            batch = []
        if not batch:
            cuts.begin()
        newest = number if newest is None else max(newest, number)
        batch.append(item)
    if batch:
        yield batch
