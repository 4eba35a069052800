"""Received indicators against keys: which are hit, on which independent kinds, how strongly.

The tokens of a behaviour indicator are weighed by how rare they were among the reporter's honest keys. A key *hits* an
indicator if it carries most of that weight. Hits of one campaign's indicators of different kinds are independent of each
other; tokens of one kind are not. Template hits alone, however many, are what every user of a viral app would show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from detectors.campaign.trace import Trace, marks_of
from detectors.sharing.indicator import BEHAVIOUR, Indicator
from detectors.sharing.tokens import SCHEME, GroupKey

LEAST_CARRIED = 0.5
"""Share of an indicator's weight that a key must carry to hit it."""

LEAST_HABIT = 0.08
"""Share of a key's exchanges in which a mark is a habit of it, as in its trace."""


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
        self.indicators: list[Indicator] = []
        self._weight: list[float] = []
        # The hash of a mark is asked for again and again: what most keys carry is carried by most keys.
        self._known: dict[int, list[tuple[int, float]]] = {}
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
        carried: dict[int, float] = {}
        for mark, share in marks_of(trace):
            if share >= LEAST_HABIT:
                for number, weight in self._shown(mark):
                    carried[number] = carried.get(number, 0.0) + weight
        found = []
        for number, weight in carried.items():
            one = self.indicators[number]
            part = weight / self._weight[number]
            if part >= LEAST_CARRIED and one.valid_from_us <= at_us < one.valid_until_us:
                found.append(Hit(trace.key_id, one.id, one.kind, round(min(1.0, part), 3), round(min(20.0, weight), 2)))
        return sorted(found, key=lambda hit: (-hit.nats, hit.indicator))

    def _shown(self, mark: int) -> list[tuple[int, float]]:
        found = self._known.get(mark)
        if found is None:
            found = list(self._plain.get(mark, ()))
            for epoch, place in self._of.items():
                found += place.get(self._keys[epoch].token(mark), ())
            if len(self._known) < 1 << 20:
                self._known[mark] = found
        return found


def kinds_of(hits: Sequence[Hit]) -> frozenset[str]:
    """The independent kinds of evidence in hits of one key on one campaign."""
    return frozenset(hit.kind for hit in hits)
