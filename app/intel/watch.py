"""Everything that is looked for, and what it means that a key shows some of it. Made anew whenever what is held changes.

No clock and no state is read here, so the worker, a look back into the archive and the example all judge alike.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from msgspec import structs

from app.intel.networks import Places
from app.intel.voices import Voices
from app.state.intel_hits import KeyHits, Seen
from app.state.intel_indicators import Held, Standing, place
from detectors.campaign.trace import Kind, Trace, grams, wordings
from detectors.fingerprint import Fingerprint
from detectors.sharing.indicator import PLAIN, Indicator
from detectors.sharing.match import Hit, Index
from detectors.sharing.tokens import GroupKey
from detectors.sharing.trust import Effect, Report, effect, independent, score

MOST_MARKS = 100_000
"""Of one member's plain indicators, with those that pass it: each is a keyed hash, and wide networks are thousands."""

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
        self.held: dict[str, Held] = {
            one.name: structs.replace(one, indicator=left)
            for one in held
            if one.counts(now_us) and (left := allowed(one.indicator)) is not None
        }
        self.voices = Voices(self.held, dict(standings), now_us)
        groups: defaultdict[str, list[Indicator]] = defaultdict(list)
        for one in self.held.values():
            groups[one.group].append(one.indicator)
        self._indexes = {}
        for group, indicators in groups.items():
            marks = self._marks(group, indicators, places)
            behind = self.voices.behind(group, [one.id for one in indicators])
            index = Index(indicators, keys.get(group, {}), marks, behind)
            if len(index):
                self._indexes[group] = index

    def _marks(self, group: str, indicators: Iterable[Indicator], places: Places) -> dict[str, list[int]]:
        """Id of a plain indicator → marks of keys that show it."""
        marks: dict[str, list[int]] = {}
        spent: Counter[str] = Counter()
        for one in indicators:
            owner = self.held[place(group, one.id)].owner
            if one.kind in PLAIN and spent[owner] < MOST_MARKS and (found := places.marks(one)):
                marks[one.id] = found
                spent[owner] += len(found)
        return marks

    def __len__(self) -> int:
        """How many can be found in traces."""
        return sum(len(index) for index in self._indexes.values())

    @property
    def indexes(self) -> Mapping[str, Index]:
        """Trust group → what is looked for of it."""
        return self._indexes

    def named(self, mark: int) -> bool:
        """Whether anything looked for names a mark."""
        return any(index.shown(mark) for index in self._indexes.values())

    def carries(self, fp: Fingerprint) -> bool:
        """Whether one exchange has a wording, or a form of answer, that anything looked for names."""
        for index in self._indexes.values():
            if any(index.shown(kind << 32 | item) for kind, item in wordings(fp) if index.names(kind)):
                return True
            if index.names(Kind.GRAM) and any(index.shown(Kind.GRAM << 32 | item) for item in grams(fp)):
                return True
        return False

    def seen(self, trace: Trace, now_us: int, without: Container[str] = ()) -> tuple[Seen, ...]:
        """What a key shows now, the strongest first, at most MOST_SEEN.

        Args:
            trace: the key's newest.
            now_us: the present moment.
            without: places of indicators that are not looked for.
        """
        found = {group: index.hits(trace, now_us) for group, index in self._indexes.items()}
        return self.shown(trace, [(group, hit) for group, hits in found.items() for hit in hits], without)

    def fleet(self, traces: Sequence[Trace], now_us: int) -> dict[str, list[tuple[str, Hit]]]:
        """Key id → (trust group, hit) of everything that the key shows, for those that show any.

        Args:
            traces: the newest of each key, each key once.
            now_us: the present moment.
        """
        found: defaultdict[str, list[tuple[str, Hit]]] = defaultdict(list)
        for group, index in self._indexes.items():
            for hit in index.fleet(traces, now_us):
                found[hit.key_id].append((group, hit))
        return found

    def shown(self, trace: Trace, hits: Iterable[tuple[str, Hit]], without: Container[str] = ()) -> tuple[Seen, ...]:
        """What `seen` says, of hits that are known."""
        found = []
        for group, hit in hits:
            name = place(group, hit.indicator)
            if name not in without:
                held, at_us = self.held[name], trace.at_us
                campaign = held.indicator.campaign
                found.append(
                    Seen(hit.indicator, group, campaign, hit.kind, hit.carried, hit.nats, at_us, at_us, held.content_us)
                )
        return self.voices.kept(found)

    def judged(
        self,
        key_id: str,
        partition: int,
        seen: Sequence[Seen],
        local: str,
        excuse: str,
        now_us: int,
        *,
        without: Container[str] = (),
        unsure: Container[str] = (),
    ) -> KeyHits | None:
        """What follows from what a key has shown; None where none of it is looked for any more.

        Args:
            key_id, partition: the key, and where it lives.
            seen: of it, now and before.
            local: evidence of our own against the key, in words; empty without any.
            excuse: why nothing is done about it whatever it shows: its contract, or the allow-list; empty.
            now_us: the present moment, by the clock.
            without: places of indicators that are not looked for.
            unsure: places of those of which it is not known yet how common they are here: nothing follows from them by
                itself.
        """
        still = [one for one in seen if self._counts(one, now_us, without)]
        if not still:
            return None
        every, agreed = self._told(still)
        own = local or (AGREED if agreed else "")
        found = Effect.NOTHING if excuse else effect(every, bool(own), now_us)
        if found is Effect.AUTOMATIC:
            sure, agreed = self._told([one for one in still if place(one.group, one.indicator) not in unsure])
            found = max(Effect.PRIORITY, effect(sure, bool(local or agreed), now_us))
        told = [report for some in every.values() for report in some]
        return KeyHits(
            key_id,
            partition,
            self.voices.kept(still),
            effect=found.name.lower(),
            score=score(told, now_us),
            voices=independent(told, now_us),
            local=own,
            excuse=excuse,
            at_us=now_us,
        )

    def _told(self, seen: Iterable[Seen]) -> tuple[dict[str, list[Report]], bool]:
        """(kind → who reported what a key shows of it, whether a person here agreed with any)."""
        told: defaultdict[str, list[Report]] = defaultdict(list)
        agreed = False
        shown = [(place(one.group, one.indicator), one.kind) for one in seen]
        silenced = self.voices.silenced(name for name, _ in shown)
        for name, kind in shown:
            told[kind] += [one for one in self.voices.of(name) if (name, one.reporter.organisation) not in silenced]
            agreed |= self.held[name].agreed
        return told, agreed

    def _counts(self, one: Seen, now_us: int, without: Container[str]) -> bool:
        name = place(one.group, one.indicator)
        held = self.held.get(name)
        # What a key showed of an indicator says nothing about the tokens that its owner has put into it since.
        return held is not None and name not in without and held.content_us == one.content_us and held.counts(now_us)


def merged(before: Sequence[Seen], now: Sequence[Seen]) -> list[Seen]:
    """What a key has shown, each indicator once: as it shows it now, since when it first did; in no order."""
    found = {(one.group, one.indicator): one for one in before}
    for one in now:
        known = found.get((one.group, one.indicator))
        same = known is not None and known.content_us == one.content_us
        first_us = min(known.first_us, one.first_us) if known is not None and same else one.first_us
        found[one.group, one.indicator] = structs.replace(one, first_us=first_us)
    return list(found.values())
