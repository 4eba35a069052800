"""What other providers shared against the keys of the partitions that this worker owns, as their traces are made.

A key's trace is compared from its first exchanges on, so an operation that another provider has told of is found before
it has taken much. Keys that were there before an indicator came are compared when it comes. What follows is looked at
again every RECHECK_SEC and at every change of what is held, so a retraction, an allow-list entry or an ended indicator
takes effect within that time, whatever the key does meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Sequence

from msgspec import structs

from app.admin.subjects import Finder
from app.enforcement.campaigns import excuse
from app.enforcement.control import Control
from app.gateway.identity import Hasher
from app.intel import group_keys, local_view
from app.intel.networks import Places, networks_of_systems
from app.intel.warning_list import WarningList
from app.intel.watch import Watch, merged
from app.settings import Settings
from app.state.accounts import AccountStore
from app.state.calls import Client
from app.state.campaigns import CampaignStore
from app.state.intel_hits import Hits, KeyHits, Seen
from app.state.intel_indicators import Indicators, place
from app.state.key_facts import KeyFacts
from app.state.orders import Orders
from app.state.reading import StateReader
from app.state.traces import TraceStore
from app.telemetry import metrics
from app.worker.sharing_count import Counting
from app.worker.sharing_orders import SharingOrders
from detectors.campaign.trace import Trace, cast, decode
from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.profile import Profile
from detectors.sharing.again import Again
from detectors.sharing.common import Tally

log = logging.getLogger(__name__)

SHARE_CHECK_SEC = 1.0
"""How often traces that were made meanwhile are compared, and what is held is asked for its number."""

REFRESH_SEC = 5.0
"""What is held is read at most so often: a long bundle changes it again and again while it is taken in."""

RECHECK_SEC = 20.0
"""How often what follows from hits is looked at again when nothing changed but the time."""

MOST_PENDING = 100_000
"""Keys that wait to be compared; those beyond it are compared at their next trace."""

SLICE = 500

_Found = tuple[str, int, tuple[Seen, ...]]
"""Key, partition, and what the key shows."""


class Sharing:
    """Over one deployment's state.

    Args:
        client: of the state server.
        settings: the whole tree; `intel` says which keys of trust groups there are, and what may follow.
        control: policy and allow-list as they change.

    Raises:
        ConfigError: a file that `intel` names cannot be read, or is not as it must be.
        BadInput: the address plan cannot be read.
    """

    def __init__(self, client: Client, settings: Settings, control: Control) -> None:
        partitions = settings.state.partitions
        orders, accounts = Orders(client), AccountStore(client)
        finder = Finder(StateReader(client, partitions), accounts, KeyFacts(client, partitions), orders)
        self._keys = {group: group_keys.by_epoch(ring) for group, ring in group_keys.load(settings.intel.keys_dir).items()}
        pepper = settings.identity.pepper.get_secret_value()
        self._places = Places(Hasher(pepper) if pepper else None, networks_of_systems(settings.identity.networks_file))
        self._warning = WarningList.load(settings.intel.warning_list_file)
        self._indicators = Indicators(client)
        self._hits = Hits(client)
        self._traces = TraceStore(client, partitions)
        self._campaigns = CampaignStore(client)
        self._finder = finder
        self._control = control
        self._orders = SharingOrders(client, finder, control, settings.intel.automatic)
        self._counting = Counting(client)
        self._watch = Watch((), {}, {}, self._places, self._warning.without, 0)
        self._revision = -1
        self._again = Again()
        self._pending: dict[str, tuple[int, Trace]] = {}
        self._names: frozenset[str] = frozenset()  # of what is looked for
        self._swept: dict[int, frozenset[str]] = {}  # partition → what its keys were compared with; the latest last
        self._refreshed = self._rechecked = 0.0

    def note(self, partition: int, traces: Sequence[Trace]) -> None:
        """Traces that were just stored; compared at the next step."""
        if not len(self._watch):
            return
        for trace in traces:
            if len(self._pending) < MOST_PENDING or trace.key_id in self._pending:
                self._pending[trace.key_id] = (partition, trace)

    def carries(self, fp: Fingerprint) -> bool:
        """Whether an exchange has something that is looked for, so that its key is compared at once; from any thread."""
        return self._watch.carries(fp)

    def after(self, profile: Profile, event: Event, fp: Fingerprint, exchanges: int) -> Trace:
        """The trace to compare of a key after such an exchange."""
        return self._again.compared(cast(profile, event, fp, exchanges), fp, self._watch.named)

    async def step(self, owned: Collection[int]) -> bool:
        """Compares what waits; true when there may be more to do at once.

        Raises:
            StateUnavailable: the server is away; what waited is compared at a key's next trace.
        """
        changed = await self._refresh()
        pending, self._pending = self._pending, {}
        if pending:
            await self._compare(list(pending.values()))
        if not len(self._watch) and not changed and not self._rechecked:
            return False
        if changed or time.monotonic() - self._rechecked >= RECHECK_SEC:
            await self._recheck(owned)
            self._rechecked = time.monotonic()
        return await self._sweep(owned)

    async def _refresh(self) -> bool:
        """Makes the watch anew where what is held has changed, or some of it has ended."""
        if time.monotonic() - self._refreshed < REFRESH_SEC:
            return False
        revision = await self._indicators.revision()
        self._refreshed = time.monotonic()
        if revision == self._revision:
            return False
        held, standings = await self._indicators.all(), await self._indicators.standings()
        self._watch = await asyncio.to_thread(
            Watch, held, standings, self._keys, self._places, self._warning.without, _now_us()
        )
        names = frozenset(f"{one.name} {one.content_us}" for one in self._watch.held.values())
        await self._counting.look_for(names, _now_us())
        self._revision, self._names = revision, names
        metrics.SHARED_LOOKED_FOR.set(len(self._watch))
        return True

    async def _compare(self, traces: Sequence[tuple[int, Trace]]) -> None:
        """Compares keys that have just been active: partition and trace of each."""
        now_us = _now_us()
        with metrics.SHARED_MATCH_SECONDS.time():
            found = await asyncio.to_thread(self._found, traces, now_us)
        await self._take(found, active=True)

    def _found(self, traces: Sequence[tuple[int, Trace]], now_us: int) -> list[_Found]:
        common = self._counting.common
        return [
            (trace.key_id, partition, seen)
            for partition, trace in traces
            if (seen := self._watch.seen(trace, now_us, common))
        ]

    async def _take(self, found: Sequence[_Found], *, active: bool) -> None:
        """Adds what keys show to what they have shown before, and decides what follows."""
        for first in range(0, len(found), SLICE):
            part = found[first : first + SLICE]
            known = await self._hits.of([key_id for key_id, _, _ in part])
            rows = []
            for key_id, partition, seen in part:
                before = known.get(key_id)
                shown = {(one.group, one.indicator) for one in before.seen} if before is not None else set()
                for one in seen:
                    if (one.group, one.indicator) not in shown:
                        metrics.SHARED_HITS.labels(kind=one.kind).inc()
                rows.append((key_id, partition, merged(before.seen if before else (), seen), before))
            await self._judge(rows, active=active)

    async def _judge(self, rows: Sequence[tuple[str, int, Sequence[Seen], KeyHits | None]], *, active: bool) -> None:
        """Decides what follows for keys, does it, and writes both down.

        Args:
            rows: key, partition, everything it has shown, and what was decided before.
            active: the keys have just been active; else only what stands is looked at again.
        """
        now_us = _now_us()
        key_ids = [row[0] for row in rows]
        subjects = {one.key_id: one for one in await self._finder.look(key_ids)}
        campaigns = await local_view.own_campaigns(self._campaigns, key_ids)
        kept, gone, ended = [], [], []
        for key_id, partition, seen, before in rows:
            one = subjects[key_id]
            if one.fact.partition is None:  # forgotten meanwhile, or erased
                gone.append(key_id)
                continue
            local = local_view.local_evidence(one, campaigns.get(key_id, ""))
            allowed = (f"key:{key_id}",) if self._control.allowed(key_id, one.org_id) else ()
            excused = excuse(key_id, one.account, allowed)
            # What has led to something already does not wait for the count of a worker that has just begun.
            unsure = self._counting.unsure if before is None or before.effect != "automatic" else ()
            found = self._watch.judged(
                key_id, partition, seen, local, excused, now_us, without=self._counting.common, unsure=unsure
            )
            if found is None:
                gone.append(key_id)
                if before is not None:
                    ended.append((one, before))
                continue
            if before is not None:
                found = structs.replace(found, acted=before.acted, since_us=before.since_us, until_us=before.until_us)
                if found.effect != before.effect:
                    metrics.SHARED_EFFECTS.labels(effect=found.effect).inc()
            else:
                metrics.SHARED_EFFECTS.labels(effect=found.effect).inc()
            kept.append((one, found))
        await self._orders.end([(one, before) for one, before in ended], "what other providers shared no longer holds")
        plan = await self._orders.plan(kept, now_us, active=active)
        await self._orders.end(plan.end, "what led to it no longer holds")
        await self._hits.put(plan.hits)
        await self._hits.drop(gone)
        await self._orders.give(plan.give)

    async def _recheck(self, owned: Collection[int]) -> None:
        async for page in self._hits.all():
            rows = [(one.key_id, one.partition, one.seen, one) for one in page if one.partition in owned]
            for first in range(0, len(rows), SLICE):
                await self._judge(rows[first : first + SLICE], active=False)

    async def _sweep(self, owned: Collection[int]) -> bool:
        """Compares and counts the keys of one partition, where indicators came or it is time; true while more wait."""
        self._swept = {partition: names for partition, names in self._swept.items() if partition in owned}
        if not len(self._watch) or not owned:
            return False
        due = {partition for partition in owned if not self._names <= self._swept.get(partition, frozenset())}
        due |= self._counting.due(owned)
        if due:
            await self._sweep_one(due)
        if await self._counting.ended(owned, _now_us()):
            self._rechecked = float("-inf")
            return True
        return len(due) > 1

    async def _sweep_one(self, due: Collection[int]) -> None:
        # The one that was compared longest ago: indicators that come all the time must not keep the last ones waiting.
        latest = list(self._swept)
        partition = min(due, key=lambda one: (latest.index(one) if one in self._swept else -1, one))
        names, tally = self._names, Tally()
        async for page in self._traces.held(partition):
            await self._past(partition, page.values(), tally)
        after = ""
        while logged := await self._traces.log(partition, after):
            after = logged[-1].id
            await self._past(partition, [entry.data for entry in logged], tally)
        self._swept.pop(partition, None)
        self._swept[partition] = names
        self._counting.add(partition, await asyncio.to_thread(tally.counted))

    async def _past(self, partition: int, page: Iterable[bytes], tally: Tally) -> None:
        """Compares and counts keys as they were at their newest exchanges, whenever that was."""
        traces = {trace.key_id: trace for data in page if (trace := decode(data)) is not None}
        campaigns = await self._campaigns.of_keys(list(traces))
        now_us = _now_us()

        def compared() -> list[_Found]:
            hits = self._watch.fleet(list(traces.values()), now_us)
            for key_id, trace in traces.items():
                shown = [place(group, hit.indicator) for group, hit in hits.get(key_id, ())]
                tally.add(trace, shown, flagged=key_id in campaigns)
            common = self._counting.common
            found = [(key_id, partition, self._watch.shown(traces[key_id], some, common)) for key_id, some in hits.items()]
            return [one for one in found if one[2]]

        await self._take(await asyncio.to_thread(compared), active=False)


def _now_us() -> int:
    return time.time_ns() // 1000
