"""archive: the Parquet files that workers write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import AsJson, Config, Sets, err, out, plain_table, settle
from app.errors import BadInput

group = typer.Typer(help="List the archive's files, and check that they are whole and hold no text.")

Folder = Annotated[Path | None, typer.Argument(metavar="FOLDER", help="The archive; default: the configured one.")]


@group.command("list")
def list_archive(folder: Folder = None, as_json: AsJson = False, config: Config = None, sets: Sets = None) -> None:
    """List the files by partition, in the order of their exchanges.

    Example: [bold]stillwatch archive list[/bold]
    """
    from app.worker.archive import list_files

    files = list_files(_folder(folder, config, sets))
    if as_json:
        rows = [
            {"path": str(file.path), "day": file.day, "partition": file.partition, "first": file.first, "last": file.last}
            | {"bytes": file.size_bytes}
            for file in files
        ]
        print(json.dumps(rows, indent=2))
        return
    if not files:
        out.print("The archive has no files yet.")
        return
    rows_ = [(file.day, f"{file.partition}", file.first, file.last, f"{file.size_bytes}", file.path.name) for file in files]
    plain_table(rows_, ("day (UTC)", "partition", "first", "last", "bytes", "file"))


@group.command("check")
def check_archive(folder: Folder = None, config: Config = None, sets: Sets = None) -> None:
    """Read every file whole: schema, order, overlaps, and that no text is in it. Status 1 when something is wrong.

    Example: [bold]stillwatch archive check /var/lib/stillwatch/archive[/bold]
    """
    from app.worker.archive import check

    where = _folder(folder, config, sets)
    report = check(where)
    for problem in report.problems:
        err.print(f"  {problem}", soft_wrap=True, markup=False)
    found = f"{report.files:,} files, {report.rows:,} exchanges, {report.size_bytes:,} bytes"
    if report.problems:
        raise BadInput(f"archive {where}: {len(report.problems):,} problems in {found}")
    out.print(f"{found}: all whole, in order, without text.")


def _folder(folder: Path | None, config: Path | None, sets: list[str] | None) -> Path:
    found = folder or settle(config, sets).archive_dir
    if not found.is_dir():
        raise BadInput(f"archive folder {found.resolve()}: no such folder" + ("" if folder else " (worker.archive_dir)"))
    return found
