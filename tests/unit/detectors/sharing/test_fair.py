"""What is kept where there is too much, and what a provider's own settled customers make common."""

from __future__ import annotations

import struct

import pytest

from detectors.campaign.trace import Kind, Trace
from detectors.sharing import match
from detectors.sharing.common import LEAST_SHOWING, SETTLED_US, Fleet, Tally
from detectors.sharing.fair import fair_order
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.match import Index
from detectors.sharing.tokens import SCHEME, GroupKey
from detectors.watermark.keys import MasterSecret

NOW = 1_800_000_000_000_000
KEY = GroupKey(MasterSecret(bytes(range(32))))
EPOCH = "2026q4"
WORDING, FORM = Kind.SYSTEM << 32 | 1, Kind.CONTRACT << 32 | 2


def _indicator(name: str, kind: str, mark: int, weight: float) -> Indicator:
    token = KEY.token(mark)
    return Indicator(name, kind, (token,), NOW - DAY_US, NOW + DAY_US, SCHEME, EPOCH, (weight,))  # type: ignore[arg-type]


def _trace(name: str, days: int = 9, **fields: object) -> Trace:
    marks = b"".join(struct.pack("<BIB", mark >> 32, mark & 0xFFFFFFFF, 255) for mark in (WORDING, FORM))
    return Trace(key_id=name, org=f"o{name}", at_us=NOW, first_us=NOW - days * DAY_US, marks=marks, **fields)  # type: ignore[arg-type]


def test_best_of_each_lot_first() -> None:
    """The first of every lot comes before anybody's second, the lower lots before the higher ones."""
    assert fair_order([5, 5, 5, 1, 5, 1, 3]).tolist() == [3, 6, 0, 5, 1, 2, 4]
    assert fair_order([]).tolist() == []


@pytest.mark.parametrize("flood", [30, 400])
@pytest.mark.parametrize("fleet", [False, True])
def test_flood_drowns_nothing(monkeypatch: pytest.MonkeyPatch, flood: int, fleet: bool) -> None:
    """However many indicators of the highest weight one member sends, a second one's are among the hits of a key."""
    monkeypatch.setattr(match, "MOST_HITS", 10)
    many = [_indicator(f"indicator--a{number:04}", "template", WORDING, 20.0) for number in range(flood)]
    others = [_indicator("indicator--t", "template", WORDING, 5.0), _indicator("indicator--c", "contract", FORM, 5.0)]
    behind = {one.id: 1 for one in many} | {one.id: 2 for one in others}
    index = Index([*many, *others], {EPOCH: KEY}, behind=behind)
    trace = _trace("k")
    hits = list(index.fleet([trace], NOW)) if fleet else index.hits(trace, NOW)
    assert len(hits) == 10
    assert {"indicator--t", "indicator--c"} <= {hit.indicator for hit in hits}
    assert hits == sorted(hits, key=lambda hit: (-hit.nats, hit.indicator))


def _fleet(settled: int, showing: int, **fields: object) -> Fleet:
    """Partitions of settled organisations, of which some show an indicator; of these the traces have the fields."""
    fleet = Fleet()
    for part in range(2):
        tally = Tally()
        for number in range(part, settled, 2):
            shown = number < showing
            tally.add(_trace(str(number), **(fields if shown else {})), ["labs i"] if shown else [])  # type: ignore[arg-type]
        fleet.add(*tally.counted())
    return fleet


@pytest.mark.parametrize(
    ("settled", "showing", "common"),
    [
        (2000, 21, True),
        (2000, 20, False),  # one in a hundred may be rare enough to be shared
        (300, LEAST_SHOWING, True),
        (300, LEAST_SHOWING - 1, False),
        (199, 199, False),  # nobody can say what is common among so few
    ],
)
def test_common_by_settled(settled: int, showing: int, common: bool) -> None:
    """Common is what more than one in a hundred settled organisations show, and not fewer than ten."""
    assert bool(_fleet(settled, showing).common()) is common


@pytest.mark.parametrize("fields", [{"days": 6}, {"level": 1}])
def test_unsettled_do_not_count(fields: dict[str, object]) -> None:
    """Keys of this week, and flagged ones, make nothing common."""
    assert _fleet(400, 100).common() == {"labs i"}
    assert _fleet(400, 100, **fields).common() == frozenset()


def test_organisations_count_once() -> None:
    """An organisation counts once for all its keys, not at all where one is flagged, and only by what old keys show."""
    tally = Tally()
    for _ in range(3):
        tally.add(_trace("a"), ["i"])
    one = _trace("b")
    tally.add(one, ["i"])
    assert tally.counted() == (2, {"i": 2})
    tally.add(_trace("b", level=2), [])
    assert tally.counted() == (1, {"i": 1})
    tally.add(_trace("c"), ["i"], flagged=True)
    tally.add(_trace("d"), [])
    tally.add(_trace("d", days=1), ["i"])
    assert tally.counted() == (2, {"i": 1})
    assert _trace("x").at_us - _trace("x").first_us >= SETTLED_US
