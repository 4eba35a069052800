"""intel: what is shared with other providers, and what they share."""

from __future__ import annotations

import typer

from app.cli.acting import print_json, when
from app.cli.api import AdminUrl, connect
from app.cli.common import AsJson, Config, Sets, out, plain_table

group = typer.Typer(help="Share campaigns with other providers, and look for what they share.")


@group.command("peers")
def peers(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """List the peers whose collections are read: when, how many objects, and what went wrong at the last poll.

    Example: [bold]stillwatch intel peers[/bold]
    """
    found = connect(config, sets, url).get("/v1/intel/peers")["peers"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("No peer was polled yet. Which ones are is in the file that intel.peers_file names.")
        return
    rows = [
        (
            one["peer"],
            one["collection"] or "(discovery)",
            when(one["polled"]),
            f"{one['objects']:,}",
            f"{one['dropped']:,}",
            one["fault"] or (f"sent; {one['waiting']:,} wait" if one["collection"] == "(words)" else "read"),
        )
        for one in found
    ]
    plain_table(rows, ("peer", "collection", "polled", "objects", "dropped", "result"))
