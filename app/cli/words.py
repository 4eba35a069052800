"""Help in plain words: the library names the types of options as Python does."""

from __future__ import annotations

from typing import Any

import typer

_WORDS = {"<str>": "TEXT", "<int>": "NUMBER", "<float>": "NUMBER", "<int range>": "NUMBER", "<float range>": "NUMBER"}


def plain(command: Any, parent: Any = None) -> None:
    """Rename the types that the help of a command and of those below it shows; a switch takes no value and shows none."""
    # With its parent, because the names of the help option come from the program's own context.
    context = typer.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    for parameter in command.get_params(context):
        shown = parameter.display_type(context)
        if parameter.param_type_name == "argument":
            if shown in _WORDS:
                parameter.display_type_rich = lambda ctx: "TEXT"
        elif parameter.is_flag:
            parameter.metavar = ""
        elif parameter.metavar is None:
            parameter.metavar = _WORDS.get(shown)
    for child in getattr(command, "commands", {}).values():
        plain(child, context)
