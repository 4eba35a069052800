"""Exchanges of the detectors' tests: an event with sensible defaults, and streams of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from detectors.event import Event

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
