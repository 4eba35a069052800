"""accounts: who owns which key, and importing many at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.acting import Yes, print_json, sure
from app.cli.api import AdminUrl, Api, connect, part
from app.cli.common import AsJson, Config, Sets, err, out, plain_table
from app.errors import BadInput, ConfigError, Refused

if TYPE_CHECKING:
    from rich.progress import Progress

group = typer.Typer(help="List, show, set and delete accounts; import many at once.")

SLICE_LINES = 20_000
SLICE_BYTES = 8 * 1024 * 1024
"""What is sent at once: a second of work, so that progress is seen."""

WHOLE_LINES = 200_000
WHOLE_BYTES = 32 * 1024 * 1024
"""What one import may hold; a file within both is stored as a whole or not at all."""

IMPORT_SEC = 120.0
MAX_TOLD = 1000
"""Bad lines that are printed; the rest is counted."""

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="A whole key id; see 'stillwatch id'.")]


@group.command("list")
def list_accounts(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="About so many.")] = 200,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List accounts, in no order.

    Example: [bold]stillwatch accounts list -n 1000 --json[/bold]
    """
    api = connect(config, sets, url)
    found: dict[str, dict[str, Any]] = {}
    for one in api.rows("/v1/accounts", "accounts", page=min(500, limit)):
        found[one["key_id"]] = one  # one may come twice
        if len(found) == limit:
            break
    if as_json:
        print_json(list(found.values()))
        return
    if not found:
        out.print("There are no accounts.")
        return
    rows = [(one["key_id"], one["org_id"], one["plan"], ", ".join(one["authorised"])) for one in found.values()]
    plain_table(rows, ("key", "organisation", "plan", "allowed uses"))


