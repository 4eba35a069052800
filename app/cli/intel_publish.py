"""intel publish, approve, refuse, retract: a campaign leaves after a preview and a second person; one takes it back."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.acting import Why, Yes, print_json, sure, tell, when
from app.cli.api import AdminUrl, Api, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table
from app.cli.intel_accounts import read_accounts
from app.errors import Refused

PATH = "/v1/intel/publications"

MAX_FILE_BYTES = 2 * 1024 * 1024
_ENTRY = re.compile(r"body\.identities\.(\d+)")

publications = typer.Typer(help="Look at what was proposed and published.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a publication, as the list shows it.")]


class LevelName(StrEnum):
    """Traffic Light Protocol 2.0."""

    CLEAR = "clear"
    GREEN = "green"
    AMBER = "amber"
    STRICT = "amber+strict"
    RED = "red"


def publish(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Id of the campaign, c- and 12 hex digits.")],
    group: Annotated[str, typer.Option("--group", help="Trust group that it is told to.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why, in one line of at least 10 characters; it does not leave.")
    ] = "",
    level: Annotated[
        LevelName, typer.Option("--tlp", metavar="LEVEL", help="clear, green, amber or amber+strict; red never leaves.")
    ] = LevelName.STRICT,
    confidence: Annotated[
        int | None, typer.Option("--confidence", min=0, max=100, help="How sure we are; 80 for a confirmed campaign.")
    ] = None,
    asns: Annotated[list[str] | None, typer.Option("--asn", help="Autonomous system, as AS64500; repeatable.")] = None,
    clients: Annotated[list[str] | None, typer.Option("--client", help="Name of a client; repeatable.")] = None,
    networks: Annotated[list[str] | None, typer.Option("--network", help="Network of proxies; repeatable.")] = None,
    identities: Annotated[
        Path | None,
        typer.Option(
            "--identities",
            metavar="FILE",
            help="Accounts, a line each: key id, a space, address. Only keyed hashes of the addresses leave.",
        ),
    ] = None,
    reviewed: Annotated[
        bool, typer.Option("--confirmed-by-review", help="A person has looked at a campaign that is only suspect.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would leave, and propose nothing.")] = False,
    yes: Yes = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print exactly what would leave, or the proposal, as JSON.")
    ] = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Propose that a campaign is told to a trust group. Shows first what would leave, and asks; another person approves it.

    Example: [bold]stillwatch intel publish c-0123456789ab --group labs --reason "looked at twenty keys"[/bold]
    """
    api = connect(config, sets, url)
    numbers, accounts = read_accounts(identities, MAX_FILE_BYTES) if identities is not None else ([], [])
    asked: dict[str, Any] = {
        "campaign_id": campaign,
        "group": group,
        "tlp": level.value,
        "confidence": confidence,
        "confirmed_by_review": reviewed,
        "asns": asns or [],
        "clients": clients or [],
        "networks": networks or [],
        "identities": accounts,
    }
    if dry_run or not yes:
        shown = _call(api, f"{PATH}:preview", asked, numbers)
        if dry_run and as_json:
            print(shown["bundle"])
            return
        lines = [*_about(shown), *shown["says"]]
        if dry_run:
            _print(lines)
            return
        tell(lines)
        if as_json:
            tell([shown["bundle"]])
        sure(f"Propose to tell this to {group}?", yes)
    made = _call(api, PATH, {**asked, "reason": reason}, numbers)
    if as_json:
        print_json(made)
        return
    out.print(
        f"{made['id']}: proposed until {when(made['approvable_until'])}, {made['size']:,} bytes, SHA-256 {made['sha256']}"
    )
    out.print(f"  another person: stillwatch intel approve {made['id']} --reason …", markup=False)


