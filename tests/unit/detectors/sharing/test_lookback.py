"""Looking back counts again what a trace would have shown: both agree, exchange by exchange."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec
import pytest

from detectors.campaign.trace import Kind, Trace, cast, marks_of
from detectors.event import Event, without_text
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.fingerprint.hashing import digest
from detectors.profile import Profile
from detectors.sharing import match
from detectors.sharing.again import Again
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.lookback import KeyPast, Lookback
from detectors.sharing.match import Hit, Index
from detectors.sharing.tokens import KIND_OF, SCHEME, GroupKey
from detectors.sketch.decay import WEEK
from detectors.tally import is_generated
from detectors.watermark.keys import MasterSecret

MakeEvent = Callable[..., Event]
Item = tuple[Event, Fingerprint]

KEY = GroupKey(MasterSecret(bytes(range(32))))
HOUR_US = DAY_US // 24
WORDS = [a + b + c for a in "bdfgklmnprst" for b in ("a", "e", "io", "ou") for c in ("n", "rt", "lle", "st", "m")]
FORMS = (
    ("You are a tutor.", "Solve the task and put all of your reasoning inside <thinking> tags.\n\n{} {}"),
    ("", "{} {}\n\nAnswer as JSON with the keys answer and confidence."),
    ("You grade essays.", "Grade this essay from 1 to 10, then explain the grade.\n\n{} {}"),
    ("", "{} {}"),
)


@pytest.fixture
def stream(make_event: MakeEvent, start_us: int) -> Callable[[int], list[Item]]:
    """stream(seed): exchanges of six keys over weeks, each with habits that come and go."""

    def make(seed: int) -> list[Item]:
        dice = random.Random(seed)
        found = []
        # Of every second one a landmark of the decayed sums lies in the middle.
        begin_us = (start_us // WEEK.grid_us + 1) * WEEK.grid_us - 2 * DAY_US if seed % 2 else start_us
        for key in range(6):
            at_us, form = begin_us + dice.randrange(HOUR_US), dice.randrange(len(FORMS))
            for _ in range(dice.randrange(1, 50)):
                if dice.random() < 0.12:
                    form = dice.randrange(len(FORMS))
                at_us += round(dice.expovariate(1.0 / dice.choice((HOUR_US / 60, HOUR_US, DAY_US))))
                prose = (" ".join(dice.choices(WORDS, k=25)) for _ in range(2))
                system, text = FORMS[form]
                found.append(
                    make_event(
                        text.format(*prose),
                        system,
                        answer=" ".join(dice.choices(WORDS, k=dice.choice((5, 300)))),
                        key_id=f"key-{key}",
                        at_us=at_us,
                        model=dice.choice(("m", "m", "m", "large")),
                        temperature=dice.choice((None, None, 0.2, 1.0)),
                        top_p=dice.choice((None,) * 9 + (0.5,)),
                        client_digest=1 + key % 2,
                        chain_digest=dice.getrandbits(63),
                        ip_prefix_id=f"{dice.randrange(3)}" * 32,
                        **dice.choice(
                            ({}, {}, {}, {}, {}, {"status": 500}, {"route": "embeddings"}, {"outcome": "refused"})
                        ),
                    )
                )
        found.sort(key=lambda event: event.at_us)
        return [(event, fingerprint(event)) for event in found]

    return make


def _live(items: Iterable[Item]) -> list[Trace]:
    """The traces that live analysis would cast, one after every exchange that was let pass."""
    profiles: dict[str, Profile] = {}
    counts: dict[str, int] = {}
    found = []
    for event, fp in items:
        profile = profiles.setdefault(event.key_id, Profile.new(event.key_id, "key"))
        profile.update(event, fp)
        if event.outcome != "refused":
            counts[event.key_id] = counts.get(event.key_id, 0) + 1
            found.append(cast(profile, event, fp, counts[event.key_id]))
    return found


def _indicator(number: int, marks: Sequence[int], start_us: int, **fields: object) -> Indicator:
    given = {
        "id": f"indicator--{number}",
        "kind": KIND_OF[marks[0] >> 32],
        "tokens": tuple(KEY.token(mark) for mark in marks),
        "valid_from_us": start_us + 99 * DAY_US,
        "valid_until_us": start_us + 120 * DAY_US,
        "scheme": SCHEME,
        "epoch": "q4",
        "weights": tuple(float(1 + place % 3) for place in range(len(marks))),
    }
    return Indicator(**{**given, **fields})  # type: ignore[arg-type]


def _index(traces: Sequence[Trace], seed: int, start_us: int) -> Index:
    """Indicators made of marks that keys have shown, and of some that nobody has; one names a network."""
    dice = random.Random(seed)
    shown: dict[str, list[int]] = {}
    for mark in sorted({mark for trace in traces for mark, _ in marks_of(trace)}):
        if kind := KIND_OF.get(mark >> 32):
            shown.setdefault(kind, []).append(mark)
    made = []
    for number in range(25):
        marks = shown[dice.choice(sorted(shown))]
        picked = dice.sample(marks, min(len(marks), dice.randrange(1, 6)))
        if dice.random() < 0.3:
            picked.append(picked[0] >> 32 << 32 | dice.getrandbits(32))
        made.append(_indicator(number, picked, start_us))
    plain = Indicator("indicator--n", "network", ("192.0.2.0/24",), start_us + 99 * DAY_US, start_us + 105 * DAY_US)
    network = Kind.NETWORK << 32 | digest("1" * 32) & 0xFFFFFFFF
    return Index([*made, plain], {"q4": KEY}, {plain.id: [network]})


def _looked_back(index: Index, items: Iterable[Item], now_us: int) -> dict[str, KeyPast]:
    looking = Lookback(index, now_us)
    for event, fp in items:
        looking.take(without_text(event), fp)
    return {one.key_id: one for one in looking.found()}


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_live(seed: int, stream: Callable[[int], list[Item]], start_us: int) -> None:
    """Live and looked back, the same keys hit the same indicators, from and until the same exchanges, as strongly."""
    items = stream(seed)
    traces, looked_us = _live(items), items[-1][0].at_us - 98 * DAY_US
    index, now_us = _index(traces, seed, looked_us), looked_us + 100 * DAY_US
    live: dict[tuple[str, str], tuple[Hit, int, int]] = {}
    let_pass = [(event, fp) for event, fp in items if event.outcome != "refused"]
    again = Again()
    networks_from_us = now_us - 7 * DAY_US
    for trace, (event, fp) in zip(traces, let_pass, strict=True):
        at_us = event.at_us
        shown = again.compared(trace, fp, index.shown) if is_generated(event) else trace
        for hit in index.hits(shown, now_us):
            if hit.kind == "network" and at_us < networks_from_us:
                continue
            best, first, _ = live.get((trace.key_id, hit.indicator), (hit, at_us, at_us))
            live[trace.key_id, hit.indicator] = (hit if hit.nats > best.nats else best, first, at_us)
    past = _looked_back(index, items, now_us)
    found = {(key, one.hit.indicator): (one.hit, one.first_us, one.last_us) for key in past for one in past[key].hits}
    assert found == live
    assert len(live) >= 5


def _harvest(make_event: MakeEvent, start_us: int, **fields: object) -> list[Item]:
    """Four ordinary exchanges, then ten under one wording, each a day later and with an answer worth training on."""
    dice = random.Random(5)
    found = []
    for day in range(14):
        text = " ".join(dice.choices(WORDS, k=30))
        if day >= 4:
            text = f"{FORMS[0][1].split('{')[0]}{text}"
        given = {"at_us": start_us + day * DAY_US, "output_tokens": 900, "chain_digest": day + 1, **fields}
        event = make_event(text, **given)
        found.append((event, fingerprint(event)))
    return found


def test_since_when_and_taken(make_event: MakeEvent, start_us: int) -> None:
    """A key is dated from the first exchange that hit, and what it took is counted from that one on, equal answers once."""
    items = _harvest(make_event, start_us)
    items.append((without_text(items[-1][0]), items[-1][1]))
    head = Kind.HEAD << 32 | items[-1][1].head & 0xFFFFFFFF
    index = Index([_indicator(1, [head], start_us)], {"q4": KEY})
    (past,) = _looked_back(index, items, start_us + 100 * DAY_US).values()
    assert past.first_us == start_us + 4 * DAY_US
    assert (past.exchanges, past.taken) == (11, 10)
    assert past.hits[0].last_us == start_us + 13 * DAY_US


def test_valid_when_looking(make_event: MakeEvent, start_us: int) -> None:
    """What counts is that an indicator is valid at the moment of looking; the exchanges are older than it is."""
    items = _harvest(make_event, start_us)
    head = Kind.HEAD << 32 | items[-1][1].head & 0xFFFFFFFF
    index = Index([_indicator(1, [head], start_us)], {"q4": KEY})
    assert _looked_back(index, items, start_us + 100 * DAY_US)
    assert not _looked_back(index, items, start_us + 98 * DAY_US)  # not yet
    assert not _looked_back(index, items, start_us + 120 * DAY_US)  # ended


def test_old_networks_left_out(make_event: MakeEvent, start_us: int) -> None:
    """A network is compared with the last seven days alone: before that it may have been somebody else's."""
    items = _harvest(make_event, start_us, ip_prefix_id="1" * 32)
    one = Indicator("indicator--n", "network", ("192.0.2.0/24",), start_us, start_us + 60 * DAY_US)
    index = Index([one], {}, {one.id: [Kind.NETWORK << 32 | digest("1" * 32) & 0xFFFFFFFF]})
    (past,) = _looked_back(index, items, start_us + 15 * DAY_US).values()
    assert past.first_us == start_us + 8 * DAY_US
    assert not _looked_back(index, items, start_us + 30 * DAY_US)


