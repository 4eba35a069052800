"""Received indicators against keys: which are hit, on which independent kinds, how strongly.

The tokens of a behaviour indicator are weighed by how rare they were among the reporter's honest keys. A key *hits* an
indicator if it carries most of that weight. Hits of one campaign's indicators of different kinds are independent of each
other; tokens of one kind are not. Template hits alone, however many, are what every user of a viral app would show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.campaign.trace import MARK_DTYPE, Trace, marks_of
from detectors.sharing.fair import fair_order
from detectors.sharing.indicator import BEHAVIOUR, KINDS, Indicator
from detectors.sharing.tokens import KIND_OF, SCHEME, GroupKey

LEAST_CARRIED = 0.5
"""Share of an indicator's weight that a key must carry to hit it."""

LEAST_HABIT = 0.08
"""Share of a key's exchanges in which a mark is a habit of it, as in its trace."""

MOST_HITS = 1000
"""Of one key: thousands of indicators that name the same wording tell no more than the strongest of them. Of each kind and
of everybody who reports them the strongest come first, so that nobody's flood pushes out what others tell."""

_REMEMBERED = 1 << 18
"""Marks whose indicators are remembered; mostly that there are none. When it is full all are forgotten, and what is common
is soon there again."""

_HABIT_255 = next(share for share in range(256) if share / 255.0 >= LEAST_HABIT)


@dataclass(frozen=True, slots=True)
class Hit:
    """One key shows one indicator.

    Attributes:
        key_id: whose it is.
        indicator: id of the indicator.
        kind: of the indicator.
        carried: share of its weight that the key carries, 0 … 1.
        nats: the weight that it carries, at most 20: tokens of one kind say the same thing twice.
    """

    key_id: str
    indicator: str
    kind: str
    carried: float
    nats: float


_PLAIN_NATS = 2.0
"""What a shared network weighs: little, for honest customers sit in the same ones."""

_LONG = 256
"""Indicators of one mark from which on they are added up as columns: hundreds of thousands may name the same wording."""


class _Lists(NamedTuple):
    """Of each indicator: its weight, when it is valid, its place by id, and whose it is with its kind."""

    weight: NDArray[np.float64]
    valid_from_us: NDArray[np.int64]
    valid_until_us: NDArray[np.int64]
    rank: NDArray[np.int64]
    lot: NDArray[np.int64]


class _Column(NamedTuple):
    """The indicators that name a mark: their numbers, each once, and the weight of the mark in each."""

    numbers: NDArray[np.int64]
    weights: NDArray[np.float64]


_Named = Sequence[tuple[int, float]] | _Column
"""Few of them are plain pairs."""