@publications.command("list")
def list_publications(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="The newest so many.")] = 50,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """List proposals and publications, the newest first.

    Example: [bold]stillwatch intel publications list[/bold]
    """
    found = connect(config, sets, url).get(PATH, limit=limit)["publications"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("Nothing was proposed yet.")
        return
    rows = [
        (
            one["id"],
            _status(one),
            one["campaign"],
            one["group"],
            one["tlp"],
            str(one["version"]),
            f"{one['keys']:,}",
            one["proposed_by"],
            when(one["proposed"]),
        )
        for one in found
    ]
    plain_table(rows, ("id", "status", "campaign", "group", "tlp", "version", "keys", "by", "proposed"))


@publications.command("show")
def show_publication(
    publication: Id,
    exact: Annotated[bool, typer.Option("--exact", help="Print exactly the bytes that leave, and nothing else.")] = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Show one: who proposed and approved it, and what it says.

    Example: [bold]stillwatch intel publications show pub-0123456789ab --exact[/bold]
    """
    found = connect(config, sets, url).get(f"{PATH}/{part(publication)}")
    if exact:
        print(found["bundle"], end="")
        return
    if as_json:
        print_json(found)
        return
    _print([*_decided(found), *_about(found), *found["says"]])


def approve(
    publication: Id,
    reason: Why,
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Approve what another person proposed. Shows what leaves, and asks; exactly those bytes go into the group's feed.

    Example: [bold]stillwatch intel approve pub-0123456789ab --reason "read it: no customer is in it"[/bold]
    """
    api = connect(config, sets, url)
    found = api.get(f"{PATH}/{part(publication)}")
    if not yes:
        tell([*_decided(found), *_about(found), *found["says"]])
        sure(f"Tell this to {found['group']}?", yes)
    digest = hashlib.sha256(found["bundle"].encode()).hexdigest()  # of what was shown, whatever the answer calls it
    _decide(api, publication, "approve", {"sha256": digest, "reason": reason}, as_json)


def refuse(
    publication: Id, reason: Why, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Refuse what was proposed: nothing leaves.

    Example: [bold]stillwatch intel refuse pub-0123456789ab --reason "half of its keys are one customer's"[/bold]
    """
    _decide(connect(config, sets, url), publication, "refuse", {"reason": reason}, as_json)


def retract(
    publication: Id, reason: Why, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Take back what was published, at once: members of the group read it as revoked.

    Example: [bold]stillwatch intel retract pub-0123456789ab --reason "it was a partner's evaluation"[/bold]
    """
    _decide(connect(config, sets, url), publication, "retract", {"reason": reason}, as_json)


def _decide(api: Api, publication: str, what: str, body: dict[str, Any], as_json: bool) -> None:
    done = api.call("POST", f"{PATH}/{part(publication)}:{what}", body)
    if as_json:
        print_json(done)
        return
    where = f", {'in' if done['in_feed'] else 'on its way to'} the feed of {done['group']}" if what != "refuse" else ""
    out.print(f"{done['id']}: {done['status']}{where}")


def _call(api: Api, path: str, body: dict[str, Any], numbers: list[int]) -> Any:
    """As `Api.call`; faults of accounts name the line of the file."""
    try:
        return api.call("POST", path, body)
    except Refused as error:
        for fault in error.faults:
            match = _ENTRY.match(fault["field"])
            if match and int(match[1]) < len(numbers):
                rule = f"--identities: line {numbers[int(match[1])]}: {fault['rule']}"
                raise Refused(rule, error.faults) from None
        raise


def _about(one: dict[str, Any]) -> list[str]:
    told = f"{one['campaign']} to {one['group']}: {one['keys']:,} keys, {one['left_out']:,} left out, "
    told += f"{one['identities']:,} accounts, {sum(one['objects'].values()):,} objects, {one['size']:,} bytes, "
    told += f"version {one['version']}"
    return ["What leaves:", told]


def _decided(one: dict[str, Any]) -> list[str]:
    told = [f"{one['id']}  {_status(one)}", f"proposed by {one['proposed_by']}, {when(one['proposed'])}: {one['reason']}"]
    if one["decided"]:
        told.append(f"decided by {one['decided_by']}, {when(one['decided'])}: {one['decision']}")
    if one["retracted"]:
        told.append(f"taken back by {one['retracted_by']}, {when(one['retracted'])}: {one['retraction']}")
    return told


def _status(one: dict[str, Any]) -> str:
    waits = one["status"] in ("published", "retracted") and not one["in_feed"]
    return f"{one['status']}, on its way" if waits else str(one["status"])


def _print(lines: list[str]) -> None:
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)
