"""demo: everything at once on this machine, with invented traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Stop after the table. Status 0 only if every planted attacker is flagged and no honest key is acted on.",
        ),
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=10, max=600, help="How long traffic runs before the table.")
    ] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the invented clients and texts.")] = 1,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Let policy only count, and print the report of what it would have done."),
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="DIR", help="Use this folder (new or empty) and leave it; default: a temporary one."
        ),
    ] = None,
) -> None:
    """Watch honest customers and attackers use a model API through the gateway, and see who is caught.

    Starts a state server, a simulated model API, gateway, worker and admin API on free local ports.
    Sends invented traffic of seven honest kinds and four attacks through the gateway.
    Needs nothing, takes about a minute, and leaves nothing behind unless it fails.

    Example: [bold]stillwatch demo --once[/bold]
    """
    from app.demo.show import Wish, run

    raise typer.Exit(run(Wish(once=once, seconds=seconds, seed=seed, keep=keep, shadow=shadow)))
