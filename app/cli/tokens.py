"""tokens: who may use the admin API, made, listed and revoked through it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli.api import AdminUrl, connect, part
from app.cli.common import AsJson, Config, Sets, err, out, plain_table

group = typer.Typer(help="Make, list and revoke the tokens by which people and scripts use the admin API.")


class RoleName(StrEnum):
    """A role as people type it."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    APPROVER = "approver"
    ADMIN = "admin"
    AUDITOR = "auditor"


@group.command("make")
def make_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it.")],
    role: Annotated[
        RoleName,
        typer.Option(
            "--role",
            "-r",
            help="viewer: look. analyst: act about keys, all but suspend. approver: suspend, be the second person, "
            "allow-list, kill switch. admin: everything. auditor: read everything, the audit log too.",
        ),
    ],
    days: Annotated[int, typer.Option("--days", help="For how long it counts, at most 366.")] = 90,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Make a token and print it, this once: only its digest is kept.

    Example: [bold]stillwatch tokens make "night shift" --role approver --days 30[/bold]
    """
    made = connect(config, sets, url).call("POST", "/v1/tokens", {"name": name, "role": role.value, "days": days})
    if as_json:
        print(json.dumps(made, indent=2))
        return
    print(made["token"])
    expires = _day(made["expires"])
    err.print(f"{role.value} until {expires}, id {made['token_id']}; it is not shown again", soft_wrap=True, markup=False)


@group.command("list")
def list_tokens(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """List the tokens, those made last first; those that ended for 90 days more.

    Example: [bold]stillwatch tokens list[/bold]
    """
    found = connect(config, sets, url).get("/v1/tokens")["tokens"]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    if not found:
        out.print("There are no tokens but the one of the settings.")
        return
    plain_table([_row(item) for item in found], ("id", "role", "status", "expires", "last used", "name"))


@group.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Public part of the token, as the list shows it.")],
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Refuse a token from its next request on.

    Example: [bold]stillwatch tokens revoke 3fK9mQ2x[/bold]
    """
    connect(config, sets, url).call("DELETE", f"/v1/tokens/{part(token_id)}")
    out.print(f"{token_id} is refused from now on.", markup=False)


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    used = item["last_used"]
    return (
        item["token_id"],
        item["role"],
        item["status"],
        _day(item["expires"]),
        "never" if used is None else f"{used[:13].replace('T', ' ')}h",
        item["name"],
    )


def _day(moment: str) -> str:
    return moment[:10]
