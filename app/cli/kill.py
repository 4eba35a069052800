"""kill: the switch that stops everything Stillwatch does about keys."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli.acting import Why, Yes, counted, print_json, sure, tell, when
from app.cli.api import AdminUrl, Api, connect
from app.cli.common import AsJson, Config, Sets, out

FOLLOW_SEC = 2.0
"""How long the gateways are waited for: they follow within a second, and say so in the next moment."""

POLL_SEC = 0.1

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

    While the state server is away it works for processes that read the admin's own kill file, and says what to do
    about the others.

    Example: [bold]stillwatch kill on --reason "false alarms after the new model"[/bold]
    """
    api = connect(config, sets, url)
    sure(f"Switch off {scope.value} at every gateway?", yes)
    found = _followed(api, api.call("PUT", "/v1/kill", {"scope": scope.value, "reason": reason}))
    if as_json:
        print_json(found)
        return
    _print(found)
    _tell_others(found)


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
    found = _followed(api, api.call("DELETE", "/v1/kill", query={"reason": reason or None}))
    if as_json:
        print_json(found)
        return
    _print(found)
    _tell_others(found)


def _followed(api: Api, found: dict[str, Any]) -> dict[str, Any]:
    """The same when the gateways say that they follow, or after FOLLOW_SEC. Where state is away nobody can say so."""
    until = time.monotonic() + FOLLOW_SEC
    while found["state"] is not None and _others(found) and time.monotonic() < until:
        time.sleep(POLL_SEC)
        found = {**api.get("/v1/kill"), "note": found["note"]}
    return found


def _others(found: dict[str, Any]) -> int:
    """Gateways that do something else than what was asked for."""
    return sum(number for scope, number in found["gateways"].items() if scope != found["scope"])


def _tell_others(found: dict[str, Any]) -> None:
    if _others(found):
        tell([f"! not yet followed by {counted(_others(found), 'gateway')}; look again with: stillwatch kill status"])


def _print(found: dict[str, Any]) -> None:
    if not found["scope"]:
        out.print("Nothing is switched off.")
    else:
        sources = [name for name in ("setting", "file", "state") if found[name]]
        out.print(f"KILL SWITCH ON: {found['scope']}, by {' and '.join(sources)}", markup=False)
    if found["reason"]:
        out.print(f"  {found['by']}, {when(found['since'])}: {found['reason']}", soft_wrap=True, markup=False)
    for scope, number in sorted(found["gateways"].items()):
        out.print(f"  {counted(number, 'gateway')}: {scope or 'nothing is switched off'}", markup=False)
    tell([f"! {found['note']}"] if found["note"] else [])
