"""Reasoning that comes back: whose it is, and when nothing may be said about that."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from detectors.event import Event
from detectors.features import CATALOGUE, features
from detectors.fingerprint import fingerprint
from detectors.profile import Profile
from detectors.sketch.blocks import GENERATION_US, Blocks
from detectors.sketch.decay import DAY_US

Stream = Callable[..., list[Event]]

OWN, FOREIGN = 1 << 40, 1 << 50


def _given(n: int) -> bytes:
    return struct.pack("<Q", OWN + n * 0x9E3779B9)


def _back(block: int, chain: int) -> bytes:
    return struct.pack("<QQ", block, chain)


def _own(n: int, chain: int | None = None) -> bytes:
    return _back(OWN + (n - 1) * 0x9E3779B9, n if chain is None else chain) if n else b""


@pytest.fixture
def agent(stream: Stream, start_us: int) -> Callable[..., list[Event]]:
    """agent(count=40, **fields): exchanges that each give a block out and bring the one before back, from a new key."""

    def make(count: int = 40, **fields: Any) -> list[Event]:
        usual: dict[str, Any] = {
            "route": "messages", "reasoning_tokens": 500, "emitted": _given, "replayed": _own,
            "chain_digest": lambda n: n + 1, "key_created_us": start_us,
        }  # fmt: skip
        return stream(count, **(usual | fields))

    return make


def _values(events: list[Event], kind: str = "key") -> dict[str, float | None]:
    profile = Profile.new("k", kind)
    for event in events:
        profile.update(event, fingerprint(event))
    row = features(profile, profile.last_at_us)
    pairs = zip(CATALOGUE, row.values.tolist(), row.present.tolist(), strict=True)
    return {feature.name: value for feature, value, there in pairs if there}


def test_reasoning_that_was_given_is_nobody_elses(agent: Stream) -> None:
    """An agent that brings its own blocks back, under the conversation they were given in, has neither sign."""
    values = _values(agent())
    assert values["foreign_reasoning"] == 0
    assert (values["foreign_reasoning_share"], values["moved_reasoning_share"]) == (0.0, 0.0)


def test_what_a_retry_was_given_is_known(agent: Stream) -> None:
    """The attempt that succeeds gives its block out like any other exchange."""
    assert _values(agent(retry_count=lambda n: n % 2))["foreign_reasoning"] == 0


def test_reasoning_that_was_never_given_is_counted_once_a_block(agent: Stream) -> None:
    """Three blocks of somebody else, brought thirty times: three blocks, in nearly all exchanges."""
    values = _values(agent(replayed=lambda n: _back(FOREIGN + n % 3 * 0x9E37, 7)))
    assert values["foreign_reasoning"] == pytest.approx(3, abs=0.05)
    assert values["foreign_reasoning_share"] == 1.0


def test_a_block_in_another_conversation_is_moved_and_not_foreign(agent: Stream) -> None:
    """It was given to this entity, but for other words."""
    values = _values(agent(replayed=lambda n: _own(n, 999)))
    assert values["moved_reasoning_share"] == 1.0
    assert values["foreign_reasoning"] == 0


def test_nothing_is_said_where_what_was_given_cannot_be_known(agent: Stream, start_us: int) -> None:
    """Blocks that could not be read, no block given at all, an old key seen for a day, and a key of an organisation."""
    foreign = _back(FOREIGN, 7)
    for fields in (
        {"emitted": lambda n: _given(n) if n % 3 else b""},
        {"emitted": b""},
        {"key_created_us": start_us - 30 * DAY_US},
        {"key_created_us": None},
        {"org_id": "o"},
    ):
        values = _values(agent(replayed=foreign, **fields))
        assert not {"foreign_reasoning", "foreign_reasoning_share", "moved_reasoning_share"} & values.keys(), fields
    assert "foreign_reasoning" not in _values(agent(replayed=b""))


def test_an_organisation_is_judged_for_its_keys(agent: Stream) -> None:
    """What one of its keys was given, another may bring back; what none was given is foreign."""
    shared = [*agent(key_id="a", org_id="o", replayed=b""), *agent(key_id="b", org_id="o")]
    assert _values(shared, "org")["foreign_reasoning_share"] == 0.0
    assert _values([*shared, *agent(20, org_id="o", replayed=_back(FOREIGN, 7))], "org")["foreign_reasoning"] > 0.9


def test_a_key_that_is_watched_for_a_week_is_judged_whatever_its_age(agent: Stream, start_us: int) -> None:
    """By then its conversations of before are over."""
    old = {"key_created_us": start_us - 300 * DAY_US, "replayed": _back(FOREIGN, 7)}
    values = _values([*agent(**old), *agent(at_us=lambda n: start_us + 8 * DAY_US + n * 60_000_000, **old)])
    assert values["foreign_reasoning_share"] == 1.0


def test_broken_entries_are_no_blocks(agent: Stream) -> None:
    """Bytes of another length, from a newer gateway or a damaged log, are ignored."""
    values = _values(agent(replayed=b"\x01" * 17, emitted=b"\x02" * 9))
    assert "foreign_reasoning" not in values


def test_given_blocks_are_known_for_two_generations_and_a_full_filter_trusts(start_us: int) -> None:
    """None of a thousand is forgotten within a week, strangers are told, and after two weeks nothing is known."""
    blocks = Blocks()
    dice = [n * 0x9E3779B97F4A7C15 % 2**64 for n in range(1, 3001)]
    for block in dice[:1000]:
        blocks.give(block, 1, start_us)
    blocks.give(5, 1, start_us + GENERATION_US)
    assert all(blocks.knows(block) for block in dice[:1000])
    assert sum(blocks.knows(block) for block in dice[1000:]) < 150
    blocks.give(5, 1, start_us + 3 * GENERATION_US)
    assert sum(blocks.knows(block) for block in dice[:1000]) < 5


def test_blocks_of_both_are_known_after_a_merge(start_us: int) -> None:
    """Across generations, from either side, and the conversation of the latest with them."""
    a, b = Blocks(), Blocks()
    a.give(1 << 33, 7, start_us)
    b.give(1 << 44, 8, start_us + GENERATION_US)
    assert a.merged(b).to_bytes() == b.merged(a).to_bytes()
    both = a.merged(b)
    assert both.knows(1 << 33)
    assert both.knows(1 << 44)
    assert not both.moved(1 << 33, 7)
