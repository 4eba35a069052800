"""Bytes of every sketch and of the event: they come back as they were, go on alike, and broken ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.event import SCHEMA_VERSION, BadEvent, Event, decode, encode
from detectors.sketch.beat import Beat
from detectors.sketch.blocks import Blocks
from detectors.sketch.cells import GENERATION_US, CellMap
from detectors.sketch.chains import Chains
from detectors.sketch.clockface import HourRing
from detectors.sketch.distinct import Distinct
from detectors.sketch.models import ModelTable
from detectors.sketch.pool import Pool
from detectors.sketch.recent import RecentSet, SimilarWindow
from detectors.sketch.repeats import Repeats
from detectors.sketch.templates import Templates
from detectors.sketch.topics import Topics
from detectors.sketch.topk import SpaceSaving

Feed = Callable[[Any, int], object]

# How each sketch is made, how a number becomes an observation of it, and how its bytes are read.
KINDS: dict[str, tuple[Callable[[], Any], Feed, Callable[[bytes], Any]]] = {
    "topk": (
        lambda: SpaceSaving(6),
        lambda sketch, n: sketch.add(n % 40, 1.0 + n % 7),
        lambda data: SpaceSaving.from_bytes(6, data),
    ),
    "distinct": (
        lambda: Distinct(16),
        lambda sketch, n: sketch.add(n * 0x9E3779B97F4A7C15),
        lambda data: Distinct.from_bytes(16, data),
    ),
    "cells": (
        CellMap,
        lambda sketch, n: sketch.visit(n % 512, (n >> 9) % 4 * GENERATION_US),
        CellMap.from_bytes,
    ),
    "hours": (HourRing, lambda sketch, n: sketch.mark(400_000 + n % 600), HourRing.from_bytes),
    "models": (ModelTable, lambda sketch, n: sketch.add(f"m{n % 12}", n, 1.5), ModelTable.from_bytes),
    "recent": (lambda: RecentSet(5), lambda sketch, n: sketch.see(n % 32), lambda data: RecentSet.from_bytes(5, data)),
    "similar": (
        lambda: SimilarWindow(5),
        lambda sketch, n: sketch.push(n.to_bytes(16, "little")),
        lambda data: SimilarWindow.from_bytes(5, data),
    ),
    "repeats": (lambda: Repeats(5), lambda sketch, n: sketch.see(n % 32, 0.5), lambda data: Repeats.from_bytes(5, data)),
}

KINDS |= {
    "beat": (
        Beat,
        lambda sketch, n: (
            sketch.close_bin(n * 1_000_000),
            sketch.wait(n * 1_000_000, n % 5 == 0),
            sketch.overlapping(n * 1_000_000, n % 4_000_000_000),
        ),
        Beat.from_bytes,
    ),
    "blocks": (
        Blocks,
        lambda sketch, n: sketch.give(n * 0x9E3779B97F4A7C15 % 2**64, n % 7, (n >> 9) % 4 * GENERATION_US),
        Blocks.from_bytes,
    ),
    "chains": (Chains, lambda sketch, n: sketch.see(n % 64, n % 50, n * 1_000_000), Chains.from_bytes),
    "pool": (
        lambda: Pool(3),
        lambda sketch, n: [sketch.add(np.full(3, n % 97 + step, np.float32)) for step in range(9)],
        lambda data: Pool.from_bytes(3, data),
    ),
    "templates": (
        Templates,
        lambda sketch, n: sketch.see(n.to_bytes(4, "little") * (3 + n % 9) + b"constant words" * (n % 3), 1.0 + n % 3),
        Templates.from_bytes,
    ),
    "topics": (Topics, lambda sketch, n: sketch.add(n, 1.0 + n % 3), Topics.from_bytes),
}
numbers = st.lists(st.integers(0, 2**32 - 1), max_size=80)


@pytest.mark.parametrize("kind", KINDS)
@given(numbers, numbers)
def test_a_sketch_read_from_its_bytes_goes_on_alike(kind: str, before: list[int], after: list[int]) -> None:
    """Same bytes at once, and after any further stream: a restart of the worker leaves no trace."""
    make, feed, read = KINDS[kind]
    sketch = make()
    for n in before:
        feed(sketch, n)
    copy = read(sketch.to_bytes())
    assert copy.to_bytes() == sketch.to_bytes()
    for n in after:
        feed(sketch, n)
        feed(copy, n)
    assert copy.to_bytes() == sketch.to_bytes()


@pytest.mark.parametrize("kind", KINDS)
@given(st.binary(max_size=300), numbers)
def test_bytes_that_are_no_sketch_are_refused_or_work(kind: str, data: bytes, after: list[int]) -> None:
    """Any bytes give ValueError or a sketch that can be used; nothing fails later, in the middle of a batch."""
    make, feed, read = KINDS[kind]
    try:
        sketch = read(data)
    except ValueError:
        return
    for n in after:
        feed(sketch, n)
    sketch.merged(make(), *([1.0] if kind == "repeats" else []))


@pytest.mark.parametrize("kind", KINDS)
@given(numbers, st.data())
def test_a_cut_or_overlong_sketch_is_refused(kind: str, stream: list[int], data: st.DataObject) -> None:
    """No length but its own is taken, unless it is that of a smaller sketch of the same kind."""
    make, feed, read = KINDS[kind]
    sketch = make()
    for n in stream:
        feed(sketch, n)
    whole = sketch.to_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    for wrong in (cut, whole + b"\x00"):
        try:
            read(wrong).to_bytes()
        except ValueError:
            continue
        assert wrong is cut


# ---------------------------------------------------------------------------------------- event

_STRATEGIES = {
    "int": st.integers(-(2**63), 2**64 - 1),
    "bool": st.booleans(),
    "bytes": st.binary(max_size=24),
    "str": st.text(max_size=20),
    "float | None": st.none() | st.floats(allow_nan=False),
    "int | None": st.none() | st.integers(-(2**63), 2**64 - 1),
    "tuple[str, ...]": st.lists(st.text(max_size=5), max_size=3).map(tuple),
}
events = st.builds(Event, **{name: _STRATEGIES[str(Event.__annotations__[name])] for name in Event.__struct_fields__})
json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(events)
def test_any_event_comes_back_as_it_was(event: Event) -> None:
    """Encoding loses nothing of any field's range."""
    assert decode(encode(event)) == event


