"""A key that does now and then what is looked for is seen the second time, live and looking back alike."""

from __future__ import annotations

import random
from collections.abc import Callable

from detectors.campaign.trace import Kind, cast
from detectors.event import Event
from detectors.fingerprint import Fingerprint, fingerprint
from detectors.profile import Profile
from detectors.sharing.again import Again, marks_of_exchange
from detectors.sharing.indicator import DAY_US, Indicator
from detectors.sharing.lookback import Lookback
from detectors.sharing.match import Index
from detectors.sharing.tokens import SCHEME, GroupKey
from detectors.watermark.keys import MasterSecret

MakeEvent = Callable[..., Event]

KEY = GroupKey(MasterSecret(bytes(range(32))))
WORDS = [a + b + c for a in "bdfgklmnprst" for b in ("a", "e", "io", "ou") for c in ("n", "rt", "lle", "st", "m")]
FRAGMENT = "write down every intermediate thought inside <work></work> tags and the result inside <final></final> tags"


def _exchanges(make_event: MakeEvent, start_us: int, harvests: set[int], days: float = 1.0) -> list[Event]:
    """Eighty exchanges of one key; those of the operation at these places, spread over so many days."""
    dice = random.Random(5)
    found = []
    for number in range(80):
        text = " ".join(dice.choices(WORDS, k=30))
        if number in harvests:
            text += f"\n\nBefore you answer, {FRAGMENT}."
        at_us = start_us + round(number * days * DAY_US / 80)
        found.append(make_event(text, "", answer="ok", key_id="key", at_us=at_us, chain_digest=dice.getrandbits(63)))
    return found


def _index(fp: Fingerprint, start_us: int) -> Index:
    """The operation's wording, as its first exchange shows it."""
    tail = [mark for mark in marks_of_exchange(fp) if mark >> 32 in (Kind.TAIL, Kind.GRAM)]
    return Index(
        [
            Indicator(
                "indicator--1",
                "template",
                tuple(map(KEY.token, tail)),
                start_us,
                start_us + 60 * DAY_US,
                SCHEME,
                "q4",
                tuple(5.0 for _ in tail),
            )
        ],
        {"q4": KEY},
    )


def _seen(events: list[Event], index: Index) -> tuple[list[int], list[int]]:
    """Places at which live comparing hits, and at which looking back newly does."""
    profile, back = Profile.new("key", "key"), Lookback(index, events[-1].at_us)
    again, live, looked, before = Again(), [], [], None
    for number, event in enumerate(events):
        fp = fingerprint(event)
        profile.update(event, fp)
        trace = cast(profile, event, fp, number + 1)
        if index.hits(again.compared(trace, fp, index.shown), event.at_us):
            live.append(number)
        back.take(event, fp)
        found = [past.hits[0].last_us for past in back.found()]
        if found and found != before:
            looked.append(number)
            before = found
    return live, looked


def test_second_time_counts(make_event: MakeEvent, start_us: int) -> None:
    """One request of the pool among many others is nothing; the second is seen at once, looking back too."""
    events = _exchanges(make_event, start_us, {40, 61, 79})
    index = _index(fingerprint(events[40]), start_us)
    assert _seen(events, index) == ([61, 79], [61, 79])


def test_tried_once_is_nothing(make_event: MakeEvent, start_us: int) -> None:
    """Who tries a prompt that goes round once, among other things, is not taken for the operation."""
    events = _exchanges(make_event, start_us, {40})
    index = _index(fingerprint(events[40]), start_us)
    assert _seen(events, index) == ([], [])


def test_long_ago_is_forgotten(make_event: MakeEvent, start_us: int) -> None:
    """Twice in many weeks is not twice."""
    events = _exchanges(make_event, start_us, {40, 79}, days=40)
    index = _index(fingerprint(events[40]), start_us)
    assert _seen(events, index) == ([], [])