class Index:
    """Behaviour indicators by their tokens; unknown schemes and epochs are left out, others do not mind.

    Args:
        indicators: as received; other kinds are ignored.
        keys: epoch → key of the trust group.
        marks: id of a plain indicator → marks of keys that show it, where the caller can tell them; any of them is enough.
        behind: id of an indicator → a number of those who stand behind it, the lower the better; 0 where nothing is said.
    """

    def __init__(
        self,
        indicators: Iterable[Indicator],
        keys: Mapping[str, GroupKey],
        marks: Mapping[str, Iterable[int]] | None = None,
        behind: Mapping[str, int] | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._behind = behind or {}
        of: dict[str, dict[str, list[tuple[int, float]]]] = {}
        plain: dict[int, list[tuple[int, float]]] = {}
        self._kinds: set[int] = set()
        self.indicators: list[Indicator] = []
        self._weight: list[float] = []
        # The hash of a mark is asked for again and again: what most keys carry is carried by most keys.
        self._known: dict[int, list[_Named]] = {}
        for one in indicators:
            if marks and one.id in marks:
                self.indicators.append(one)
                self._weight.append(_PLAIN_NATS)
                for mark in marks[one.id]:
                    plain.setdefault(mark, []).append((len(self.indicators) - 1, _PLAIN_NATS))
                continue
            if one.kind not in BEHAVIOUR or one.scheme != SCHEME or one.epoch not in self._keys:
                continue
            number = len(self.indicators)
            self.indicators.append(one)
            self._weight.append(sum(one.weights) or 1.0)
            self._kinds.update(kind for kind, shared in KIND_OF.items() if shared == one.kind)
            place = of.setdefault(one.epoch, {})
            for token, weight in zip(one.tokens, one.weights, strict=True):
                place.setdefault(token, []).append((number, weight))
        self._of = {epoch: {token: _packed(named) for token, named in place.items()} for epoch, place in of.items()}
        self._plain = {mark: _packed(named) for mark, named in plain.items()}

    def __len__(self) -> int:
        return len(self.indicators)

    def hits(self, trace: Trace, at_us: int) -> list[Hit]:
        """What a key shows of what is valid now, the strongest first, at most MOST_HITS.

        Args:
            trace: the key's newest.
            at_us: the moment that indicators must be valid at.
        """
        return self.hits_of(trace.key_id, (mark for mark, share in marks_of(trace) if share >= LEAST_HABIT), at_us)

    def hits_of(self, key_id: str, habits: Iterable[int], at_us: int) -> list[Hit]:
        """What a key with these habits shows, as `hits`.

        Args:
            key_id: the key's.
            habits: marks that it carries in a share LEAST_HABIT of its exchanges or more, each once.
            at_us: the moment that indicators must be valid at.
        """
        carried: dict[int, float] = {}
        columns: list[_Column] = []
        for mark in habits:
            for named in self._named(mark):
                if isinstance(named, _Column):
                    columns.append(named)
                    continue
                for number, weight in named:
                    carried[number] = carried.get(number, 0.0) + weight
        if columns:
            carried = self._strongest(carried, columns, at_us)
        found = []
        for number, weight in carried.items():
            if weight >= LEAST_CARRIED * self._weight[number]:
                one = self.indicators[number]
                if one.valid_from_us <= at_us < one.valid_until_us:
                    found.append((-round(min(20.0, weight), 2), one.id, number))
        found.sort()
        if len(found) > MOST_HITS:
            kept = fair_order([self._lot(number) for _, _, number in found])[:MOST_HITS]
            found = [found[at] for at in sorted(kept.tolist())]
        return [
            Hit(key_id, name, self.indicators[number].kind, self._part(carried[number], number), -nats)
            for nats, name, number in found
        ]

    def _strongest(self, carried: Mapping[int, float], columns: Sequence[_Column], at_us: int) -> dict[int, float]:
        """Number → weight carried, of the MOST_HITS that are kept."""
        total = np.zeros(len(self.indicators))
        for column in columns:
            total[column.numbers] += column.weights
        for number, weight in carried.items():
            total[number] += weight
        lists = self._lists
        hit = (total >= LEAST_CARRIED * lists.weight) & (lists.valid_from_us <= at_us) & (at_us < lists.valid_until_us)
        numbers = np.flatnonzero(hit)
        nats = np.round(np.minimum(20.0, total[numbers]), 2)
        kept = numbers[np.lexsort((lists.rank[numbers], -nats))]
        if len(kept) > MOST_HITS:
            kept = kept[fair_order(lists.lot[kept])[:MOST_HITS]]
        return {number: float(total[number]) for number in kept.tolist()}

    @cached_property
    def _lists(self) -> _Lists:
        names = sorted(range(len(self.indicators)), key=lambda number: self.indicators[number].id)
        rank = np.empty(len(names), np.int64)
        rank[names] = np.arange(len(names))
        return _Lists(
            np.array(self._weight),
            np.array([one.valid_from_us for one in self.indicators], np.int64),
            np.array([one.valid_until_us for one in self.indicators], np.int64),
            rank,
            np.array([self._lot(number) for number in range(len(names))], np.int64),
        )

    def _lot(self, number: int) -> int:
        one = self.indicators[number]
        return self._behind.get(one.id, 0) * len(KINDS) + KINDS.index(one.kind)

    def _part(self, weight: float, number: int) -> float:
        return round(min(1.0, weight / self._weight[number]), 3)

    def fleet(self, traces: Sequence[Trace], at_us: int) -> Iterator[Hit]:
        """`hits` of many keys, one after the other in their order; each different mark of them is hashed once.

        Args:
            traces: the newest of each key.
            at_us: the moment that indicators must be valid at.
        """
        raw = np.frombuffer(b"".join(trace.marks for trace in traces), MARK_DTYPE)
        count = np.fromiter((len(trace.marks) for trace in traces), np.int64, len(traces)) // MARK_DTYPE.itemsize
        # What no indicator can name is most of it, and needs no hash.
        asked = (raw["share"] >= _HABIT_255) & np.isin(
            raw["kind"], sorted(self._kinds | {mark >> 32 for mark in self._plain})
        )
        marks = raw["kind"][asked].astype(np.uint64) << np.uint64(32) | raw["item"][asked]
        owner = np.repeat(np.arange(len(traces)), count)[asked]
        different, place = np.unique(marks, return_inverse=True)
        known = np.fromiter((bool(self._looked_up(mark)) for mark in different.tolist()), np.bool_, len(different))
        shown = known[place]
        habits: dict[int, list[int]] = {}
        for key, mark in zip(owner[shown].tolist(), marks[shown].tolist(), strict=True):
            habits.setdefault(key, []).append(mark)
        for key in sorted(habits):
            yield from self.hits_of(traces[key].key_id, habits[key], at_us)

    def names(self, kind: int) -> bool:
        """Whether any indicator can name a mark of this kind."""
        return kind in self._kinds or any(mark >> 32 == kind for mark in self._plain)

    def shown(self, mark: int) -> bool:
        """Whether any indicator names a mark, a kind above 32 bits of hash; mostly none does."""
        return bool(self._named(mark))

    def _named(self, mark: int) -> list[_Named]:
        found = self._known.get(mark)
        if found is None:
            found = self._looked_up(mark)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[mark] = found
        return found

    def _looked_up(self, mark: int) -> list[_Named]:
        found: list[_Named] = []
        if self._plain and (plain := self._plain.get(mark)):
            found.append(plain)
        if mark >> 32 in self._kinds:
            for epoch, place in self._of.items():
                if named := place.get(self._keys[epoch].token(mark)):
                    found.append(named)
        return found or _NONE


_NONE: list[_Named] = []
"""One for all marks that nothing names."""


def _packed(named: list[tuple[int, float]]) -> _Named:
    if len(named) < _LONG:
        return named
    numbers, weights = zip(*named, strict=True)
    return _Column(np.array(numbers, np.int64), np.array(weights, np.float64))


def kinds_of(hits: Sequence[Hit]) -> frozenset[str]:
    """The independent kinds of evidence in hits of one key on one campaign."""
    return frozenset(hit.kind for hit in hits)
