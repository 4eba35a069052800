"""reasons: why something was done, as a statement for the customer or for us."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from app.cli.acting import print_json
from app.cli.api import AdminUrl, connect, part
from app.cli.common import Config, Sets


class Form(StrEnum):
    """How a statement is printed."""

    MD = "md"
    JSON = "json"


class AudienceName(StrEnum):
    """Whose eyes it is for."""

    CUSTOMER = "customer"
    INTERNAL = "internal"


def reasons(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Reference of the action, as the customer quotes it.")],
    form: Annotated[Form, typer.Option("--format", "-f", help="md: a page of Markdown. json: for programs.")] = Form.MD,
    audience: Annotated[
        AudienceName,
        typer.Option("--audience", "-a", help="customer: what may be sent. internal: with scores, names and notes."),
    ] = AudienceName.CUSTOMER,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Print the statement of reasons of an action: what was found, done and until when, and how to object.

    Example: [bold]stillwatch reasons sw-b3x7qk2m5aduc > statement.md[/bold]
    """
    api = connect(config, sets, url)
    path = f"/v1/actions/{part(ref)}/reasons"
    if form is Form.JSON:
        print_json(api.get(path, audience=audience.value))
        return
    lines = api.lines(f"{path}?format=md&audience={audience.value}")
    print(b"".join(lines).decode(), end="")
