"""Archived rows: exactly what went in comes out, as bytes and as columns, across releases, and without text."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.worker import rows
from detectors.event import TEXT_FIELDS, BadEvent, Event, without_text
from detectors.fingerprint import Fingerprint, fingerprint

I64 = st.integers(-(2**63), 2**63 - 1)
U64 = st.integers(0, 2**64 - 1)
plain_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_STRATEGIES = {
    "int": I64,
    "bool": st.booleans(),
    "bytes": st.binary(max_size=40),
    "str": plain_text,
    "float | None": st.none() | st.floats(allow_nan=False),
    "int | None": st.none() | I64,
    "tuple[str, ...]": st.lists(plain_text, max_size=3).map(tuple),
}
_FIELDS = {
    name: U64 if name.endswith("_digest") else _STRATEGIES[str(Event.__annotations__[name])]
    for name in Event.__struct_fields__
}
events = st.builds(
    Event, **{**_FIELDS, "key_id": st.text("0123456789abcdef", min_size=1, max_size=32), "at_us": st.integers(0, 2**53)}
)
fingerprints = st.builds(
    Fingerprint,
    **{
        name: st.binary(max_size=48) if kind == "bytes" else st.integers(-127, 127) if name == "harvest" else U64
        for name, kind in Fingerprint.__annotations__.items()
    },
)
entry_ids = st.tuples(st.integers(0, 2**50), st.integers(0, 2**40)).map(lambda pair: f"{pair[0]}-{pair[1]}")
some_rows = st.lists(st.builds(rows.Row, entry_ids, events, fingerprints), max_size=4)

EVENT = Event(
    event_id="e1", at_us=1_790_000_000_000_000, key_id="k1", user_head="SECRET", authorised=("evaluation",), temperature=0.5
)


@given(events, fingerprints)
def test_a_row_comes_back_from_its_bytes_without_text(event: Event, fp: Fingerprint) -> None:
    """Every field but the five of text."""
    assert rows.decode(rows.encode(event, fp)) == (without_text(event), fp)


@given(some_rows)
def test_rows_come_back_from_their_columns(held: list[rows.Row]) -> None:
    """Every value of every type, None and empty lists included, in order."""
    bare = [row._replace(event=without_text(row.event)) for row in held]
    frame = rows.to_frame(held)
    assert frame.schema == rows.SCHEMA
    assert list(rows.from_frame(frame)) == bare


def test_rows_come_back_from_a_parquet_file(tmp_path: Path) -> None:
    """The file keeps types and values."""
    row = rows.Row("1790000000000-3", EVENT, fingerprint(EVENT))
    rows.to_frame([row, row]).write_parquet(tmp_path / "f.parquet", compression="zstd")
    assert list(rows.from_frame(pl.read_parquet(tmp_path / "f.parquet"))) == [row._replace(event=without_text(EVENT))] * 2


def test_no_column_holds_text() -> None:
    """Neither by name nor by content."""
    assert not set(TEXT_FIELDS) & set(rows.SCHEMA)
    frame = rows.to_frame([rows.Row("1-0", EVENT, fingerprint(EVENT))])
    assert "SECRET" not in repr(frame.rows())
    assert b"SECRET" not in rows.encode(EVENT, fingerprint(EVENT))


def test_a_file_of_an_older_release_reads_with_defaults() -> None:
    """A column that it did not have yet is the field's default."""
    frame = rows.to_frame([rows.Row("1-0", EVENT, fingerprint(EVENT))]).drop("temperature", "authorised", "country")
    (row,) = rows.from_frame(frame)
    assert (row.event.temperature, row.event.authorised, row.event.country) == (None, (), "")
    assert row.event.event_id == "e1"


def test_a_row_of_the_first_release_reads_with_defaults() -> None:
    """Neither directions and samples of its texts nor blocks of reasoning: bytes and columns give the defaults."""
    bare, fp = without_text(EVENT), fingerprint(EVENT)
    first = msgspec.structs.astuple(fp)[: Fingerprint.__struct_fields__.index("embedding")]
    old = bytes((rows.ROW_VERSION,)) + msgspec.msgpack.encode((bare, first))
    later = ("embedding", "capability", "harvest", "asked", "answered", "outline")
    names = ["replayed", "emitted", "thinking_budget", "end_user_digest", *(rows.FP + name for name in later)]
    ((_, event, read),) = rows.from_frame(rows.to_frame([rows.Row("1-0", EVENT, fp)]).drop(names))
    assert (
        rows.decode(old)
        == (event, read)
        == (bare, msgspec.structs.replace(fp, embedding=b"", capability=0, harvest=0, asked=b"", answered=b"", outline=b""))
    )


def test_a_file_of_a_newer_release_reads_without_the_rest() -> None:
    """A column that is not known is left out."""
    frame = rows.to_frame([rows.Row("1-0", EVENT, fingerprint(EVENT))]).with_columns(pl.lit(7).alias("invented_later"))
    (row,) = rows.from_frame(frame)
    assert row.event == without_text(EVENT)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x02\x92\x80\x90", bytes((rows.ROW_VERSION,)), bytes((rows.ROW_VERSION,)) + b"\x91\xc0"]
)
def test_bytes_that_are_no_row_are_refused(data: bytes) -> None:
    """Another version, nothing, or another shape."""
    with pytest.raises(ValueError):
        rows.decode(data)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"key_id": ""}, "key_id"),
        ({"key_id": "k" * 129}, "key_id"),
        ({"org_id": "o" * 129}, "org_id"),
        ({"at_us": -1}, "at_us"),
        ({"at_us": 2**53 + 1}, "at_us"),
        ({"output_tokens": 2**63}, "number"),
        ({"max_tokens": 2**63}, "number"),
        ({"key_created_us": 2**64 - 1}, "number"),
        ({"tools_digest": -1}, "digest"),
    ],
)
def test_what_could_not_be_stored_is_a_bad_event(changes: dict[str, object], rule: str) -> None:
    """An event that decodes but fits no column or no key name is refused with the rule."""
    with pytest.raises(BadEvent, match=rule):
        rows.check(msgspec.structs.replace(EVENT, **changes))


@given(events, fingerprints)
def test_what_is_not_refused_can_be_stored(event: Event, fp: Fingerprint) -> None:
    """`check` and the columns agree about what fits."""
    try:
        rows.check(event)
    except BadEvent:
        return
    assert len(rows.to_frame([rows.Row("1-0", event, fp)])) == 1
