"""config: is the configuration right, and what is in force."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from app.cli.common import AsJson, Config, Sets, out, settle, warn_of_strangers
from app.errors import ConfigError

group = typer.Typer(help="Check the configuration, and show what is in force.")


class Service(StrEnum):
    """A command that runs a service, as people type it."""

    SERVE = "serve"
    WORKER = "worker"
    ADMIN = "admin"
    ALL = "all"


@group.command("check")
def check(
    service: Annotated[
        Service | None,
        typer.Option("--for", metavar="COMMAND", help="serve, worker, admin or all: what it needs must be set, too."),
    ] = None,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Read the configuration as the services would, and the files it names. Status 2 and a sentence for what is wrong.

    Without --for, what only some commands need is a remark. Nothing is started, and no server is asked.

    Example: [bold]stillwatch config check --for serve --config stillwatch.toml[/bold]
    """
    from app import preflight

    settings = settle(config, sets)
    warn_of_strangers()
    wrong = preflight.problems(settings)
    remarks = []
    for command, hint in preflight.missing(settings):
        if service is not None and service.value in (command, "all"):
            wrong.append(hint)
        elif service is None:
            remarks.append(f"For '{command}': {hint}.")
    if wrong:
        raise ConfigError("; ".join(wrong))
    out.print("The configuration is valid.")
    for remark in remarks:
        out.print(remark, soft_wrap=True, markup=False)


@group.command("show")
def show(as_json: AsJson = False, config: Config = None, sets: Sets = None) -> None:
    """Print every setting as it is in force, as TOML. Secrets are only said to be set or not.

    Example: [bold]stillwatch config show --set gateway.port=9000[/bold]
    """
    settings = settle(config, sets)
    tree = {name: _shown(getattr(settings, name)) for name in type(settings).model_fields}
    if as_json:
        print(json.dumps(tree, indent=2))
        return
    print("\n".join(_toml(tree)).strip())


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else "(not set)"
    if hasattr(type(value), "model_fields"):
        return {name: _shown(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {name: _shown(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_shown(part) for part in value]
    if isinstance(value, str):
        return re.sub(r"(?<=://)[^/@\s]*@", "(hidden)@", value)  # a password in an address
    return value if isinstance(value, int | float | bool) or value is None else str(value)


def _toml(tree: dict[str, Any], place: str = "") -> Iterator[str]:
    """Lines of TOML; what is not set is a comment, because TOML has no word for it."""
    tables = {name: value for name, value in tree.items() if isinstance(value, dict)}
    for name, value in tree.items():
        if name not in tables:
            yield f"# {name} is not set" if value is None else f"{name} = {json.dumps(value)}"
    for name, value in tables.items():
        quoted = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
        path = f"{place}.{quoted}" if place else quoted
        yield f"\n[{path}]"
        yield from _toml(value, path)
