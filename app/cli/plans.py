"""plans: what each allows, who is on it, and changing it while everything runs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.acting import MaybeWhy, Yes, print_json, read_bytes, sure
from app.cli.api import AdminUrl, connect, part
from app.cli.common import AsJson, Config, Sets, out, plain_table
from app.errors import BadInput, Refused

group = typer.Typer(help="List the plans, show who is on one, change one while the gateways run.")

MAX_PLAN_BYTES = 64 * 1024

_SHAPE = (
    "A plan has the tables [key], [org] and [models.NAME], each with budgets such as requests_per_min = 60; what "
    "'stillwatch plans show NAME --json' has under limits is one"
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a plan, as accounts have it.")]


@group.command("list")
def list_plans(as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """List the plans that have limits of their own, and where those come from.

    Example: [bold]stillwatch plans list[/bold]
    """
    found = connect(config, sets, url).get("/v1/plans")
    if as_json:
        print_json(found)
        return
    plain_table(
        [(one["name"], one["source"], _limits(one["limits"])) for one in found["plans"]], ("plan", "from", "limits")
    )


@group.command("show")
def show_plan(name: Name, as_json: AsJson = False, url: AdminUrl = "", config: Config = None, sets: Sets = None) -> None:
    """Show one plan and how many accounts are on it.

    Example: [bold]stillwatch plans show team[/bold]
    """
    found = connect(config, sets, url).get(f"/v1/plans/{part(name)}")
    if as_json:
        print_json(found)
        return
    out.print(f"[bold]{found['name']}[/bold]  from {found['source']}: {_limits(found['limits'])}", soft_wrap=True)
    such = f", such as {', '.join(found['examples'][:3])}" if found["examples"] else ""
    out.print(f"{found['accounts']:,} accounts of {found['organisations']:,} organisations are on it{such}", soft_wrap=True)


@group.command("set")
def set_plan(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What limits.plans.NAME may hold, as TOML, or JSON if it ends so; - for TOML."),
    ],
    reason: MaybeWhy = "",
    yes: Yes = False,
    as_json: AsJson = False,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Make a plan or replace the whole of it, at every gateway within a second. Says first who is on it, and asks.

    Example: [bold]stillwatch plans set team team.toml[/bold]
    """
    api = connect(config, sets, url)
    body = _read(file)
    if not yes:
        listed = {one["name"] for one in api.get("/v1/plans")["plans"]}
        on_it = api.get(f"/v1/plans/{part(name)}")["accounts"] if name in listed else 0
        sure(f"{on_it:,} accounts are on {name} now. Change it?", yes)
    try:
        done = api.call("PUT", f"/v1/plans/{part(name)}", body, query={"reason": reason or None})
    except Refused as refused:
        raise Refused(f"{refused}. {_SHAPE}", refused.faults) from None
    if as_json:
        print_json(done)
        return
    out.print(f"{done['name']}: {_limits(done['limits'])}", soft_wrap=True, markup=False)


@group.command("delete")
def delete_plan(
    name: Name, reason: MaybeWhy = "", yes: Yes = False, url: AdminUrl = "", config: Config = None, sets: Sets = None
) -> None:
    """Forget what was set here: the settings' plan of that name is in force again, or else 'default'.

    Example: [bold]stillwatch plans delete team[/bold]
    """
    api = connect(config, sets, url)
    sure(f"Forget the plan {name} as it was set here?", yes)
    api.call("DELETE", f"/v1/plans/{part(name)}", query={"reason": reason or None})
    out.print(f"{name}: what the settings say is in force again", markup=False)


def _read(file: Path) -> Any:
    data = read_bytes(file, MAX_PLAN_BYTES)
    try:
        return json.loads(data) if file.suffix == ".json" else tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise BadInput(f"file {file}: must be UTF-8 text") from None
    except ValueError as error:
        raise BadInput(f"file {file} is no valid {'JSON' if file.suffix == '.json' else 'TOML'}: {error}") from None


def _limits(limits: dict[str, Any]) -> str:
    """Every budget in one line."""
    told = []
    scopes = {
        "key": limits["key"],
        "org": limits["org"],
        **{f"model {name}": rule for name, rule in limits["models"].items()},
    }
    for scope, rule in scopes.items():
        budgets = [f"{value:,g} {name.replace('_', ' ')}" for name, value in rule.items() if value is not None]
        if budgets:
            told.append(f"{scope}: {', '.join(budgets)}")
    return "; ".join(told) or "no limits"
