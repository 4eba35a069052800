"""config: is the configuration right, and what is in force."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import SecretStr

from app.cli.common import AsJson, Config, Sets, out, settle
from app.errors import ConfigError
from app.main import NEEDS_LOGIN, NEEDS_PEPPER, NEEDS_UPSTREAM, load_model
from app.settings import Settings

group = typer.Typer(help="Check the configuration, and show what is in force.")


@group.command("check")
def check(config: Config = None, sets: Sets = None) -> None:
    """Read the configuration as the services would, and the files it names. Status 2 and one sentence for what is wrong.

    Example: [bold]stillwatch config check --config stillwatch.toml[/bold]
    """
    settings = settle(config, sets)
    _check_files(settings)
    missing = [
        (settings.gateway.upstream, "serve", NEEDS_UPSTREAM),
        (settings.identity.pepper.get_secret_value(), "serve", NEEDS_PEPPER),
        (settings.admin.token.get_secret_value(), "admin", NEEDS_LOGIN),
    ]
    out.print("The configuration is valid.")
    for value, command, hint in missing:
        if not value:
            out.print(f"For '{command}': {hint}.", soft_wrap=True, markup=False)


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


def _check_files(settings: Settings) -> None:
    """Raise ConfigError for a named file or model that cannot be used."""
    for name, path in (
        ("accounts_file", settings.identity.accounts_file),
        ("networks_file", settings.identity.networks_file),
    ):
        if path is not None:
            try:
                path.open("rb").close()
            except OSError as error:
                raise ConfigError(f"identity.{name} {path}: {error.strerror or 'cannot be read'}") from None
    load_model(settings)


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
