"""Rows of a Parquet file, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from app.errors import BadInput

ROWS = 2048
"""At a time: two million tokens of usual documents."""

_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)


def rows(path: Path) -> int:
    """How many there are, from the file's end.

    Raises:
        BadInput: it is none, or cut off.
    """
    try:
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    except (PolarsError, OSError, ValueError) as error:
        raise _damaged(path.name, error) from None


def read(
    path: Path, name: str, field: str, fields: Sequence[str], skip: int = 0
) -> Iterator[tuple[int, float, str, str | list[int] | None]]:
    """(number from 1, share of the rows, column, value) of each row from `skip` on.

    Args:
        path: of the file.
        name: for messages.
        field: the column; empty: the first of `fields` that there is.
        fields: as said.
        skip: rows passed over.

    Raises:
        BadInput: the file is none or cut off, or the column is missing or of another type.
    """
    try:
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
    except (PolarsError, OSError, ValueError) as error:
        raise _damaged(name, error) from None
    column = field or next((one for one in fields if one in schema), fields[0])
    if column not in schema:
        raise BadInput(f"{name}: has no column {column!r}; --field names another")
    kind = schema[column]
    if kind != pl.String and not (isinstance(kind, pl.List) and kind.inner in _WHOLE):
        raise BadInput(f"{name}: column {column!r} must be text or lists of whole numbers, and is {kind}")
    total, at = rows(path), skip
    while at < total:
        try:
            part: list[Any] = table.select(column).slice(at, ROWS).collect()[column].to_list()
        except (PolarsError, OSError, ValueError) as error:
            raise _damaged(name, error, f" from row {at + 1} on") from None
        for number, value in enumerate(part, at + 1):
            yield number, number / total, column, value
        at += len(part)


def _damaged(name: str, error: Exception, where: str = "") -> BadInput:
    return BadInput(f"{name}: cannot be read as Parquet{where}; it may be cut off ({type(error).__name__})")
