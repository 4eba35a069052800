"""An archived event: Event without text, and its Fingerprint, as bytes in Redis and as columns in Parquet.

Both forms give back exactly what went in. Columns are derived from the two structs, so a field added there is archived
without a change here; a file that lacks it reads as the field's default, and one that has more reads without the rest.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
import polars as pl

from app.state.partition import parse_id
from detectors.event import TEXT_FIELDS, BadEvent, Event, without_text
from detectors.fingerprint import Fingerprint

ROW_VERSION = 1
"""First byte of an encoded row."""

FP = "fp_"
"""Prefix of the fingerprint's columns."""

INT64_MAX = 2**63 - 1
UINT64_MAX = 2**64 - 1

LATEST_US = 1 << 53
"""Year 2255. A time beyond it is a broken clock, and would overflow arithmetic on windows."""

ID_MAX_CHARS = 128
"""Longest identity hash that becomes part of a key name."""


_S = TypeVar("_S", bound=msgspec.Struct)


class Row(NamedTuple):
    """One archived exchange. `entry_id` is its id on the partition's stream, which orders the partition."""

    entry_id: str
    event: Event
    fingerprint: Fingerprint


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Event, Fingerprint])


def encode(event: Event, fingerprint: Fingerprint) -> bytes:
    """Row → bytes, with every text field dropped."""
    return bytes((ROW_VERSION,)) + _encoder.encode((without_text(event), fingerprint))


def decode(data: bytes) -> tuple[Event, Fingerprint]:
    """Bytes → row.

    Raises:
        ValueError: the bytes are no row of this version.
    """
    if not data or data[0] != ROW_VERSION:
        raise ValueError(f"archive row version is {data[0] if data else 'missing'}; this program reads {ROW_VERSION}")
    return _decoder.decode(memoryview(data)[1:])


def _dtype(annotation: Any, unsigned: bool) -> pl.DataType:
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (part for part in typing.get_args(annotation) if part is not type(None))
        return _dtype(inner, unsigned)
    if origin in (tuple, list):
        return pl.List(_dtype(typing.get_args(annotation)[0], unsigned))
    plain: dict[Any, pl.DataType] = {
        int: pl.UInt64() if unsigned else pl.Int64(),
        str: pl.String(),
        float: pl.Float64(),
        bool: pl.Boolean(),
        bytes: pl.Binary(),
    }
    return plain[annotation]


def _columns(
    struct: type[msgspec.Struct], prefix: str, unsigned: Callable[[str], bool], skip: Sequence[str] = ()
) -> dict[str, pl.DataType]:
    hints = typing.get_type_hints(struct)
    names = (name for name in struct.__struct_fields__ if name not in skip)
    return {prefix + name: _dtype(hints[name], unsigned(name)) for name in names}


_EVENT_COLUMNS = _columns(Event, "", lambda name: name.endswith("_digest"), TEXT_FIELDS)
_FP_COLUMNS = _columns(Fingerprint, FP, lambda name: name != "harvest")  # hashes, bit sets, counts; a ratio has a sign

SCHEMA: dict[str, pl.DataType] = {"entry_ms": pl.Int64(), "entry_seq": pl.Int64(), **_EVENT_COLUMNS, **_FP_COLUMNS}
"""Columns of an archive file, in order."""

_signed = attrgetter(*(name for name, dtype in _EVENT_COLUMNS.items() if dtype == pl.Int64()))
_unsigned = attrgetter(*(name for name, dtype in _EVENT_COLUMNS.items() if dtype == pl.UInt64()))


def check(event: Event) -> None:
    """Refuses an event that decodes but could not be stored or named.

    Raises:
        BadEvent: an identity is empty or too long, a number does not fit its column, or the time is no time.
    """
    if not 0 < len(event.key_id) <= ID_MAX_CHARS or len(event.org_id) > ID_MAX_CHARS:
        raise BadEvent(f"key_id must have 1 to {ID_MAX_CHARS} characters, org_id at most {ID_MAX_CHARS}")
    if not 0 <= event.at_us <= LATEST_US:
        raise BadEvent("at_us is outside 1970 to 2255")
    if max(filter(None, _signed(event)), default=0) > INT64_MAX:  # msgpack holds nothing below -2**63
        raise BadEvent("a number is above 2**63 - 1")
    if min(_unsigned(event)) < 0:
        raise BadEvent("a digest is negative")


def to_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows → a frame of SCHEMA."""
    ids = [parse_id(row.entry_id) for row in rows]
    data: dict[str, list[Any]] = {"entry_ms": [ms for ms, _ in ids], "entry_seq": [seq for _, seq in ids]}
    for name in _EVENT_COLUMNS:
        data[name] = [getattr(row.event, name) for row in rows]
    for name in _FP_COLUMNS:
        data[name] = [getattr(row.fingerprint, name.removeprefix(FP)) for row in rows]
    return pl.DataFrame(data, schema=SCHEMA, strict=True)


def from_frame(frame: pl.DataFrame) -> Iterator[Row]:
    """A frame of SCHEMA, or of an older or newer one → rows."""
    held = set(frame.columns)
    event_names = [name for name in _EVENT_COLUMNS if name in held]
    fp_names = [name for name in _FP_COLUMNS if name in held]
    make_event = _maker(Event, event_names)
    make_fp = _maker(Fingerprint, [name.removeprefix(FP) for name in fp_names])
    width = 2 + len(event_names)
    for values in frame.select(["entry_ms", "entry_seq", *event_names, *fp_names]).iter_rows():
        yield Row(f"{values[0]}-{values[1]}", make_event(values[2:width]), make_fp(values[width:]))


def _maker(struct: type[_S], names: Sequence[str]) -> Callable[[Sequence[Any]], _S]:
    """Values in column order → struct; lists become tuples, which is what the structs hold."""
    hints = typing.get_type_hints(struct)
    listed = [at for at, name in enumerate(names) if typing.get_origin(hints[name]) is tuple]

    def make(values: Sequence[Any]) -> _S:
        named = dict(zip(names, values, strict=True))
        for at in listed:
            named[names[at]] = tuple(values[at])
        return struct(**named)

    return make
