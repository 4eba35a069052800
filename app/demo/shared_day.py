"""A provider's last day: what an operation had taken before it was caught, with and without what was shared.

The exchanges, the verdicts and the passes of the linker are the same both times; what was shared only adds to them. A key
is *caught* when its own verdict is suspect, when it belongs to a campaign that is suspect, or when what was shared leads to
action. From then on nothing more leaks through it: the policy of the example suspends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from app.intel.watch import Watch, merged
from app.offline.linking import Linking
from app.state.intel_hits import Seen
from detectors.analysis import REFUSED, Analysis, EntityState
from detectors.campaign.trace import Trace, cast
from detectors.contract import Level
from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.model import Model
from detectors.sharing.again import Again
from detectors.tally import is_generated


@dataclass(slots=True)
class Way:
    """One way of using what was shared.

    Attributes:
        name: for the table.
        watch: what is looked for, with the standing of who reported it; None: nothing is.
        agreed: the same after a person has looked at the first hit and agreed; None: nobody does.
        review_us: how long after the first hit that is.
        leaked: answers that the operation's keys got before they were caught.
        caught: key id → event time; keys of the operation.
        before_first: answers to the operation before its first key was caught; None: none was.
        honest: honest keys that were acted about, or would be.
    """

    name: str
    watch: Watch | None = None
    agreed: Watch | None = None
    review_us: int = 0
    leaked: int = 0
    caught: dict[str, int] = field(default_factory=dict)
    before_first: int | None = None
    honest: set[str] = field(default_factory=set)
    _seen: dict[str, list[Seen]] = field(default_factory=dict)
    _first_us: int = 0

    def look(self, trace: Trace, own: str, at_us: int) -> bool:
        """Whether what was shared leads to action about a key whose trace this is."""
        if self.watch is None:
            return False
        if found := self.watch.seen(trace, at_us):
            self._first_us = self._first_us or at_us
            self._seen[trace.key_id] = merged(self._seen.get(trace.key_id, ()), found)
        seen = self._seen.get(trace.key_id)
        if not seen:
            return False
        reviewed = self.agreed is not None and at_us >= self._first_us + self.review_us
        watch = self.agreed if reviewed and self.agreed is not None else self.watch
        judged = watch.judged(trace.key_id, 0, seen, own, "contract" if trace.authorised else "", at_us)
        return judged is not None and judged.effect == "automatic"


def play(
    items: Iterable[tuple[Event, Fingerprint]],
    model: Model,
    border_us: int,
    operation: Collection[str],
    ways: Collection[Way],
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Plays all exchanges of a provider in order of time, and fills in the ways.

    Args:
        items: exchanges with their fingerprints.
        model: that judges.
        border_us: event time from which campaigns are looked for, and what was shared is.
        operation: key ids of the operation.
        ways: compared with each other.
        progress: told how many exchanges were played, now and then.

    Returns:
        How many answers the operation would have got if nobody had stopped it.
    """
    analysis, states = Analysis(model), dict[tuple[str, str], EntityState]()
    linking, again = Linking(model, border_us), Again()
    own: dict[str, str] = {}  # key id → evidence of the provider's own
    flagged: dict[str, int] = {}  # key id → when the provider caught it by itself
    wanted, passes = 0, 0
    for number, (event, fp) in enumerate(items):
        linking.count(event.at_us)
        if linking.passes != passes:
            passes = linking.passes
            _campaigns(linking, own, flagged, event.at_us)
        if event.at_us >= border_us and event.key_id in operation and event.outcome == "complete":
            wanted += 1
            for way in ways:
                if event.key_id not in way.caught and event.key_id not in flagged:
                    way.leaked += 1
                if not way.caught and not any(key in flagged for key in operation):
                    way.before_first = (way.before_first or 0) + 1
        traces: list[Trace] = []
        for verdict in analysis.observe(states, [(event, fp)], None, traces):
            if verdict.entity_kind == "key" and event.at_us >= border_us:
                if verdict.level >= Level.WATCH:
                    own.setdefault(verdict.entity_id, f"our own verdict is {verdict.level.name.lower()}")
                if verdict.level >= Level.SUSPECT:
                    flagged.setdefault(verdict.entity_id, event.at_us)
        linking.take(traces)
        watch = next((way.watch for way in ways if way.watch is not None), None)  # all of them look for the same
        if watch is not None and event.outcome != REFUSED and is_generated(event) and watch.carries(fp):
            state = states["key", event.key_id]
            # As a live worker does, for this alone.
            traces.append(again.compared(cast(state.profile, event, fp, state.exchanges), fp, watch.named))
        for trace in traces if event.at_us >= border_us else ():
            for way in ways:
                if way.look(trace, own.get(trace.key_id, ""), event.at_us):
                    if trace.key_id in operation:
                        way.caught.setdefault(trace.key_id, event.at_us)
                    else:
                        way.honest.add(trace.key_id)
        if number % 200 == 0:
            progress(number)
    for way in ways:
        for key_id, at_us in flagged.items():
            if key_id in operation:
                way.caught[key_id] = min(at_us, way.caught.get(key_id, at_us))
            else:
                way.honest.add(key_id)
    return wanted


def _campaigns(linking: Linking, own: dict[str, str], flagged: dict[str, int], at_us: int) -> None:
    for campaign in linking.campaigns.values():
        if campaign.level >= Level.SUSPECT and not campaign.closed and not campaign.merged_into:
            for member in campaign.members:
                own.setdefault(member.key_id, f"belongs to our own campaign {campaign.id}")
                flagged.setdefault(member.key_id, at_us)


def less(with_it: Way, without: Way) -> float:
    """By which share fewer answers leaked."""
    return 1.0 - with_it.leaked / without.leaked if without.leaked else 0.0


Ways = Mapping[str, Way]
