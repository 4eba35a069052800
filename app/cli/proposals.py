"""proposals: orders about many keys, which one person proposes and another approves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.acting import Why, Yes, print_json, sure, tell
from app.cli.api import AdminUrl, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table
from app.cli.order_words import effect_lines, follow, print_fields

group = typer.Typer(help="Look at orders about many keys, approve or refuse what another person proposed.")

BulkId = Annotated[str, typer.Argument(metavar="ID", help="Id of a bulk order, as the list shows it.")]


@group.command("list")
def list_proposals(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="The newest so many.")] = 50,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List orders about several keys: those that wait for a second person, and those that were carried out.

    Example: [bold]stillwatch proposals list[/bold]
    """
    found = connect(config, sets, url).get("/v1/proposals", limit=limit)["proposals"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("There are none.")
        return
    rows = [
        (one["id"], one["status"], one["action"], f"{one['done']:,}/{one['keys']:,}", one["proposed_by"], one["reason"])
        for one in found
    ]
    plain_table(rows, ("id", "status", "action", "keys", "by", "reason"))


@group.command("show")
def show_proposal(
    bulk_id: BulkId, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Show one of them: how far it is, or what it would touch now and how its keys have changed since.

    Example: [bold]stillwatch proposals show bulk-0f3a9c1d22b47e58[/bold]
    """
    found = connect(config, sets, url).get(f"/v1/proposals/{part(bulk_id)}")
    if as_json:
        print_json(found)
        return
    out.print(f"[bold]{found['id']}[/bold]  {found['status']}, {found['done']:,} of {found['keys']:,} keys")
    print_fields(found, ("action", "reason_code", "reason", "proposed_by", "decided_by", "decision", "skipped"))
    for line in _proposal(found):
        out.print(line, soft_wrap=True, markup=False)


@group.command("approve")
def approve(
    bulk_id: BulkId,
    reason: Why,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is carried out.")] = True,
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Approve what another person proposed, with a reason of at least 10 characters. Shows first what it touches, and asks.

    Example: [bold]stillwatch proposals approve bulk-0f3a9c1d22b47e58 --reason "looked at ten of them"[/bold]
    """
    api = connect(config, sets, url)
    path = f"/v1/proposals/{part(bulk_id)}"
    if not yes:
        found = api.get(path)
        tell(
            [
                f"{found['action']} for {found['ttl_sec']:,} s, by {found['proposed_by']}: {found['reason']}",
                *_proposal(found),
            ]
        )
        sure("Approve?", yes)
    done = api.call("POST", f"{path}:approve", {"reason": reason})
    if wait:
        done = follow(api, bulk_id)
    if as_json:
        print_json(done)
        return
    skipped = f", {done['skipped']:,} of them did not fit any more" if done["skipped"] else ""
    out.print(f"{bulk_id}: {done['status']}, {done['done']:,} of {done['keys']:,} keys{skipped}")


@group.command("refuse")
def refuse(
    bulk_id: BulkId, reason: Why, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Refuse what another person proposed: nothing is done.

    Example: [bold]stillwatch proposals refuse bulk-0f3a9c1d22b47e58 --reason "half of them are customers"[/bold]
    """
    done = connect(config, sets, url).call("POST", f"/v1/proposals/{part(bulk_id)}:refuse", {"reason": reason})
    if as_json:
        print_json(done)
        return
    out.print(f"{bulk_id}: refused")


def _proposal(found: dict[str, Any]) -> list[str]:
    changed = found["changed"]
    lines = [] if found["effect"] is None else effect_lines(found["effect"])
    if changed and (changed["gone"] or changed["new"]):
        lines.append(
            f"! since it was proposed {changed['gone']:,} keys stopped to match and are left out, "
            f"{changed['new']:,} began to and are left out too"
        )
    return lines
