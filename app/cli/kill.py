"""kill: the switch that stops everything Stillwatch does about keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli.acting import Why, Yes, print_json, sure, tell, when
from app.cli.api import AdminUrl, connect
from app.cli.common import AsJson, Config, Sets, out

group = typer.Typer(help="Stop everything that is done about keys at once, see whether it is stopped, go on again.")


class Scope(StrEnum):
    """What is stopped."""

    ACTIONS = "actions"
    ALL = "all"


@group.command("status")
def status(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Tell what is switched off, by whom, why, and at how many gateways. Status 1 when something is.

    Example: [bold]stillwatch kill status[/bold]
    """
    found = connect(config, sets, url).get("/v1/kill")
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found["scope"]:
        raise typer.Exit(1)


@group.command("on")
def switch_off(
    reason: Why,
    scope: Annotated[
        Scope,
        typer.Option(
            "--scope", metavar="SCOPE", help="actions: nothing is done about verdicts and orders. all: nor about limits."
        ),
    ] = Scope.ACTIONS,
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Pull the switch: within a second every gateway does nothing more about keys. Logging and judging go on.

    Works while the state server is away, then for the processes of the admin's machine only.

    Example: [bold]stillwatch kill on --reason "false alarms after the new model"[/bold]
    """
    api = connect(config, sets, url)
    sure(f"Switch off {scope.value} at every gateway?", yes)
    found = api.call("PUT", "/v1/kill", {"scope": scope.value, "reason": reason})
    if as_json:
        print_json(found)
        return
    _print(found)


@group.command("off")
def switch_on(
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Take the switch back: policy, orders and limits work again.

    Example: [bold]stillwatch kill off --reason "the model is rolled back"[/bold]
    """
    api = connect(config, sets, url)
    sure("Let policy, orders and limits work again?", yes)
    found = api.call("DELETE", "/v1/kill", query={"reason": reason or None})
    if as_json:
        print_json(found)
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    if not found["scope"]:
        out.print("Nothing is switched off.")
    else:
        sources = [name for name in ("setting", "file", "state") if found[name]]
        out.print(f"KILL SWITCH ON: {found['scope']}, by {' and '.join(sources)}", markup=False)
    if found["reason"]:
        out.print(f"  {found['by']}, {when(found['since'])}: {found['reason']}", soft_wrap=True, markup=False)
    for scope, number in sorted(found["gateways"].items()):
        out.print(f"  {number:,} gateways: {scope or 'nothing is switched off'}", markup=False)
    tell([f"! {found['note']}"] if found["note"] else [])
