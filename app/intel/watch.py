"""Everything that is looked for, and what it means that a key shows some of it. Made anew whenever what is held changes.

No clock and no state is read here, so the worker, a look back into the archive and the example all judge alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import structs

from app.intel.digesting import reports
from app.intel.networks import Places
from app.state.intel_hits import KeyHits, Seen
from app.state.intel_indicators import Held, Standing, place
from detectors.campaign.trace import Kind, Trace, grams, wordings
from detectors.fingerprint import Fingerprint
from detectors.sharing.indicator import PLAIN, Indicator
from detectors.sharing.match import Index
from detectors.sharing.tokens import GroupKey
from detectors.sharing.trust import Effect, Report, effect, independent, score

MOST_SEEN = 50
"""Indicators that are kept of one key, the strongest: an operation has half a dozen."""

AGREED = "a person here agreed with the report"


class Watch:
    """What is looked for as of one moment.

    Args:
        held: indicators as they are held; what was taken back, set aside or has ended is left out.
        standings: of the reporters.
        keys: trust group → epoch → its key; nothing of a group without keys is compared but plain values.
        places: finds networks and autonomous systems among keys.
        allowed: an indicator without what nobody may list; None where nothing is left of it.
        now_us: the moment.
    """

    def __init__(
        self,
        held: Iterable[Held],
        standings: Mapping[tuple[str, str], Standing],
        keys: Mapping[str, Mapping[str, GroupKey]],
        places: Places,
        allowed: Callable[[Indicator], Indicator | None],
        now_us: int,
    ) -> None:
        self._standings = dict(standings)
        self.held: dict[str, Held] = {
            one.name: structs.replace(one, indicator=left)
            for one in held
            if one.counts(now_us) and (left := allowed(one.indicator)) is not None
        }
        groups: defaultdict[str, list[Indicator]] = defaultdict(list)
        for one in self.held.values():
            groups[one.group].append(one.indicator)
        self._indexes = {}
        for group, indicators in groups.items():
            marks = {one.id: found for one in indicators if one.kind in PLAIN and (found := places.marks(one))}
            index = Index(indicators, keys.get(group, {}), marks)
            if len(index):
                self._indexes[group] = index

    def __len__(self) -> int:
        """How many can be found in traces."""
        return sum(len(index) for index in self._indexes.values())

    @property
    def indexes(self) -> Mapping[str, Index]:
        """Trust group → what is looked for of it."""
        return self._indexes

    def carries(self, fp: Fingerprint) -> bool:
        """Whether one exchange has a wording, or a form of answer, that anything looked for names."""
        for index in self._indexes.values():
            if any(index.shown(kind << 32 | item) for kind, item in wordings(fp) if index.names(kind)):
                return True
            if index.names(Kind.GRAM) and any(index.shown(Kind.GRAM << 32 | item) for item in grams(fp)):
                return True
        return False

    def seen(self, trace: Trace, now_us: int) -> list[Seen]:
        """What a key shows now, the strongest first."""
        found = []
        for group, index in self._indexes.items():
            for hit in index.hits(trace, now_us):
                campaign = self.held[place(group, hit.indicator)].indicator.campaign
                found.append(
                    Seen(hit.indicator, group, campaign, hit.kind, hit.carried, hit.nats, trace.at_us, trace.at_us)
                )
        return sorted(found, key=lambda one: (-one.nats, one.group, one.indicator))[:MOST_SEEN]

    def judged(
        self, key_id: str, partition: int, seen: Sequence[Seen], local: str, excuse: str, now_us: int
    ) -> KeyHits | None:
        """What follows from what a key has shown; None where none of it is looked for any more.

        Args:
            key_id, partition: the key, and where it lives.
            seen: of it, now and before.
            local: evidence of our own against the key, in words; empty without any.
            excuse: why nothing is done about it whatever it shows: its contract, or the allow-list; empty.
            now_us: the present moment, by the clock.
        """
        still = tuple(one for one in seen if self._counts(one, now_us))
        if not still:
            return None
        told: defaultdict[str, list[Report]] = defaultdict(list)
        agreed = False
        for one in still:
            held = self.held[place(one.group, one.indicator)]
            told[one.kind] += reports(held, self._standings)
            agreed |= held.agreed
        every = [report for some in told.values() for report in some]
        own = local or (AGREED if agreed else "")
        found = Effect.NOTHING if excuse else effect(told, bool(own), now_us)
        return KeyHits(
            key_id,
            partition,
            still[:MOST_SEEN],
            effect=found.name.lower(),
            score=score(every, now_us),
            voices=independent(every, now_us),
            local=own,
            excuse=excuse,
            at_us=now_us,
        )

    def _counts(self, one: Seen, now_us: int) -> bool:
        held = self.held.get(place(one.group, one.indicator))
        return held is not None and held.counts(now_us)


def merged(before: Sequence[Seen], now: Sequence[Seen]) -> list[Seen]:
    """What a key has shown, each indicator once: as it shows it now, since when it first did; the strongest first."""
    found = {(one.group, one.indicator): one for one in before}
    for one in now:
        known = found.get((one.group, one.indicator))
        first_us = one.first_us if known is None else min(known.first_us, one.first_us)
        found[one.group, one.indicator] = structs.replace(one, first_us=first_us)
    return sorted(found.values(), key=lambda one: (-one.nats, one.group, one.indicator))
