"""Invented clients: what they send is valid, follows from the seed, and is what its kind is named for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from app.simulate.model_api import ModelApi
from app.simulate.traffic.calls import heard, heard_stream
from app.simulate.traffic.population import ATTACKS, HONEST, Client, Kind, populate
from app.simulate.traffic.recorder import Recorded, record

KINDS = (*HONEST, *ATTACKS)


def _play(clients: Sequence[Client], requests: int = 30) -> list[Recorded]:
    return list(record(clients, ModelApi(), Random(3), 1_700_000_000.0, 2.0, (1, 2), (requests, requests)))


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_request_of_a_script_is_answered(kind: Kind) -> None:
    """The model API takes all of it, and pauses are positive and short enough for a demonstration."""
    played = _play(populate([(kind, 2)], 1), 60)
    assert len(played) >= 120
    assert {exchange.status for exchange in played} == {200}
    assert all(0 < exchange.call.pause_sec < 20 for exchange in played)


def test_the_same_seed_gives_the_same_traffic() -> None:
    """Two runs agree in every request, and another seed in none of the credentials."""
    cast = [(kind, 2) for kind in KINDS]
    first, again, other = populate(cast, 1), populate(cast, 1), populate(cast, 2)
    assert [(e.at_sec, e.client.name, e.call) for e in _play(first)] == [
        (e.at_sec, e.client.name, e.call) for e in _play(again)
    ]
    names = {client.credential for client in first}
    assert len(names) == len(first)
    assert names.isdisjoint(client.credential for client in other)


def test_a_history_is_in_order_of_time_and_within_its_days() -> None:
    """Sittings of different clients overlap, and still every exchange comes after the one before it."""
    played = _play(populate([(kind, 3) for kind in HONEST], 1))
    assert all(before.at_sec <= after.at_sec for before, after in pairwise(played))
    assert played[0].at_sec >= 1_700_000_000.0
    assert played[-1].at_sec < 1_700_000_000.0 + 2 * 86_400


def test_a_conversation_repeats_what_the_model_said() -> None:
    """Scripts are given the answers: each turn of a chat carries the ones before it."""
    (kind,) = (kind for kind in HONEST if kind.name == "support bot")
    deep = [e.call.body["messages"] for e in _play(populate([(kind, 1)], 1), 60) if len(e.call.body["messages"]) > 3]
    assert deep
    assert all(
        [m["role"] for m in messages[1:]] == ["user", "assistant"] * (len(messages) // 2 - 1) + ["user"]
        for messages in deep
    )


def test_keys_of_a_campaign_share_a_fragment_and_no_item() -> None:
    """The constant of a campaign is on every key; the pool behind it is divided."""
    (kind,) = (kind for kind in ATTACKS if kind.name == "forced reasoning")
    played = _play(populate([(kind, 3)], 1))
    texts = [exchange.call.body["messages"][0]["content"].partition("\n\n") for exchange in played]
    assert len({fragment for _, _, fragment in texts}) == 1
    assert len({item for item, _, _ in texts}) == len(texts)
    assert len({exchange.client.org_id for exchange in played}) == 3


def test_a_stream_says_the_same_as_a_whole_answer() -> None:
    """A client that streams hears the words of one that does not."""
    whole = b'{"choices":[{"message":{"role":"assistant","content":"one two"}}]}'
    chunks = b'data: {"choices":[{"delta":{"content":"one "}}]}\n\ndata: {"choices":[{"delta":{"content":"two"}}]}\n\n'
    last = b'data: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n'
    path = "/v1/chat/completions"
    assert heard(path, 200, whole).text == heard_stream(path, 200, chunks + last).text == "one two"
    assert not heard(path, 429, b"{}").ok
