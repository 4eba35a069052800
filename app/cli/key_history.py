"""keys events, keys flags: what a key did lately, and what its flags rested on, through the admin API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.acting import print_json, when
from app.cli.api import AdminUrl, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table
from app.cli.whole import whole_key

KeyId = Annotated[str, typer.Argument(metavar="ID", help="Key id, or the start of one that only one key has.")]


def events(
    key_id: KeyId,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 50,
    before: Annotated[str, typer.Option("--before", metavar="ID", help="Go on from this place of an earlier list.")] = "",
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List a key's exchanges, newest first, without any text. That you looked is recorded.

    Example: [bold]stillwatch keys events 3f9a --limit 20[/bold]
    """
    api = connect(config, sets, url)
    name = whole_key(api, key_id)
    found: list[dict[str, Any]] = []
    place: str | None = before
    while place is not None and len(found) < limit:
        page = api.get(f"/v1/keys/{part(name)}/events", limit=min(500, limit - len(found)), before=place)
        found += page["events"]
        place = page["next_before"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("No exchange of this key is kept.")
        return
    rows = [
        (
            when(one["at"]), one["route"], one["model"], one["decision"], str(one["status"]), one["outcome"],
            str(one["input_tokens"]), str(one["output_tokens"]), f"{one['latency_ms']:.0f}",
        )
        for one in found
    ]  # fmt: skip
    heads = ("time", "route", "model", "decision", "status", "outcome", "input", "output", "ms")
    plain_table(rows, heads)


def flags(
    key_id: KeyId,
    ref: Annotated[
        str, typer.Option("--ref", metavar="REF", help="Only this one, in full and scored again as of today.")
    ] = "",
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List a key's flags, newest first: what each rested on, as it was told then.

    Example: [bold]stillwatch keys flags 3f9a[/bold]
    """
    api = connect(config, sets, url)
    path = f"/v1/keys/{part(whole_key(api, key_id))}/flags"
    if ref:
        print_json(api.get(f"{path}/{part(ref)}"))
        return
    found = api.get(path)["flags"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("This key has no flag on record.")
        return
    for one in found:
        change = f"{one['was']} → {one['level']}, score {one['score']:.3f}: {one['measure']['action']}"
        out.print(f"{when(one['at'])}  {one['ref']}  {change}", soft_wrap=True, markup=False)
        for reason in one["reasons"]:
            out.print(f"  • {reason['text']}", soft_wrap=True, markup=False)
