"""Rows of a corpus as the labelled generator reads them, and their Parquet file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

MOST_CHARS = 6_000
SLURS = re.compile(r"\b(n[i1]gg\w*|f[a4]gg?ots?|k[i1]kes?|sp[i1]cs?|ch[i1]nks?|tr[a4]nn(?:y|ies)|retards?)\b", re.I)
"""Rows with one are left out, as in the benchmark's own corpora."""


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt, and what its publisher recorded beside it."""

    prompt: str
    response: str | None = None
    user: str | None = None
    session: str | None = None
    turn: int = 0
    meta: dict[str, Any] = field(default_factory=dict)


def write(path: Path, rows: Iterable[Row]) -> int:
    """One Parquet file; returns how many rows it has. Prompts are cut at MOST_CHARS; empty ones and SLURS are left out."""
    kept = [row for row in rows if row.prompt.strip() and not SLURS.search(f"{row.prompt} {row.response or ''}")]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame(
        {
            "prompt": [row.prompt[:MOST_CHARS] for row in kept],
            "response": [row.response for row in kept],
            "system": [None] * len(kept),
            "user": [row.user for row in kept],
            "session": [row.session for row in kept],
            "turn": [row.turn for row in kept],
            "meta": [json.dumps(row.meta, ensure_ascii=False) if row.meta else None for row in kept],
        },
        schema={
            "prompt": pl.String,
            "response": pl.String,
            "system": pl.String,
            "user": pl.String,
            "session": pl.String,
            "turn": pl.Int32,
            "meta": pl.String,
        },
    )
    table.write_parquet(path, compression="zstd")
    return len(kept)
