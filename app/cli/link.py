"""link: the campaigns of an archive, on one machine or on many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import err, out
from app.cli.inputs import Quiet


def link(
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", exists=True, file_okay=False, help="Archive folder of a live deployment.")
    ],
    model: Annotated[
        Path, typer.Option(exists=True, file_okay=False, metavar="DIR", help="Saved model that judges keys and groups.")
    ],
    target: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="Folder for the result; it is made.")
    ],
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Scheduler of a Dask cluster that reads the partitions, such as tcp://10.0.0.5:8786, or 'local': one "
            "process for each core of this machine. Workers see both folders under the same paths. Default: no cluster.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Link the keys of an archive to campaigns, once, as of its end, and write campaigns.jsonl.

    Partitions are read apart, and may be on a cluster; a kilobyte a key comes back from them.

    Example: [bold]stillwatch link var/archive --model models/current --out run --dask local[/bold]
    """
    from app.offline import many
    from app.offline.progress import meter

    with meter(None if quiet else err) as progress:
        done = many.link(archive, model, target, dask, progress)
    out.print(
        f"{len(done.campaigns)} campaigns among {done.keys:,} keys; {done.events:,} exchanges were read.", soft_wrap=True
    )
    out.print(f"  {done.path}", soft_wrap=True, markup=False)
