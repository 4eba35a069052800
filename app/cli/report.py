"""report: what enforcement did and would have done; the newest look at the fleet; and the report of a model again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.acting import print_json
from app.cli.api import AdminUrl, connect
from app.cli.common import Config, Sets, out

group = typer.Typer(help="Reports for people who decide about policy.")

SCAN_SEC = 90.0
"""Longest wait: the admin process reads an archive for up to a minute."""


class Format(StrEnum):
    """How a report is printed."""

    MD = "md"
    JSON = "json"


Form = Annotated[Format, typer.Option("--format", "-f", help="md: Markdown for people; json: for programs.")]


@group.command("would-have")
def would_have(
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="So long ago, 30m, 12h or 7d, or a time in UTC; at most 90 days.")
    ] = "1d",
    form: Form = Format.MD,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Report what was done, and in shadow mode would have been, about the requests of a period.

    Example: [bold]stillwatch report would-have --since 7d > report.md[/bold]
    """
    from app.offline.would_have_page import markdown

    api = connect(config, sets, url)
    found = api.call("GET", "/v1/reports/would-have", query={"since": since}, wait_sec=SCAN_SEC)
    if form is Format.JSON:
        print_json(found)
    else:
        print(markdown(found), end="")


@group.command("looks")
def looks(
    form: Form = Format.MD,
    url: AdminUrl = "",
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Report the newest look at the whole fleet: what is frozen, and which keys stand out among all.

    Few of the listed keys are expected to be honest (worker.called_honest_share); being listed raises no level.

    Example: [bold]stillwatch report looks[/bold]
    """
    from app.offline.looks_page import markdown

    found = connect(config, sets, url).call("GET", "/v1/looks")
    if form is Format.JSON:
        print_json(found)
    else:
        print(markdown(found), end="")


@group.command("model")
def of_model(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Folder that holds a figures.json.")
    ],
) -> None:
    """Draw report.md and its plots anew from the figures.json of calibrate, train or evaluate.

    Example: [bold]stillwatch report model models/2026-12-08[/bold]
    """
    from app.errors import BadInput
    from app.offline import model_report

    document = model_report.read(folder)
    try:
        paths = model_report.render(folder, document)
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror or 'cannot be written'}") from None
    for path in paths:
        out.print(str(path), soft_wrap=True, markup=False)
