"""Exchanges of the detectors' tests: an event with sensible defaults, and streams of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from detectors.event import Event
from detectors.features import CATALOGUE, features
from detectors.fingerprint import fingerprint
from detectors.profile import Profile

START_US = 1_790_000_000_000_000 // 86_400_000_000 * 86_400_000_000
"""Midnight UTC of a day in 2026."""

MakeEvent = Callable[..., Event]


@pytest.fixture
def start_us() -> int:
    """Midnight UTC, at which every stream of these tests begins."""
    return START_US


@pytest.fixture
def make_event() -> MakeEvent:
    """make(user, system="", answer="", **fields): an answered chat exchange with that text."""

    def make(user: str = "", system: str = "", answer: str = "", **fields: Any) -> Event:
        texts = {
            "user_head": user[:1024],
            "user_tail": user[-512:] if len(user) > 1024 else "",
            "user_chars": len(user),
            "system_head": system[:1024],
            "system_tail": system[-512:] if len(system) > 1024 else "",
            "system_chars": len(system),
            "answer_head": answer[:1024],
            "answer_chars": len(answer),
        }
        shape = {
            "event_id": "e",
            "at_us": START_US,
            "key_id": "k",
            "dialect": "openai",
            "route": "chat",
            "model": "m",
            "roles": "su" if system else "u",
            "message_count": 2 if system else 1,
            "user_turns": 1,
            "input_tokens": max(1, (len(user) + len(system)) // 4),
            "output_tokens": max(1, len(answer) // 4) if answer else 120,
        }
        return Event(**{**shape, **texts, **fields})

    return make


Values = dict[str, float | None]


@pytest.fixture
def profile_of() -> Callable[[Iterable[Event]], Profile]:
    """profile_of(events): the key's profile after them."""

    def build(events: Iterable[Event]) -> Profile:
        profile = Profile.new("k", "key")
        for event in events:
            profile.update(event, fingerprint(event))
        return profile

    return build


@pytest.fixture
def values_of(profile_of: Callable[[Iterable[Event]], Profile]) -> Callable[..., Values]:
    """values_of(events, now_us=None): feature name → value, None where absent; at the last event unless said."""

    def values(events: Iterable[Event], now_us: int | None = None) -> Values:
        profile = profile_of(events)
        row = features(profile, profile.last_at_us if now_us is None else now_us)
        pairs = zip(CATALOGUE, row.values.tolist(), row.present.tolist(), strict=True)
        return {feature.name: value if present else None for feature, value, present in pairs}

    return values


VOCABULARY = """
    amber anchor basin beacon cedar cinder copper coral dune ember fable fern flint gale garnet glade harbor hazel heron
    inlet iris jasper juniper kelp lagoon larch lichen maple marble meadow mist moss nectar oasis olive onyx orchid pebble
    pine quarry quartz raven reed ridge river rowan sable saffron sedge shale sierra slate sorrel spruce summit thistle
    timber tundra umber valley violet walnut willow yarrow zephyr
"""
_LISTED = VOCABULARY.split()


def _words(seed: object, count: int = 30) -> str:
    dice = random.Random(f"words/{seed}")
    return " ".join(dice.choice(_LISTED) for _ in range(count))


@pytest.fixture
def words() -> Callable[..., str]:
    """words(seed, count=30): a text without meaning, the same for the same seed."""
    return _words


@pytest.fixture
def stream(make_event: MakeEvent, start_us: int) -> Callable[..., list[Event]]:
    """stream(count, gap_us, text=…, **fields): exchanges at equal gaps; callables are given the number of the exchange."""

    def make(count: int, gap_us: int = 60_000_000, text: Any = _words, **fields: Any) -> list[Event]:
        out = []
        for n in range(count):
            values = {name: value(n) if callable(value) else value for name, value in fields.items()}
            user = text(n) if callable(text) else text
            out.append(make_event(user, **{"at_us": start_us + n * gap_us, **values}))
        return out

    return make
