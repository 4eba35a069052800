"""Times, media types, questions and envelopes of TAXII, on anything that may be sent."""

from __future__ import annotations

import json
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput
from app.intel.taxii import envelope, media, queries, times

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.sampled_from(['"', "[", "}", "\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def _read(call: Any, *arguments: Any) -> tuple[Any, str]:
    """(what was read, "") or (None, the sentence of the refusal)."""
    try:
        return call(*arguments), ""
    except BadInput as error:
        return None, str(error)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(JSON)
def test_depth_is_counted_as_it_is(value: Any) -> None:
    """Brackets in texts do not count, and those beside one another do not add up."""
    data = json.dumps(value).encode()
    depth = _depth(value)
    assert not envelope.depth_over(data, depth)
    assert depth == 0 or envelope.depth_over(data, depth - 1)


@given(st.integers(0, 10**16 - 1))
def test_times_come_back(micros: int) -> None:
    """A microsecond is written and read as itself, in both forms."""
    assert times.parse(times.added(micros)) == micros
    assert times.parse(times.version(micros)) == micros
    assert times.version(micros).endswith("Z")
    assert len(times.version(micros)) == (24 if micros % 1000 == 0 else 27)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000),
        ("1970-01-01T00:00:00.000001999Z", 1),
        ("2026-11-20T10:00:00.123Z", 1_795_168_800_123_000),
    ],
)
def test_times_are_read_in_every_precision(text: str, micros: int) -> None:
    """None to nine digits of a second; what is finer than a microsecond is cut."""
    assert times.parse(text) == micros


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "2026-02-30T00:00:00Z",
     "2026-01-01T24:00:00Z",
     "2026-01-01T00:00:60Z", "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "２026-01-01T00:00:00Z",
     "2026-01-01T00:00:00.Z",
     "2026-01-01T00:00:00.1234567890Z", " 2026-01-01T00:00:00Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    """Other forms, days that do not exist, and times that no 16 digits hold."""
    with pytest.raises(ValueError, match="must be a time"):
        times.parse(text)


@given(st.text(max_size=60))
def test_any_accept_header_has_an_answer(text: str) -> None:
    """Nothing that is sent breaks the reading of a header, and nothing without the type's name is taken."""
    taken = media.acceptable(text) or media.sendable(text)
    assert not taken or "application/taxii+json" in text.lower()


@given(st.lists(st.tuples(st.sampled_from([*queries.OF_COLLECTION, "x"]), st.text(max_size=30)), max_size=4))
def test_any_question_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    """A question gives a query within bounds, or one sentence that holds nothing that was sent."""
    asked, fault = _read(queries.read, pairs, queries.OF_COLLECTION)
    assert (asked is None) is fault.startswith("query")
    assert asked is None or (1 <= asked.limit <= queries.MAX_PAGE and asked.query.after_us >= 0)


@given(JSON | st.builds(lambda objects: {"objects": objects}, st.lists(JSON, max_size=3)))
def test_any_body_is_read_or_refused(value: Any) -> None:
    """A body is an envelope or is not; there is no third."""
    found, fault = _read(envelope.read, json.dumps(value).encode())
    assert bool(found) is not fault.startswith("body")


STIX = st.fixed_dictionaries(
    {
        "type": st.just("indicator"),
        "id": st.uuids().map(lambda value: f"indicator--{value}"),
    },
    optional={
        "spec_version": st.sampled_from(["2.1", "2.0", "", None, 2.1]) | JSON,
        "created": st.sampled_from(["2026-01-01T00:00:00Z", "", None]) | JSON,
        "modified": st.sampled_from(["2026-01-02T00:00:00.000Z", "", None]) | JSON,
        "x": JSON,
    },
)


@given(st.lists(STIX, min_size=1, max_size=4))
def test_every_object_is_taken_or_has_a_fault(objects: list[dict[str, Any]]) -> None:
    """What is taken is the object as it came, with a version that can be ordered; the rest has a sentence."""
    for one, sent in zip(objects, envelope.read(json.dumps({"objects": objects}).encode()), strict=True):
        assert sent.object_id == one["id"]
        assert (sent.new is None) is bool(sent.fault)
        if sent.new is not None:
            assert orjson.loads(sent.new.data) == one
            assert sent.new.version_us is None or 0 <= sent.new.version_us < 10**16
            assert len(sent.new.name.partition("|")[2]) in (0, 16)


@pytest.mark.parametrize(
    "object_id",
    ["indicator--" + "A" * 36, f"Indicator--{uuid.UUID(int=1)}", f"a|b--{uuid.UUID(int=1)}", f"a{{b}}--{uuid.UUID(int=1)}",
     f"--{uuid.UUID(int=1)}", f"indicator--{uuid.UUID(int=1)} ", f"indicator--{uuid.UUID(int=1)}\n",
     f"a--b--{uuid.UUID(int=1)}",
     f"{'a' * 101}--{uuid.UUID(int=1)}"],
)  # fmt: skip
def test_an_id_that_could_be_another_name_is_refused(object_id: str) -> None:
    """Ids become names in state, so what separates names there cannot be in them."""
    assert envelope.OBJECT_ID.fullmatch(object_id) is None
    assert not envelope.identified({"id": object_id, "type": object_id.partition("--")[0]})
