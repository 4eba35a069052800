"""The event and its bytes: what an older or newer reader makes of them, and what a broken entry does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from detectors.event import (
    SCHEMA_VERSION,
    TEXT_FIELDS,
    BadEvent,
    Event,
    decode,
    encode,
    partition_root,
    without_text,
)

MINIMAL = {"event_id": "e1", "at_us": 1_790_000_000_000_000, "key_id": "k1"}


def _bytes(fields: Any, version: int = SCHEMA_VERSION) -> bytes:
    return bytes((version,)) + msgspec.msgpack.encode(fields)


def test_an_event_comes_back_as_it_was() -> None:
    """Every kind of field survives, digests of 64 bits and text of any script included."""
    event = Event(
        **MINIMAL,
        org_id="o1",
        key_created_us=0,
        authorised=("evaluation", "synthetic_data"),
        temperature=0.0,
        max_tokens=0,
        top_logprobs=0,
        logit_bias_digest=2**64 - 1,
        refusal=True,
        user_head="Größe 尺寸 الحجم 🙂 \x00",
    )
    assert decode(encode(event)) == event


def test_defaults_are_left_out_of_the_bytes() -> None:
    """An entry costs what is known about its exchange, not the width of the schema."""
    assert msgspec.msgpack.decode(encode(Event(**MINIMAL))[1:]) == MINIMAL


def test_a_field_of_a_newer_gateway_is_skipped() -> None:
    """A worker one release older reads the entry and ignores what it does not know, however it is nested."""
    newer = {**MINIMAL, "invented_later": [{"a": [1, None, b"x"]}], "model": "m"}
    assert decode(_bytes(newer)) == Event(**MINIMAL, model="m")


def test_a_field_of_which_an_older_gateway_knew_nothing_has_its_default() -> None:
    """A worker one release newer reads the entry; absent means what the schema says it means."""
    event = decode(_bytes(MINIMAL))
    assert (event.n, event.top_logprobs, event.temperature, event.status, event.decision) == (1, -1, None, 200, "allow")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        bytes((SCHEMA_VERSION,)),
        _bytes(MINIMAL, version=SCHEMA_VERSION + 1),
        _bytes([]),
        _bytes(None),
        _bytes({"event_id": "e1"}),
        _bytes({**MINIMAL, "at_us": "yesterday"}),
        _bytes({**MINIMAL, "at_us": 1.5}),
        _bytes({**MINIMAL, "authorised": [1]}),
        _bytes({**MINIMAL, "n": None}),
        encode(Event(**MINIMAL))[:-1],
        encode(Event(**MINIMAL)) + b"\x00",
        encode(Event(**MINIMAL)).replace(b"k1", b"\xff\xfe"),
        _bytes({**MINIMAL, "z": 0})[:-1] + b"\x91" * 100_000 + b"\xc0",
    ],
)
def test_bytes_that_are_no_event_are_a_bad_event(data: bytes) -> None:
    """Wrong version, wrong type, cut, overlong, broken text and endless nesting give BadEvent and nothing else."""
    with pytest.raises(BadEvent):
        decode(data)


def test_the_message_of_a_bad_event_quotes_nothing() -> None:
    """The content may be client text, so the message holds the rule alone."""
    with pytest.raises(BadEvent) as caught:
        decode(_bytes({**MINIMAL, "at_us": "SECRET", "SECRET": 1}))
    assert "SECRET" not in str(caught.value)


def test_a_lone_surrogate_does_not_lose_the_event() -> None:
    """It cannot be written as UTF-8; it becomes a question mark and everything else stays."""
    event = decode(encode(Event(**MINIMAL, user_head="a\ud800b", answer_head="c", model="m\udfff")))
    assert (event.user_head, event.answer_head, event.model) == ("a?b", "c", "m?")


def test_what_may_be_kept_has_no_text() -> None:
    """All five text fields are emptied, nothing else changes, and the original stays as it was."""
    event = Event(**MINIMAL, model="m", **dict.fromkeys(TEXT_FIELDS, "SECRET"))
    kept = without_text(event)
    assert b"SECRET" not in encode(kept)
    assert kept == Event(**MINIMAL, model="m")
    assert event.user_head == "SECRET"


def test_every_text_field_is_named_as_text() -> None:
    """A string field of the schema that holds head, tail or text of a message is in TEXT_FIELDS."""
    named = {name for name in Event.__struct_fields__ if name.endswith(("_head", "_tail", "_text"))}
    assert named == set(TEXT_FIELDS)


def test_the_partition_follows_the_organisation() -> None:
    """Keys of one organisation share a partition; a key without one stands for itself."""
    assert partition_root(Event(**MINIMAL, org_id="o1")) == "o1"
    assert partition_root(Event(**MINIMAL)) == "k1"