@given(st.text(st.characters(), max_size=30))
def test_any_string_can_be_written(text: str) -> None:
    """Surrogates included: what cannot be written is replaced and the entry still decodes."""
    event = decode(encode(Event(event_id="e", at_us=1, key_id="k", user_head=text, answer_head=text)))
    assert event.user_head == event.answer_head
    assert len(event.user_head) == len(text)


@given(events, st.dictionaries(st.text(max_size=8).filter(lambda name: name not in Event.__struct_fields__), json_like))
def test_fields_that_are_not_known_yet_change_nothing(event: Event, more: dict[str, Any]) -> None:
    """Whatever a newer gateway adds, under names of its own, is skipped."""
    known = msgspec.msgpack.decode(encode(event)[1:])
    assert decode(bytes((SCHEMA_VERSION,)) + msgspec.msgpack.encode({**more, **known, **more})) == event


@given(st.one_of(st.binary(max_size=200), json_like.map(msgspec.msgpack.encode)))
def test_bytes_that_are_no_event_give_bad_event_and_nothing_else(data: bytes) -> None:
    """Fuzzed entries, raw and as well-formed msgpack of another shape, never raise anything but BadEvent."""
    for entry in (data, bytes((SCHEMA_VERSION,)) + data):
        with suppress(BadEvent):
            decode(entry)


@given(events, st.data())
def test_a_damaged_event_gives_bad_event_or_an_event(event: Event, data: st.DataObject) -> None:
    """A flipped byte anywhere is refused, or decodes to values of the right types."""
    whole = bytearray(encode(event))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadEvent):
        assert isinstance(decode(bytes(whole)), Event)
