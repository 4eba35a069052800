"""Links keys of the whole fleet to campaigns: every worker may, and one of them, under a lease, does.

Which moments are looked at, and which traces each pass knows, event time decides (`detectors.campaign.passes`), so that a
replay does the same. Where exchanges wait in a partition, no pass is made that they might belong to, for a while; then it
is made without them.

A pass is stored, and then the traces that it knew go from the logs to the hashes. Whoever stops in between, the next linker
begins with what was stored: of what is still in the logs it tells what that pass knew by the pass each trace is due at.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time

from app.settings import WorkerSettings
from app.state.calls import Client
from app.state.campaigns import CampaignState, CampaignStore, Written
from app.state.erasures import Erasures
from app.state.keys import CAMPAIGN_TTL_SEC, PROFILE_TTL_SEC
from app.state.traces import Logged, TraceStore
from app.telemetry import metrics
from detectors.analysis import Analysis
from detectors.campaign import passes
from detectors.campaign.contract import Campaign
from detectors.campaign.linker import Linker, Pass
from detectors.campaign.trace import Trace, decode
from detectors.contract import Level
from detectors.sketch.decay import DAY_US

log = logging.getLogger(__name__)

LINK_CHECK_SEC = 2.0
"""How often the logs are read, and whether a pass is due."""

LEASE_MS = 60_000

PAUSE_SEC = 60.0
"""After a pass that failed, which would fail again."""

BEHIND_SEC = 300.0
"""How long a partition is waited for that does not get on."""


class Memory:
    """What a linker knows beside its traces: where it stands in the logs, and what it has to settle.

    Attributes:
        linker: as of the newest pass.
        state: what is stored as of that pass.
        at_us: moment up to which every one was thought of.
        read: id of the newest log entry that was read, by partition; empty before any.
        taken: ids of log entries that the next pass will know, by partition, ascending.
    """

    def __init__(self, linker: Linker, state: CampaignState, partitions: int) -> None:
        self.linker = linker
        self.state = state
        self.at_us = state.last_us
        self.read = [""] * partitions
        self.taken: list[list[str]] = [[] for _ in range(partitions)]
        self._seen: list[dict[str, int]] = [{} for _ in range(partitions)]  # key id → event time of its newest trace
        self._waiting: list[tuple[int, int, int, str, Trace]] = []  # heap: due, number, partition, id, trace
        self._number = 0

    def load(self, partition: int, traces: list[Trace]) -> None:
        """Traces that the newest pass knew already."""
        self.linker.load(traces)
        self._note(partition, traces)

    def add(self, partition: int, logged: list[Logged]) -> None:
        """A page of a log, behind what was read of it."""
        for one in logged:
            self.read[partition] = one.id
            found = decode(one.data)
            if found is None:  # of another release; it is of no use to anybody
                self.taken[partition].append(one.id)
            else:
                self._number += 1
                heapq.heappush(self._waiting, (one.due_us, self._number, partition, one.id, found))

    def erase(self, erased: dict[str, int]) -> None:
        """Forgets keys up to the times at which their erasure was asked for."""
        if not erased:
            return
        for seen in self._seen:
            gone = [key_id for key_id, until_us in erased.items() if seen.get(key_id, until_us + 1) <= until_us]
            self.linker.forget(gone)
            for key_id in gone:
                del seen[key_id]
        if any(one[-1].at_us <= erased.get(one[-1].key_id, -1) for one in self._waiting):
            self._waiting = [one for one in self._waiting if one[-1].at_us > erased.get(one[-1].key_id, -1)]
            heapq.heapify(self._waiting)

    def known_already(self) -> None:
        """Puts in what the newest pass knew of what is in the logs: it was not settled any more."""
        for partition, trace in self._ready(self.state.last_us):
            self.load(partition, [trace])

    def next_pass(self, until_us: int) -> bool:
        """Goes on to the next moment at which a pass is made; false where there is none until then."""
        while self.at_us < until_us:
            if not self.linker.fresh:
                # Nothing is new until the next trace: no moment before it is worth a thought.
                due_us = self._waiting[0][0] if self._waiting else until_us + passes.PASS_US
                self.at_us = max(self.at_us, min(until_us, due_us - passes.PASS_US))
                if self.at_us >= until_us:
                    return False
            self.at_us += passes.PASS_US
            for partition, trace in self._ready(self.at_us):
                self.linker.take([trace])
                self._note(partition, [trace])
            if passes.worthwhile(self.at_us, self.linker.last_us, self.linker.fresh, self.linker.known):
                return True
        return False

    def idle(self) -> list[list[str]]:
        """Keys without an exchange for 30 days, by partition, which the linker then knows no more."""
        before_us = self.at_us - PROFILE_TTL_SEC * 1_000_000
        found = []
        for seen in self._seen:
            gone = [key_id for key_id, at_us in seen.items() if at_us < before_us]
            self.linker.forget(gone)
            for key_id in gone:
                del seen[key_id]
            found.append(gone)
        return found

    def _ready(self, at_us: int) -> list[tuple[int, Trace]]:
        found = []
        while self._waiting and self._waiting[0][0] <= at_us:
            _, _, partition, entry_id, trace = heapq.heappop(self._waiting)
            self.taken[partition].append(entry_id)
            found.append((partition, trace))
        return found

    def _note(self, partition: int, traces: list[Trace]) -> None:
        seen = self._seen[partition]
        for trace in traces:
            seen[trace.key_id] = max(trace.at_us, seen.get(trace.key_id, 0))


class LinkJob:
    """One turn after the other: read what is new, make a pass that is due, store it, settle its traces."""

    def __init__(self, client: Client, worker: str, partitions: int, settings: WorkerSettings, analysis: Analysis) -> None:
        self._worker = worker
        self._partitions = partitions
        self._wanted = settings.link
        self._analysis = analysis
        self._traces = TraceStore(client, partitions)
        self._campaigns = CampaignStore(client)
        self._erasures = Erasures(client, partitions)
        self._memory: Memory | None = None
        self._rest_until = 0.0
        self._stuck: tuple[int, float] = (-1, 0.0)  # how far all partitions are, and since when
        self._well_sec = time.monotonic()
        metrics.LINK_AGE_SECONDS.set_function(self._age_sec)

    @property
    def campaigns(self) -> list[Campaign] | None:
        """As the newest stored pass left them; None at a worker that does not link, and while a pass is made."""
        return None if self._memory is None else list(self._memory.linker.campaigns.values())

    async def step(self) -> bool:
        """A turn; true when there may be more to do at once.

        Raises:
            StateUnavailable: the server is away.
        """
        if not self._wanted or time.monotonic() < self._rest_until:
            return False
        if not await self._campaigns.lease(self._worker, LEASE_MS):
            self._forget()
            self._well_sec = time.monotonic()
            return False
        erased = await self._erasures.asked()
        memory = await self._current(erased)
        reached = await self._traces.reached()
        await self._read(memory, erased)
        newest_us = passes.newest(reached.fleet_us)
        until_us, complete = self._until(newest_us, reached.behind_us)
        busy = await asyncio.to_thread(memory.next_pass, until_us)
        if busy:
            await self._pass(memory)
            if not complete:
                metrics.LINK_INCOMPLETE.inc()
                log.warning("campaigns were looked for without a partition that has stayed behind for too long")
        metrics.LINK_KEYS.set(memory.linker.known)
        metrics.LINK_LAG_SECONDS.set(max(0, reached.fleet_us - memory.at_us) / 1e6 if reached.fleet_us else 0)
        if self._memory is not None:  # no pass failed
            self._well_sec = time.monotonic()
        return busy

    def _age_sec(self) -> float:
        """Time since somebody was seen to link; 0 where nobody is to."""
        return time.monotonic() - self._well_sec if self._wanted else 0.0

    async def release(self) -> None:
        """Lets another worker link."""
        self._forget()
        if self._wanted:
            await self._campaigns.release(self._worker)

    def _forget(self) -> None:
        if self._memory is not None:
            self._memory = None
            metrics.LINK_KEYS.set(0)
            metrics.LINK_LAG_SECONDS.set(0)
            _gauge({})

    async def _current(self, erased: dict[str, int]) -> Memory:
        """Memory that belongs to what is stored."""
        state = await self._campaigns.state()
        memory = self._memory
        if memory is not None and memory.state.last_us == state.last_us:
            if memory.state.stored != state.stored:  # a key was erased from campaigns
                memory.linker.campaigns = {one.id: one for one in await self._campaigns.all()}
                memory.state = state
        else:
            self._memory = None  # should loading fail
            linker = Linker(self._analysis.model, await self._campaigns.all(), state.last_us)
            memory = Memory(linker, state, self._partitions)
            for partition in range(self._partitions):
                async for chunk in self._traces.held(partition):
                    found = [one for data in chunk.values() if (one := decode(data)) is not None]
                    memory.load(partition, [one for one in found if one.at_us > erased.get(one.key_id, -1)])
            await self._read(memory, erased)
            memory.known_already()
            self._memory = memory
            _gauge(linker.campaigns)
        return memory

    async def _read(self, memory: Memory, erased: dict[str, int]) -> None:
        for partition in range(self._partitions):
            while page := await self._traces.log(partition, memory.read[partition]):
                memory.add(partition, page)
        memory.erase(erased)

    def _until(self, newest_us: int, behind_us: int | None) -> tuple[int, bool]:
        """Until when passes may be made now, and whether all partitions have come so far."""
        all_us = newest_us if behind_us is None else min(newest_us, passes.newest(behind_us))
        if all_us == newest_us or all_us != self._stuck[0]:
            self._stuck = all_us, time.monotonic()
        late = time.monotonic() - self._stuck[1] > BEHIND_SEC
        return (newest_us, all_us == newest_us) if late else (all_us, True)

    async def _pass(self, memory: Memory) -> None:
        """Makes the pass at the moment that has come, stores it, and settles what it knew."""
        linker, before_us, known = memory.linker, memory.state.last_us, set(memory.linker.campaigns)
        self._memory = None  # until all is done: whatever fails, the next turn begins with what is stored
        new_day = memory.at_us // DAY_US != before_us // DAY_US
        idle = await asyncio.to_thread(memory.idle) if new_day else [[] for _ in range(self._partitions)]
        with metrics.LINK_SECONDS.time():
            made = await self._made(linker, memory.at_us)
        if made is None:
            return
        ended_us = memory.at_us - CAMPAIGN_TTL_SEC * 1_000_000
        forgotten = [one.id for one in linker.campaigns.values() if not _lives(one) and one.at_us < ended_us]
        for name in forgotten:
            del linker.campaigns[name]
        alive = [one.id for one in linker.campaigns.values() if _lives(one)]
        written = Written(made.at_us, made.changed, made.joined, made.left, alive, forgotten)
        state = await self._campaigns.write(memory.state, written)
        if state is None:
            log.warning("a pass over the fleet was not stored: something else was written since it began")
            return
        memory.state = state
        for partition in range(self._partitions):
            await self._traces.settle(partition, memory.taken[partition], idle[partition])
            memory.taken[partition] = []
        self._memory = memory
        _gauge(linker.campaigns)
        _tell(made, known)

    async def _made(self, linker: Linker, at_us: int) -> Pass | None:
        """The pass, made beside the loop; the lease is kept meanwhile. None where it failed; no worker ends of that."""
        task = asyncio.create_task(asyncio.to_thread(linker.step, at_us))
        while not (await asyncio.wait({task}, timeout=LEASE_MS / 3000))[0]:
            await self._campaigns.lease(self._worker, LEASE_MS)
        error = task.exception()
        if error is None:
            return task.result()
        # Without the message, which may quote what it came upon.
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
        log.error("campaigns could not be looked for: %s at %s", type(error).__name__, place)
        metrics.LINK_FAILURES.inc()
        self._rest_until = time.monotonic() + PAUSE_SEC
        return None


def _lives(one: Campaign) -> bool:
    return not one.closed and not one.merged_into


def _gauge(campaigns: dict[str, Campaign]) -> None:
    levels = [one.level for one in campaigns.values() if _lives(one)]
    for level in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED):
        metrics.CAMPAIGNS.labels(level=level.name.lower()).set(levels.count(level))


def _tell(made: Pass, known: set[str]) -> None:
    """A line for each campaign that was formed, is reported since this pass, or was merged; no key is named."""
    for one in made.changed:
        level, size = one.level.name.lower(), len(one.members)
        if one.merged_into:
            log.info("campaign %s was merged into %s: %d keys, level %s", one.id, one.merged_into, size, level)
        elif one.id not in known:
            log.info("campaign %s was formed: %d keys, level %s", one.id, size, level)
        elif one.reported and one.flagged_us == made.at_us:
            log.info("campaign %s is reported: %d keys, level %s", one.id, size, level)
