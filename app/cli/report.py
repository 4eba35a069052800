"""report: what enforcement did, and would have done."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from app.cli.acting import print_json
from app.cli.api import AdminUrl, connect
from app.cli.common import Config, Sets

group = typer.Typer(help="Reports for people who decide about policy.")

SCAN_SEC = 90.0
"""Longest wait: the admin process reads an archive for up to a minute."""


class Format(StrEnum):
    """How a report is printed."""

    MD = "md"
    JSON = "json"


@group.command("would-have")
def would_have(
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="So long ago, 30m, 12h or 7d, or a time in UTC; at most 90 days.")
    ] = "1d",
    form: Annotated[
        Format, typer.Option("--format", "-f", help="md: Markdown for people; json: for programs.")
    ] = Format.MD,
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
