"""What several commands share: the options that settle the configuration, and the two consoles."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from app import settings as configuration
from app.errors import ConfigError
from app.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="STILLWATCH_CONFIG",
        metavar="FILE",
        help="TOML file of settings; the environment wins over it.",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.FIELD=VALUE",
        help="One setting, over file and environment; may be repeated. Lists as in TOML; tables such as limits.plans "
        "are set in the file. "
        "Give secrets by environment instead: a command line can be read by others on the machine.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

out = Console(highlight=False)
"""Results."""

err = Console(stderr=True, highlight=False)
"""Progress and remarks."""


def settle(config: Path | None, sets: Sequence[str] | None, **given: Any) -> Settings:
    """File, environment, --set, then options of the command → settings.

    Args:
        config: the file, if any.
        sets: "section.field=value" as typed.
        given: section__field → value of an option of the command; None is not given.

    Raises:
        ConfigError: as `app.settings.load`; or a --set that is none.
    """
    overrides = dict(map(_override, sets or ()))
    overrides |= {name.replace("__", ".", 1): value for name, value in given.items() if value is not None}
    return configuration.load(config, overrides=overrides)


def warn_of_strangers() -> None:
    """A warning about variables under our prefix that are no settings."""
    if sentence := configuration.strangers():
        err.print(f"warning: {sentence}", soft_wrap=True, markup=False)


def _override(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    name = name.strip()
    section, _, field = name.partition(".")
    if equals and section and "." in field:
        table = ".".join((section, field.partition(".")[0]))
        raise ConfigError(f"--set {name[:64]}: what is inside a table such as [{table[:64]}] is set in the file (--config)")
    if not equals or not section or not field:
        raise ConfigError(f"--set takes section.field=value, such as gateway.port=8080, not {name[:64]!r}")
    if not value.lstrip().startswith(("[", "{")):
        return name, value
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"--set {name}: the value is no valid TOML list or table") from None


def plain_table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    """Columns for a terminal, tab-separated values without heads for a pipe."""
    if not out.is_terminal:
        for row in rows:
            print("\t".join(row))
        return
    from rich.table import Table

    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    out.print(table)


def addresses(found: Mapping[str, str]) -> str:
    """What serves where, for one line."""
    return ", ".join(f"{name} {address}" for name, address in found.items())
