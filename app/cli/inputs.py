"""The options of the commands that read a log, and how they tell what they did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import err, out

if TYPE_CHECKING:
    from app.offline.evaluation import Done

Log = Annotated[
    Path, typer.Argument(metavar="LOG", exists=True, help="Request log (JSON Lines, plain or gzip), or an archive folder.")
]
Accounts = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Accounts of the keys (JSON Lines).")
]
Networks = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Address plan (JSON Lines).")
]
Mapping = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, metavar="FILE", help="TOML that says where another log format keeps the fields."
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Labels of keys (JSON Lines), from 'labels export'."),
]
WarmupUntil = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Unix seconds or ISO 8601; what is earlier is history. Default: the middle of the log."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of every random choice; the same input and seed give the same files.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def show(done: Done) -> None:
    """Notes on standard error, then the summary and the files."""
    for note in done.notes:
        err.print(f"note: {note}", soft_wrap=True, markup=False)
    out.print(done.summary, soft_wrap=True, markup=False)
    for path in done.paths:
        out.print(f"  {path}", soft_wrap=True, markup=False)
