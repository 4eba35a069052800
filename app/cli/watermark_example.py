"""watermark example: files to try a search on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import err, out


def example(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", file_okay=False, help="Folder to make them in: empty, or not there yet.")
    ],
) -> None:
    """Make a small data set that the answers to two made keys leaked into, to try a search on.

    A toy model writes it, marked as an engine marks; secret, profile, keys and a log of served answers lie beside it.

    Example: [bold]stillwatch watermark example drill[/bold]
    """
    from app.watermark.example import write

    with err.status("a toy model writes 200 documents"):
        made = write(folder)
    out.print("Made. To find whose answers are in it:", soft_wrap=True)
    command = f"stillwatch watermark attribute {made.corpus} --tenants {made.tenants} --profiles {made.profiles}"
    out.print(
        f"  {command} --secrets {made.secrets} --out {folder / 'report'}", soft_wrap=True, markup=False, highlight=False
    )
