"""One partition: read → decode → analyse → commit, batch after batch.

An entry that cannot be applied goes to the dead letters and never holds up the ones behind it. Whatever fails between
reading and committing, memory is thrown away and the next step starts from what is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from app.enforcement.control import Control
from app.errors import LeaseLost, StateUnavailable
from app.state.keys import BALLOT_RING
from app.state.partition import Batch, DeadEntry, Entry, PartitionStore, parse_id
from app.telemetry import metrics
from app.worker import rows
from app.worker.casts import Casting
from app.worker.effects import add_verdicts
from app.worker.flags import add_flags
from app.worker.hot import Entity, HotStates
from app.worker.marks import add_marks
from detectors.analysis import REFUSED, Analysis, EntityState
from detectors.campaign.trace import Trace
from detectors.contract import Level, Verdict
from detectors.event import BadEvent, Event, decode
from detectors.features import FeatureRow
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.looks import ballots, encode
from detectors.profile import Profile
from detectors.tally import is_generated

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Work:
    """One batch on its way: what decoded, what did not, and the states it touches."""

    items: list[tuple[str, Event, Fingerprint]] = field(default_factory=list)
    dead: list[DeadEntry] = field(default_factory=list)
    states: dict[Entity, EntityState] = field(default_factory=dict)
    leaked: int = 0
    traces: list[Trace] = field(default_factory=list)

    def entities(self) -> list[Entity]:
        """Every key and organisation of the batch, once, in order of appearance."""
        found: dict[Entity, None] = {}
        for _, event, _ in self.items:
            found["key", event.key_id] = None
            if event.org_id:
                found["org", event.org_id] = None
        return list(found)


class Watching(Protocol):
    """What other providers shared, as a consumer sees it."""

    def carries(self, fp: Fingerprint) -> bool:
        """An exchange has something that is looked for."""
        ...

    def after(self, profile: Profile, event: Event, fp: Fingerprint, exchanges: int) -> Trace:
        """The trace to compare of a key after such an exchange."""
        ...

    def note(self, partition: int, traces: Sequence[Trace]) -> None:
        """Traces that are stored now, and those of keys that did something that is looked for."""
        ...


class _Known(TypedDict):
    """Ids of keys: excused by their contract, or with a leak alarm, before the batch; on the allow-list."""

    excused: set[str]
    leaking: set[str]
    allowed: frozenset[str]


class Consumer:
    """Applies the entries of one leased partition in order."""

    def __init__(
        self,
        store: PartitionStore,
        analysis: Analysis,
        control: Control,
        batch_entries: int,
        hot: HotStates,
        link: bool = True,
        watching: Watching | None = None,
    ) -> None:
        self._store = store
        self._analysis = analysis
        self._control = control
        self._batch_entries = batch_entries
        self.hot = hot
        self.erased: dict[str, int] = {}
        """Key id → unix µs up to which its events are not counted any more, see `app.worker.upkeep`."""
        self._cursor: str | None = None
        self._link = link
        self._watching = watching
        self._reached_us = 0

    async def step(self) -> int:
        """Reads and applies one batch; returns how many entries left the stream.

        Raises:
            LeaseLost: another worker owns the partition, or the commit had been applied already.
            StateUnavailable: the server is away.
        """
        try:
            if self._cursor is None:
                self._reached_us = await self._store.reached_us() if self._link else 0
                self._cursor = await self._store.cursor()
            entries = await self._store.read(self._cursor, self._batch_entries)
            if entries:
                with metrics.BATCH_SECONDS.time():
                    await self._apply(entries)
        except BaseException:
            self._cursor = None
            self.hot.clear()
            raise
        return len(entries)

    async def _apply(self, entries: Sequence[Entry]) -> None:
        try:
            work = await asyncio.to_thread(_read_entries, entries, self._store.lease.partition, self.erased)
            batch, changes, scored = await self._analyse(entries, work)
        except (StateUnavailable, LeaseLost):
            raise
        except Exception as error:
            _log_fault(self._store.lease.partition, error)
            if len(entries) > 1:  # find the entry that does it: states on the server are still those before the batch
                for entry in entries:
                    await self._apply([entry])
                return
            why = f"analysis failed: {type(error).__name__}"
            work, changes, scored = _Work(), [], 0
            batch = self._batch(entries)
            batch.dead = [DeadEntry(entries[0].id, entries[0].data, why)]
        dropped = await self._store.commit(batch)
        self._cursor = batch.last
        self._reached_us = batch.reached_us
        metrics.TRACES_DROPPED.inc(self._store.traces_dropped)
        self.hot.put(work.states)
        metrics.EVENTS_DROPPED.labels(reason="archive_behind").inc(dropped)
        _count(batch, changes, scored)
        metrics.LEAKED.inc(work.leaked)
        if self._watching is not None and work.traces:
            self._watching.note(self._store.lease.partition, work.traces)

    def _batch(self, entries: Sequence[Entry]) -> Batch:
        assert self._cursor is not None
        return Batch(cursor=self._cursor, last=entries[-1].id, reached_us=self._reached_us)

    async def _analyse(self, entries: Sequence[Entry], work: _Work) -> tuple[Batch, list[Level], int]:
        entities = work.entities()
        work.states = self.hot.take(entities)
        missing = [entity for entity in entities if entity not in work.states]
        stored = await self._store.load_states(missing)
        batch = self._batch(entries)
        batch.dead = work.dead
        return await asyncio.to_thread(self._compute, work, stored, batch)

    def _compute(self, work: _Work, stored: dict[Entity, bytes], batch: Batch) -> tuple[Batch, list[Level], int]:
        states = work.states
        for entity, data in stored.items():
            try:
                states[entity] = EntityState.from_bytes(data)
            except Exception as error:  # of a release that wrote them otherwise: `observe` starts the entity anew
                metrics.STATES_RESET.inc()
                _log_fault(self._store.lease.partition, error)
        judged = {
            name: state.verdict for (kind, name), state in states.items() if kind == "key" and state.verdict is not None
        }
        before = {name: verdict.level for name, verdict in judged.items()}
        known = _Known(
            excused={name for name, verdict in judged.items() if verdict.authorised},
            leaking={name for name, verdict in judged.items() if verdict.leaking},
            allowed=self._allowed(work),
        )
        leaked = _leaked(states)
        rows_behind: list[FeatureRow] = []
        casting = Casting(states, ((entry_id, event) for entry_id, event, _ in work.items), batch.reached_us)
        traces: list[Trace] | None = [] if self._link else None
        verdicts = self._analysis.observe(states, [(event, fp) for _, event, fp in work.items], rows_behind, traces)
        if traces is not None:
            batch.traces, batch.reached_us = casting.due(traces), casting.reached_us
            if self._watching is not None:
                work.traces = [*traces, *_more(self._watching, states, work)]
        policy = self._control.policy  # one for the whole batch
        changes = add_verdicts(batch, verdicts, before, policy, **known)
        add_flags(batch, verdicts, rows_behind, before, self._analysis.model, policy, **known)
        self._add_ballots(batch, verdicts, rows_behind, work)
        work.leaked = max(0, _leaked(states) - leaked)
        for entity, state in states.items():
            batch.states[entity] = state.to_bytes()
        for entry_id, event, fp in work.items:
            at_ms = event.at_us // 1000
            batch.seen[event.key_id] = max(at_ms, batch.seen.get(event.key_id, 0))
            batch.rows.append((entry_id, rows.encode(event, fp)))
            if event.mark_profile:
                add_marks(batch, event)
        return batch, changes, len(verdicts)

    def _add_ballots(
        self, batch: Batch, verdicts: Sequence[Verdict], rows_behind: Sequence[FeatureRow], work: _Work
    ) -> None:
        model, every_us = self._analysis.model, self._analysis.looks.every_us
        found = ballots(model, verdicts, rows_behind, {event.key_id: event.org_id for _, event, _ in work.items}, every_us)
        # A clock that is days ahead must not take the place of the intervals that go on.
        latest = parse_id(batch.last)[0] * 1000 // every_us + 1
        batch.ballots = {name: encode(one) for name, one in found.items() if name[0] <= latest}
        batch.ballot_model = model.id
        batch.ballot_ttl_sec = BALLOT_RING * every_us // 1_000_000

    def _allowed(self, work: _Work) -> frozenset[str]:
        """Ids of the batch's keys that the allow-list names at the time of their last exchange in it.

        Event time, so that a worker that is behind, or a second attempt, does what would have been done then. When an entry
        was put does not matter: what its key did before is let go, too.
        """
        last = {event.key_id: event for _, event, _ in work.items}
        return frozenset(
            key_id for key_id, event in last.items() if self._control.allowed(key_id, event.org_id, event.at_us)
        )


def _more(watching: Watching, states: Mapping[Entity, EntityState], work: _Work) -> list[Trace]:
    """Traces of keys that have just done something that is looked for, though none is due: an operation that hides among
    other requests shows itself now and then. They are not for the linker, which knows the same traces in a replay."""
    newest = {
        event.key_id: (event, fp)
        for _, event, fp in work.items
        if event.outcome != REFUSED and is_generated(event) and watching.carries(fp)
    }
    made = []
    for key_id, (event, fp) in newest.items():
        state = states.get(("key", key_id))
        if state is not None:
            made.append(watching.after(state.profile, event, fp, state.exchanges))
    return made


def _read_entries(entries: Sequence[Entry], partition: int, erased: Mapping[str, int]) -> _Work:
    work = _Work()
    for entry in entries:
        try:
            event = decode(entry.data)
            rows.check(event)
        except BadEvent as error:
            work.dead.append(DeadEntry(entry.id, entry.data, str(error)))
            continue
        if erased and event.at_us <= erased.get(event.key_id, -1):
            metrics.EVENTS_ERASED.inc()
            continue
        try:
            work.items.append((entry.id, event, fingerprint(event)))
        except Exception as error:
            _log_fault(partition, error)
            work.dead.append(DeadEntry(entry.id, entry.data, f"fingerprint failed: {type(error).__name__}"))
    return work


def _leaked(states: dict[Entity, EntityState]) -> int:
    """Unique valuable responses that the keys among these have taken while they were above clear."""
    return sum(state.verdict.leaked for (kind, _), state in states.items() if kind == "key" and state.verdict is not None)


def _log_fault(partition: int, error: Exception) -> None:
    """Says where it broke without the message, which may quote client text."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
    log.error("what partition %s holds could not be analysed: %s at %s", partition, type(error).__name__, place)


def _count(batch: Batch, changes: Sequence[Level], scored: int) -> None:
    metrics.EVENTS_APPLIED.inc(len(batch.rows))
    metrics.EVENTS_DEAD.inc(len(batch.dead))
    metrics.SCORED.inc(scored)
    for level in changes:
        metrics.VERDICTS.labels(level=level.name.lower()).inc()
