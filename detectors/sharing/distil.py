"""Members of a campaign beside honest keys → the marks that tell them apart: all of its behaviour that is shared.

A mark is shared if at least half of the members carry it and at most one honest key in a hundred does. Its weight is the
logarithm of how much more common it is among the members, which the receiver needs to know what a match is worth. Nothing
is made of fewer than `LEAST_KEYS` members: a small group's habits might be one customer's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from detectors.campaign.trace import Trace, marks_of
from detectors.sharing.indicator import MOST_TOKENS, Kind
from detectors.sharing.tokens import KIND_OF

LEAST_KEYS = 10
LEAST_SHARE = 0.5
MOST_HONEST = 0.01
LEAST_HONEST = 200
"""Honest keys below which nobody can say what is rare among them."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """What tells a campaign apart in one kind.

    Attributes:
        kind: template, contract or settings.
        marks: the heaviest first, at most MOST_TOKENS.
        weights: of each, in nats.
        share: of members that carry the first.
    """

    kind: Kind
    marks: tuple[int, ...]
    weights: tuple[float, ...]
    share: float


def distilled(members: Sequence[Trace], honest: Iterable[Trace]) -> list[Distilled]:
    """What may be shared of a campaign's behaviour; empty where nothing tells it apart.

    Args:
        members: newest traces of the campaign's members.
        honest: newest traces of keys that are not flagged: all, or a fair sample.

    Raises:
        ValueError: there are too few members or too few honest keys to compare with.
    """
    if len(members) < LEAST_KEYS:
        raise ValueError(f"members: nothing is shared of fewer than {LEAST_KEYS} keys; there are {len(members)}")
    carried = Counter(mark for trace in members for mark, _ in marks_of(trace) if mark >> 32 in KIND_OF)
    common = {mark: count for mark, count in carried.items() if count >= LEAST_SHARE * len(members)}
    others, elsewhere = 0, Counter[int]()
    for trace in honest:
        others += 1
        elsewhere.update(mark for mark, _ in marks_of(trace) if mark in common)
    if others < LEAST_HONEST:
        raise ValueError(f"honest: at least {LEAST_HONEST} other keys are needed to compare with; there are {others}")
    found: dict[Kind, list[tuple[float, int]]] = {}
    for mark, count in common.items():
        # Half a key more in each place: a mark that no honest key has is not infinitely rare.
        share, prevalence = count / len(members), (elsewhere[mark] + 0.5) / (others + 1)
        if elsewhere[mark] <= MOST_HONEST * others:
            found.setdefault(KIND_OF[mark >> 32], []).append((min(20.0, log(share / prevalence)), mark))
    made = []
    for kind, weighed in sorted(found.items()):
        weighed.sort(key=lambda one: (-one[0], one[1]))
        heaviest = weighed[:MOST_TOKENS]
        made.append(
            Distilled(
                kind,
                tuple(mark for _, mark in heaviest),
                tuple(round(weight, 2) for weight, _ in heaviest),
                common[heaviest[0][1]] / len(members),
            )
        )
    return made
