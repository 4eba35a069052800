"""audit: who changed what, and the proof that nobody changed the record of it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.api import AdminUrl, connect
from app.cli.common import AsJson, Config, Sets, err, out, plain_table
from app.errors import BadInput

group = typer.Typer(help="List the audit log, take it away as a file, and verify that nobody changed it.")

EXPORT_PATH = "/v1/audit:export"
TOLD_SEC = 0.5
"""How often progress is told."""


@group.command("list")
def list_audit(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List who changed what, the last first. On a pipe the columns are separated by tabs.

    Example: [bold]stillwatch audit list -n 20[/bold]
    """
    api = connect(config, sets, url)
    found = list(api.rows("/v1/audit", "records", limit))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    if not found:
        out.print("Nobody has changed anything yet.")
        return
    plain_table(
        [_row(record) for record in found], ("number", "at (UTC)", "who", "role", "action", "about", "outcome", "why")
    )


@group.command("verify")
def verify_audit(
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="An export instead of the running log.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="HEAD",
            help="A head that was noted before, from the log, /v1/health or an earlier verify. Without one, records "
            "that were cut off the end, or a chain written anew, cannot be seen.",
        ),
    ] = None,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Verify the whole chain: any changed, removed, moved or inserted record is found. Status 1 when one is.

    Example: [bold]stillwatch audit verify --head 412-9f2c…[/bold]
    """
    from app.state.audit_file import parse_head, verify

    expected = None if head is None else parse_head(head)
    if file is None:
        found = verify(_watched(connect(config, sets, url).lines(EXPORT_PATH), "verified"), expected)
    else:
        try:
            with file.open("rb") as lines:
                found = verify(_watched(lines, "verified"), expected)
        except OSError as error:
            raise BadInput(f"{file}: {error.strerror or 'cannot be read'}") from None
    since = f" after record {found.anchor.number}" if found.anchor.number else ""
    out.print(f"{found.records:,} records{since} are whole and in order; head {found.head}", soft_wrap=True, markup=False)
    if expected is None:
        err.print(
            "without --head, records cut off the end cannot be seen; note this head for the next time", soft_wrap=True
        )


@group.command("export")
def export_audit(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; default: standard output.")] = None,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Write the whole log as JSON lines that 'audit verify --file' verifies. A file that is there is not written over.

    Example: [bold]stillwatch audit export audit-2026-11.jsonl[/bold]
    """
    lines = _watched(connect(config, sets, url).lines(EXPORT_PATH), "written")
    if file is None:
        for line in lines:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    part = file.with_name(f"{file.name}.part")
    try:
        if file.exists():
            raise BadInput(f"{file}: is there already")
        # The log names people and reasons: it is for its owner's eyes.
        with open(part, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as written:
            written.writelines(lines)
        os.link(part, file)
        part.unlink()
    except FileExistsError:
        raise BadInput(f"{file}: is there already") from None
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or 'cannot be written'}") from None


def _watched(lines: Iterable[bytes], what: str) -> Iterator[bytes]:
    """The lines, with progress on a terminal while they pass, and a last word on how many records there were."""
    told = time.monotonic()
    number = -1  # the first line is the start of the chain
    for number, line in enumerate(lines):
        yield line
        if err.is_terminal and time.monotonic() - told > TOLD_SEC:
            told = time.monotonic()
            err.print(f"  {number:,} records {what}", end="\r")
    err.print(f"  {max(number, 0):,} records {what}")


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    outcome = record["outcome"] if record["of"] is None else f"{record['of']} failed"
    return (
        str(record["number"]),
        record["at"][:19].replace("T", " "),
        f"{record['name']} ({record['token_id']})" if record["name"] != record["token_id"] else record["name"],
        record["role"],
        record["action"],
        record["subject"],
        outcome,
        record["reason"],
    )
