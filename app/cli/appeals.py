"""appeals: customers who object, through the admin API."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli.acting import print_json, when
from app.cli.api import AdminUrl, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table
from app.errors import BadInput

group = typer.Typer(help="File, list, show and decide appeals of customers against what was done about their keys.")

MAX_TEXT_BYTES = 32_768

AppealId = Annotated[str, typer.Argument(metavar="ID", help="Reference of the appeal, as the list shows it.")]


class StatusName(StrEnum):
    """Which appeals."""

    OPEN = "open"
    DECIDED = "decided"


class OutcomeName(StrEnum):
    """What was decided."""

    UPHELD = "upheld"
    OVERTURNED = "overturned"
    PARTLY = "partly"


class ReleaseName(StrEnum):
    """What is done about the key with the decision."""

    NONE = "none"
    END = "end"
    OBSERVE = "observe"


class LabelName(StrEnum):
    """What the decision says about the key."""

    BENIGN = "benign"
    ABUSIVE = "abusive"
    NONE = "none"


@group.command("file")
def file_appeal(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Reference of the action, as the customer quotes it.")],
    contact: Annotated[
        str, typer.Option("--contact", help="Number of the support case, or where the customer is reached.")
    ] = "",
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """File an appeal. The customer's words are read from standard input, never from the command line.

    Example: [bold]stillwatch appeals file sw-b3x7qk2m5aduc --contact "case 77" < letter.txt[/bold]
    """
    try:
        text = sys.stdin.buffer.read(MAX_TEXT_BYTES).decode()
    except UnicodeDecodeError:
        raise BadInput("the customer's words must be UTF-8 text") from None
    made = connect(config, sets, url).call("POST", "/v1/appeals", {"ref": ref, "contact": contact, "text": text})
    if as_json:
        print_json(made)
        return
    out.print(f"{made['id']}: filed, due {when(made['due'])}", soft_wrap=True, markup=False)


@group.command("list")
def list_appeals(
    status: Annotated[
        StatusName | None, typer.Option("--status", "-s", help="Only open ones, or only decided ones.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="ID", help="Only about this key.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List appeals: open ones first and the longest waiting at the top, then decided ones, the last decision first.

    Example: [bold]stillwatch appeals list --status open[/bold]
    """
    api = connect(config, sets, url)
    found = list(api.rows("/v1/appeals", "appeals", limit, status=status and status.value, key_id=key))
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("There are no such appeals.")
        return
    rows = [
        (
            one["id"],
            one["status"] + (" (late)" if one["overdue"] else ""),
            f"{one['age_hours']:.1f} h",
            one["action"],
            one["key_id"],
        )
        for one in found
    ]
    plain_table(rows, ("id", "status", "age", "action", "key"))


@group.command("show")
def show_appeal(
    appeal_id: AppealId, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Show one appeal: the customer's words, and what the action rests on.

    Example: [bold]stillwatch appeals show ap-q7m2kd5xw3aha[/bold]
    """
    found = connect(config, sets, url).get(f"/v1/appeals/{part(appeal_id)}")
    if as_json:
        print_json(found)
        return
    late = ", late" if found["overdue"] else ""
    out.print(f"{found['id']}  {found['status']}{late}, filed {when(found['filed'])}", soft_wrap=True, markup=False)
    out.print(f"about {found['ref']}: {found['action']} of key {found['key_id']}", soft_wrap=True, markup=False)
    if found["placed_by"]:
        out.print(f"ordered by {found['placed_by']}, who does not decide", soft_wrap=True, markup=False)
    if found["decided"]:
        out.print(
            f"decided {when(found['decided'])} by {found['decided_by']}: {found['note']}", soft_wrap=True, markup=False
        )
    if found["text"] is not None:
        out.print(f"\n{found['contact'] or 'no contact'}:\n{found['text']}\n", soft_wrap=True, markup=False)
    for fact in (found["statement"] or {}).get("internal", ()):
        out.print(f"  {fact['name']}: {fact['text']}", soft_wrap=True, markup=False)


@group.command("decide")
def decide_appeal(
    appeal_id: AppealId,
    outcome: Annotated[
        OutcomeName,
        typer.Argument(metavar="OUTCOME", help="upheld: the action was right. overturned: wrong. partly: in part."),
    ],
    note: Annotated[str, typer.Option("--note", help="Why, in one line of at least 10 characters; for the audit log.")],
    release: Annotated[
        ReleaseName,
        typer.Option(
            "--release", help="end: the order of this reference ends. observe: nothing is done about the key for a time."
        ),
    ] = ReleaseName.NONE,
    hours: Annotated[float, typer.Option("--hours", help="How long --release observe stands, at most 720.")] = 168.0,
    label: Annotated[
        LabelName | None,
        typer.Option("--label", help="What it says about the key, for fitting models; default: by the outcome."),
    ] = None,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Decide an appeal, and release the key in the same call if asked. Not by the person who gave the order.

    Example: [bold]stillwatch appeals decide ap-q7m2kd5xw3aha overturned --note "a public benchmark"[/bold]
    """
    body = {"outcome": outcome.value, "note": note, "release": release.value, "hours": hours}
    if label is not None:
        body["label"] = label.value
    done = connect(config, sets, url).call("POST", f"/v1/appeals/{part(appeal_id)}:decide", body)
    if as_json:
        print_json(done)
        return
    became = f"; the key is labelled {done['label']}" if done["label"] else ""
    out.print(f"{done['id']}: {done['status']}{became}{_released(done)}", soft_wrap=True, markup=False)


def _released(done: dict[str, Any]) -> str:
    """What became of the order and the key with the decision."""
    ended = done["release"] == "end" or (done["by_person"] and done["status"] == "overturned")
    told = f"; the order {done['ref']} has ended for good" if ended else ""
    if done["released_until"]:
        told += f"; nothing is done about key {done['key_id']} until {when(done['released_until'])}"
    return told