def test_fleet_as_one_by_one(stream: Callable[[int], list[Item]], start_us: int) -> None:
    """A whole fleet at once gives the hits of its keys, in their order."""
    traces = _live(stream(3))
    index = _index(traces, 3, start_us)
    now_us = start_us + 100 * DAY_US
    one_by_one = [hit for trace in traces for hit in index.hits(trace, now_us)]
    assert one_by_one
    assert list(index.fleet(traces, now_us)) == one_by_one
    assert list(index.fleet([], now_us)) == []
    assert list(Index([], {}).fleet(traces, now_us)) == []


def test_flood_of_indicators(make_event: MakeEvent, start_us: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of indicators that name one wording give the same hits, however they are added up, and not all of them."""
    traces = _live(_harvest(make_event, start_us, ip_prefix_id="1" * 32))
    named = [mark for mark, _ in marks_of(traces[-1]) if KIND_OF.get(mark >> 32) == "template"]
    dice = random.Random(2)
    flood = [_indicator(n, [named[0], *dice.sample(named[1:], 2), n + 1], start_us) for n in range(3000)]
    flood[7] = msgspec.structs.replace(flood[7], valid_until_us=start_us + 100 * DAY_US)
    now_us = start_us + 100 * DAY_US
    columns = list(Index(flood, {"q4": KEY}).fleet(traces, now_us))
    monkeypatch.setattr(match, "_LONG", 1 << 30)
    assert columns == list(Index(flood, {"q4": KEY}).fleet(traces, now_us))
    last = [hit for hit in columns if hit.nats == columns[-1].nats]
    assert max(Counter(hit.key_id for hit in columns[-match.MOST_HITS :]).values()) == match.MOST_HITS
    assert flood[7].id not in {hit.indicator for hit in last}