@group.command("show")
def show_account(key_id: KeyId, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Print one account as JSON.

    Example: [bold]stillwatch accounts show 1e1c62b667e743a8fcef373929cf7839[/bold]
    """
    print_json(connect(config, sets, url).get(f"/v1/accounts/{part(key_id)}"))


@group.command("set")
def set_account(
    key_id: KeyId,
    org: Annotated[str, typer.Option("--org", metavar="ORG", help="Organisation.")] = "",
    plan: Annotated[str, typer.Option("--plan", metavar="PLAN", help="A name under limits.plans.")] = "",
    created: Annotated[
        str | None, typer.Option("--created", metavar="TIME", help="When the key was made, RFC 3339.")
    ] = None,
    country: Annotated[str, typer.Option("--country", metavar="CC", help="Two capital letters.")] = "",
    uses: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="USE", help="A use of the contract: evaluation or synthetic_data; may be repeated."
        ),
    ] = None,
    payment: Annotated[str, typer.Option("--payment-id", metavar="HASH", help="Keyed hash of the means of payment.")] = "",
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Make an account, or replace the whole of it: what is not given is emptied.

    Example: [bold]stillwatch accounts set 1e1c62b667e743a8fcef373929cf7839 --org acme --plan team[/bold]
    """
    body = {"org_id": org, "plan": plan, "created_at": created, "country": country, "payment_id": payment}
    done = connect(config, sets, url).call("PUT", f"/v1/accounts/{part(key_id)}", {**body, "authorised": uses or []})
    if as_json:
        print_json(done)
        return
    out.print(f"{done['key_id']}: stored", soft_wrap=True)


@group.command("delete")
def delete_account(key_id: KeyId, yes: Yes = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Forget an account: the key is a stranger again. What it did stays known.

    Example: [bold]stillwatch accounts delete 1e1c62b667e743a8fcef373929cf7839[/bold]
    """
    api = connect(config, sets, url)
    sure(f"Forget the account of {key_id}?", yes)
    api.call("DELETE", f"/v1/accounts/{part(key_id)}")
    out.print(f"{key_id}: forgotten", soft_wrap=True)


@group.command("import")
def import_accounts(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, one account with its key_id on each.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check every line.")] = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Make or replace many accounts. Every line is checked first; while one is bad, nothing is stored.

    Up to 200,000 lines and 32 MiB are stored as a whole; a larger file in parts of that size.

    Example: [bold]stillwatch accounts import accounts.jsonl[/bold]
    """
    api = connect(config, sets, url)
    lines = _lines(file)
    with _meter() as meter:
        _check(api, lines, meter)
        stored = 0 if dry_run else _store(api, lines, meter)
    number = sum(bool(line.strip()) for line in lines)
    out.print(f"{number:,} lines are good, nothing is stored." if dry_run else f"{stored:,} accounts are stored.")


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().split(b"\n")
    except OSError as error:
        raise BadInput(f"file {file}: {error.strerror or 'cannot be read'}") from None


def _check(api: Api, lines: list[bytes], meter: Progress) -> None:
    """Every line, and that no key has two; lines are named as the file numbers them.

    Raises:
        BadInput: a line is bad; all that are were printed.
    """
    task = meter.add_task("checking", total=len(lines))
    bad = 0
    first_line: dict[str, int] = {}
    for first, part_ in _parts(lines, SLICE_LINES, SLICE_BYTES):
        try:
            _send(api, part_, dry_run=True)
        except Refused as refused:
            for fault in refused.faults:
                bad += 1
                place, _, field = fault["field"].removeprefix("body line ").partition(".")
                if bad <= MAX_TOLD and place.isdigit():
                    err.print(f"line {int(place) + first}{f', {field}' if field else ''}: {fault['rule']}", soft_wrap=True)
                elif bad <= MAX_TOLD:
                    err.print(f"{fault['field']}: {fault['rule']}", soft_wrap=True, markup=False)
        else:
            bad += _repeated(part_, first, first_line, bad)
        meter.update(task, advance=len(part_))
    if bad:
        more = f", of which the first {MAX_TOLD:,} are named" if bad > MAX_TOLD else ""
        faults = "1 fault" if bad == 1 else f"{bad:,} faults"
        raise BadInput(f"{faults}{more}; nothing is stored")


def _repeated(lines: list[bytes], first: int, first_line: dict[str, int], bad: int) -> int:
    """Keys of an earlier part again, which the server, seeing one part at a time, cannot know."""
    found = 0
    for at, line in enumerate(lines, start=first + 1):
        if line.strip():
            before = first_line.setdefault(json.loads(line)["key_id"], at)
            if before != at:
                found += 1
                if bad + found <= MAX_TOLD:
                    err.print(f"line {at}, key_id: must not be the key of line {before} again", soft_wrap=True)
    return found


def _store(api: Api, lines: list[bytes], meter: Progress) -> int:
    task = meter.add_task("storing", total=len(lines))
    stored = 0
    for first, part_ in _parts(lines, WHOLE_LINES, WHOLE_BYTES):
        try:
            stored += _send(api, part_, dry_run=False)["stored"]
        except Exception:
            if first:
                err.print(f"the first {first:,} lines are stored, the others are not", soft_wrap=True)
            raise
        meter.update(task, advance=len(part_))
    return stored


def _send(api: Api, lines: list[bytes], *, dry_run: bool) -> Any:
    return api.call(
        "POST",
        "/v1/accounts:import",
        query={"dry_run": "true" if dry_run else None},
        content=b"\n".join(lines),
        headers={"content-type": "application/x-ndjson"},
        wait_sec=IMPORT_SEC,
    )


def _parts(lines: list[bytes], most_lines: int, most_bytes: int) -> Iterator[tuple[int, list[bytes]]]:
    """(lines before it, some lines), each within both bounds."""
    first, size = 0, 0
    part_: list[bytes] = []
    for line in lines:
        if len(line) > most_bytes:
            raise ConfigError(f"line {first + len(part_) + 1}: must be at most {most_bytes:,} bytes")
        if part_ and (len(part_) >= most_lines or size + len(line) + 1 > most_bytes):
            yield first, part_
            first, part_, size = first + len(part_), [], 0
        part_.append(line)
        size += len(line) + 1
    if part_:
        yield first, part_


def _meter() -> Progress:
    """Progress on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
