"""Received indicators against keys: which are hit, on which independent kinds, how strongly.

The tokens of a behaviour indicator are weighed by how rare they were among the reporter's honest keys. A key *hits* an
indicator if it carries most of that weight. Hits of one campaign's indicators of different kinds are independent of each
other; tokens of one kind are not. Template hits alone, however many, are what every user of a viral app would show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detectors.campaign.trace import MARK_DTYPE, Trace, marks_of
from detectors.sharing.indicator import BEHAVIOUR, Indicator
from detectors.sharing.tokens import KIND_OF, SCHEME, GroupKey

LEAST_CARRIED = 0.5
"""Share of an indicator's weight that a key must carry to hit it."""

LEAST_HABIT = 0.08
"""Share of a key's exchanges in which a mark is a habit of it, as in its trace."""

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

Shown = Sequence[tuple[int, float]]
"""(number of an indicator, weight of the mark in it)."""


class Index:
    """Behaviour indicators by their tokens; unknown schemes and epochs are left out, others do not mind.

    Args:
        indicators: as received; other kinds are ignored.
        keys: epoch → key of the trust group.
        marks: id of a plain indicator → marks of keys that show it, where the caller can tell them; any of them is enough.
    """

    def __init__(
        self,
        indicators: Iterable[Indicator],
        keys: Mapping[str, GroupKey],
        marks: Mapping[str, Iterable[int]] | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._of: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self._plain: dict[int, list[tuple[int, float]]] = {}
        self._kinds: set[int] = set()
        self.indicators: list[Indicator] = []
        self._weight: list[float] = []
        # The hash of a mark is asked for again and again: what most keys carry is carried by most keys.
        self._known: dict[int, Shown] = {}
        for one in indicators:
            if marks and one.id in marks:
                self.indicators.append(one)
                self._weight.append(_PLAIN_NATS)
                for mark in marks[one.id]:
                    self._plain.setdefault(mark, []).append((len(self.indicators) - 1, _PLAIN_NATS))
                continue
            if one.kind not in BEHAVIOUR or one.scheme != SCHEME or one.epoch not in self._keys:
                continue
            number = len(self.indicators)
            self.indicators.append(one)
            self._weight.append(sum(one.weights) or 1.0)
            self._kinds.update(kind for kind, shared in KIND_OF.items() if shared == one.kind)
            place = self._of.setdefault(one.epoch, {})
            for token, weight in zip(one.tokens, one.weights, strict=True):
                place.setdefault(token, []).append((number, weight))

    def __len__(self) -> int:
        return len(self.indicators)

    def hits(self, trace: Trace, at_us: int) -> list[Hit]:
        """What a key shows of what is valid now, the strongest first.

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
        for mark in habits:
            for number, weight in self.shown(mark):
                carried[number] = carried.get(number, 0.0) + weight
        found = []
        for number, weight in carried.items():
            one = self.indicators[number]
            part = weight / self._weight[number]
            if part >= LEAST_CARRIED and one.valid_from_us <= at_us < one.valid_until_us:
                found.append(Hit(key_id, one.id, one.kind, round(min(1.0, part), 3), round(min(20.0, weight), 2)))
        return sorted(found, key=lambda hit: (-hit.nats, hit.indicator))

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

    def shown(self, mark: int) -> Shown:
        """The indicators that name a mark, a kind above 32 bits of hash; mostly none."""
        found = self._known.get(mark)
        if found is None:
            found = self._looked_up(mark)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[mark] = found
        return found

    def _looked_up(self, mark: int) -> Shown:
        found: list[tuple[int, float]] = []
        if self._plain and (plain := self._plain.get(mark)):
            found += plain
        if mark >> 32 in self._kinds:
            for epoch, place in self._of.items():
                found += place.get(self._keys[epoch].token(mark), ())
        return found or ()


def kinds_of(hits: Sequence[Hit]) -> frozenset[str]:
    """The independent kinds of evidence in hits of one key on one campaign."""
    return frozenset(hit.kind for hit in hits)
