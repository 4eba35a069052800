"""Received indicators against exchanges of the past: which keys would have hit them, since when, and what they have taken.

A trace is of now; an exchange of last month is in an archive. So what a trace's marks need is counted again, exchange by
exchange and with the same decay, but only of marks that some indicator names: a key that carries none of them costs two
numbers and its sampling settings. After every exchange it is known whether the trace cast then would have hit. The sketches
of a profile may miss a mark beside many others, which is counted exactly here: what live matching shows, looking back shows
too, if both began with the key's first exchange.

What is compared is valid at the moment of looking, not at the time of the exchange: that is the point of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from detectors.analysis import REFUSED
from detectors.campaign.trace import LEAST_SHARE, WRITING, Kind, grams, quantised, setup, standing, wordings
from detectors.event import Event
from detectors.fingerprint import Fingerprint
from detectors.fingerprint.hashing import digest
from detectors.profile.layout import DISTINCTS, GRAM_MEMORY, TOPS
from detectors.profile.reading import parameters
from detectors.sharing.again import WITHIN_US, marks_of_exchange
from detectors.sharing.indicator import DAY_US, VALID_DAYS
from detectors.sharing.match import LEAST_HABIT, Hit, Index
from detectors.sketch.decay import WEEK
from detectors.sketch.distinct import Distinct
from detectors.sketch.topk import SpaceSaving
from detectors.tally import is_generated, is_valuable

_GRAM = Kind.GRAM << 32
_SETUP = Kind.SETUP << 32
_SETS_REMEMBERED = 1 << 16
_SETUPS_REMEMBERED = 1 << 18


@dataclass(frozen=True, slots=True)
class Past:
    """One key showed one indicator.

    Attributes:
        hit: the strongest of the key on the indicator.
        first_us: event time of the first exchange after which it was hit.
        last_us: of the last one.
    """

    hit: Hit
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class KeyPast:
    """What one key showed.

    Attributes:
        key_id: whose.
        hits: one of each indicator, the strongest first.
        first_us: event time of the first exchange after which anything was hit: seen at once, it had been seen then.
        exchanges: since then, that one included; what the service refused is not in it.
        taken: different valuable responses since then, see `Distinct` for the error.
        authorised: by the newest exchange its contract allows some use that looks like harvesting.
    """

    key_id: str
    hits: tuple[Past, ...]
    first_us: int
    exchanges: int
    taken: int
    authorised: bool


class _Key:
    """One key: sums at a landmark of WEEK, see `detectors.sketch.decay`."""

    __slots__ = (
        "authorised",
        "exchanges",
        "generated",
        "grams",
        "habits",
        "hits",
        "landmark",
        "last",
        "settings",
        "shown",
        "sums",
        "taken",
    )

    def __init__(self) -> None:
        self.landmark = 0
        self.generated = 0.0
        self.authorised = False
        self.settings: SpaceSaving | None = None
        self.sums: dict[int, float] | None = None  # of marks that an indicator names
        self.grams: list[frozenset[int]] | None = None  # of the last GRAM_MEMORY exchanges, those that an indicator names
        self.last: dict[int, int] | None = None  # mark that an indicator names → event time of the last exchange with it
        self.habits: frozenset[int] = frozenset()
        self.hits: tuple[Hit, ...] = ()  # of these habits
        self.shown: dict[str, Past] | None = None
        self.taken: Distinct | None = None
        self.exchanges = 0

    def advance(self, at_us: int) -> float:
        """Weight of an exchange at a time."""
        landmark = WEEK.landmark(at_us)
        if landmark > self.landmark:
            factor = WEEK.shift(self.landmark, landmark)
            self.generated *= factor
            if self.sums:
                self.sums = {mark: weight * factor for mark, weight in self.sums.items()}
            if self.settings is not None:
                self.settings.scale(factor)
            self.landmark = landmark
        return WEEK.weight(at_us, self.landmark)


class Lookback:
    """Takes exchanges, those of each key in their order, and knows which keys hit what. One trust group's indicators.

    Args:
        index: what is looked for.
        now_us: the moment of looking: what is not valid then is not looked for, and networks only within the days before it
            for which one is valid, since addresses change hands.
    """

    def __init__(self, index: Index, now_us: int) -> None:
        self._index = index
        self._now_us = now_us
        self._settings = index.names(Kind.SETUP)
        self._networks_from_us = now_us - VALID_DAYS["network"] * DAY_US
        self._keys: dict[str, _Key] = {}
        self._sets: dict[frozenset[int], tuple[Hit, ...]] = {}
        self._setups: dict[tuple[int, str, int], int] = {}

    def take(self, event: Event, fp: Fingerprint) -> None:
        """One exchange; texts are not read."""
        key = self._keys.get(event.key_id)
        if key is None:
            key = self._keys[event.key_id] = _Key()
        key.authorised = bool(event.authorised)
        weight = key.advance(event.at_us)
        written = is_generated(event)
        mine = self._named(_GRAM, grams(fp)) if fp.grams and event.route in WRITING else frozenset()
        if written:
            self._count(key, event, fp, weight, mine)
        if event.outcome == REFUSED:
            return
        habits = self._habits(key, event, weight, mine)
        if written:
            habits |= self._again(key, event, fp)
        if habits != key.habits:
            key.habits, key.hits = habits, self._hits(habits)
        if key.hits:
            _note(key, event.at_us)
        if key.taken is not None:
            key.exchanges += 1
            if written and is_valuable(event):
                key.taken.add(event.chain_digest or event.user_digest or fp.content or digest(event.event_id))

    def found(self) -> Iterator[KeyPast]:
        """The keys that hit anything, in the order of their first exchanges."""
        for key_id, key in self._keys.items():
            if key.shown is None or key.taken is None:
                continue
            hits = [Past(_of(key_id, past.hit), past.first_us, past.last_us) for past in key.shown.values()]
            hits.sort(key=lambda past: (-past.hit.nats, past.hit.indicator))
            first_us = min(past.first_us for past in hits)
            yield KeyPast(key_id, tuple(hits), first_us, key.exchanges, round(key.taken.estimate), key.authorised)

    def __len__(self) -> int:
        return len(self._keys)

    def _named(self, kind: int, items: tuple[int, ...]) -> frozenset[int]:
        shown = self._index.shown
        return frozenset(kind | item for item in items if shown(kind | item))

    def _count(self, key: _Key, event: Event, fp: Fingerprint, weight: float, mine: frozenset[int]) -> None:
        """As `detectors.profile.reading` does for a profile."""
        key.generated += weight
        counted = [kind << 32 | item for kind, item in wordings(fp) if self._index.shown(kind << 32 | item)]
        if mine or key.grams:
            before = key.grams or []
            counted += mine.intersection(_NOTHING.union(*before))
            if fp.grams:
                key.grams = [*before[1 - GRAM_MEMORY :], mine]
                if not any(key.grams):
                    key.grams = None
        if counted:
            sums = key.sums = key.sums or {}
            for mark in counted:
                sums[mark] = sums.get(mark, 0.0) + weight
        if self._settings:
            settings = key.settings = key.settings or SpaceSaving(TOPS["parameters"])
            settings.add(parameters(event), weight)

    def _habits(self, key: _Key, event: Event, weight: float, mine: frozenset[int]) -> frozenset[int]:
        """Marks that an indicator names and that the trace cast now would have as habits."""
        whole = max(1.0, key.generated)
        shares: dict[int, float] = {}
        for mark, total in (key.sums or {}).items():
            if (share := min(1.0, total / whole)) >= LEAST_SHARE:
                shares[mark] = share
        if mine and weight >= LEAST_SHARE * whole:
            for mark in mine:
                shares.setdefault(mark, min(1.0, weight / whole))
        if key.settings is not None:
            for item in key.settings.entries:
                if mark := self._setup(event, item):
                    shares[mark] = min(1.0, key.settings.floor(item) / whole)
        habits = [mark for mark, share in shares.items() if share >= LEAST_SHARE and quantised(share) >= LEAST_HABIT]
        for kind, item in standing(event):
            mark = kind << 32 | item
            if (kind != Kind.NETWORK or event.at_us >= self._networks_from_us) and self._index.shown(mark):
                habits.append(mark)
        return frozenset(habits) if habits else _NOTHING

    def _again(self, key: _Key, event: Event, fp: Fingerprint) -> frozenset[int]:
        """Marks of the exchange that an indicator names, where the key did the same before: `detectors.sharing.again`."""
        mine = [mark for kind, item in wordings(fp) if self._index.shown(mark := kind << 32 | item)]
        if not mine:
            return _NOTHING
        before = key.last or {}
        again = any(event.at_us - before[mark] <= WITHIN_US for mark in mine if mark in before)
        key.last = before | dict.fromkeys(mine, event.at_us)
        return frozenset(mark for mark in marks_of_exchange(fp) if self._index.shown(mark)) if again else _NOTHING

    def _setup(self, event: Event, item: int) -> int:
        """The mark of a client with a model and sampling settings if an indicator names it, else 0."""
        asked = event.client_digest, event.model, item
        found = self._setups.get(asked)
        if found is None:
            mark = _SETUP | setup(event, item)
            found = mark if self._index.shown(mark) else 0
            if len(self._setups) < _SETUPS_REMEMBERED:
                self._setups[asked] = found
        return found

    def _hits(self, habits: frozenset[int]) -> tuple[Hit, ...]:
        if not habits:
            return ()
        found = self._sets.get(habits)
        if found is None:
            # In one order whatever the set's is: sums of weights must not differ in their last place.
            found = tuple(self._index.hits_of("", sorted(habits), self._now_us))
            if len(self._sets) < _SETS_REMEMBERED:
                self._sets[habits] = found
        return found


_NOTHING: frozenset[int] = frozenset()


def _note(key: _Key, at_us: int) -> None:
    if key.shown is None or key.taken is None:
        key.shown, key.taken = {}, Distinct(DISTINCTS["valuable"])
    for hit in key.hits:
        past = key.shown.get(hit.indicator)
        if past is None:
            key.shown[hit.indicator] = Past(hit, at_us, at_us)
        else:
            stronger = hit if hit.nats > past.hit.nats else past.hit
            key.shown[hit.indicator] = Past(stronger, min(past.first_us, at_us), max(past.last_us, at_us))


def _of(key_id: str, hit: Hit) -> Hit:
    return replace(hit, key_id=key_id)
