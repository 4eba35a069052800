"""intel example: two providers on this machine, one of which learns from the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import err, out
from app.errors import BadInput


def example(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the invented clients and texts.")] = 1,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="DIR", help="Use this folder (new or empty) and leave it; default: a temporary one."
        ),
    ] = None,
) -> None:
    """Play two providers: one catches an operation and shares it, the other catches the same one in its first requests.

    Needs nothing and sends nothing beyond this machine. Prints how many answers leaked with and without sharing.
    Takes about two minutes. Status 0 only if sharing kept nine in ten answers from leaking.

    Example: [bold]stillwatch intel example[/bold]
    """
    from app.demo.sharing_show import run

    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
            if any(keep.iterdir()):
                raise BadInput(f"--keep: {keep} must be a new or empty folder")
        except OSError as error:
            raise BadInput(f"--keep: {keep}: {error.strerror or 'cannot be made'}") from None
    raise typer.Exit(run(seed, keep, out, err))
