"""allow: keys and organisations about which policy does nothing, who answers for that, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.cli.acting import ALLOWED, MaybeWhy, Why, Yes, print_json, span_sec, sure, when
from app.cli.api import AdminUrl, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table

group = typer.Typer(help="List, add and remove keys and organisations about which policy does nothing.")

Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="key:ID or org:NAME.")]


@group.command("list")
def list_allowed(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """List the entries; those that have ended for 30 days more.

    Example: [bold]stillwatch allow list[/bold]
    """
    found = connect(config, sets, url).get("/v1/allow")["entries"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("The allow-list is empty.")
        return
    rows = [
        (one["subject"], when(one["expires"]) if one["active"] else "ended", one["owner"], one["by"], one["reason"])
        for one in found
    ]
    plain_table(rows, ("subject", "until", "owner", "by", "reason"))


@group.command("add")
def add_allowed(
    subject: Subject,
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it: a person or a team.")],
    reason: Why,
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long, such as 30d; at most 400d.")],
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Let policy do nothing about a key or an organisation. It is judged all the same, and a person's order still counts.

    Where more than 100 keys of an organisation are flagged, another person has to approve it.

    Example: [bold]stillwatch allow add org:acme --owner sales --for 90d --reason "evaluation, contract 4711"[/bold]
    """
    seconds = span_sec(span, "--for", ALLOWED)
    api = connect(config, sets, url)
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    if not yes:
        sure(f"Let policy do nothing about {subject} until {expires:%Y-%m-%d}?", yes)
    done = api.call("PUT", f"/v1/allow/{part(subject)}", {"owner": owner, "reason": reason, "expires": expires.isoformat()})
    if as_json:
        print_json(done)
    elif "id" in done:
        out.print(
            f"Proposed as {done['id']}: {done['keys']:,} keys are flagged, so another person has to approve it "
            f"until {when(done['expires'])}."
        )
    else:
        out.print(f"{done['subject']}: policy does nothing about it until {when(done['expires'])}", markup=False)


@group.command("remove")
def remove_allowed(
    subject: Subject, reason: MaybeWhy = "", yes: Yes = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Take an entry off the list.

    Example: [bold]stillwatch allow remove org:acme[/bold]
    """
    api = connect(config, sets, url)
    sure(f"Let policy act about {subject} again?", yes)
    api.call("DELETE", f"/v1/allow/{part(subject)}", query={"reason": reason or None})
    out.print(f"{subject}: policy acts about it again", markup=False)
