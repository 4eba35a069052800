"""replay: judge a recorded log with the code that judges live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import Config, Sets, err, out, settle


def replay(
    requests: Annotated[
        Path,
        typer.Argument(metavar="LOG", exists=True, help="Request log (JSON Lines, plain or gzip), or an archive folder."),
    ],
    target: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="Folder for the results; it is made.")
    ],
    accounts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Accounts of the keys (JSON Lines).")
    ] = None,
    networks: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Address plan (JSON Lines).")
    ] = None,
    warmup_until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Unix seconds or ISO 8601 from which verdicts count; what is earlier is history. "
            "Default: the middle of the log, or its start with --model.",
        ),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, metavar="FILE", help="TOML that says where another log format keeps the fields."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, metavar="DIR", help="Saved model that judges, instead of a fit."),
    ] = None,
    save_model: Annotated[
        Path | None, typer.Option(file_okay=False, metavar="DIR", help="Save the fitted model here, for worker.model_dir.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Labels of keys (JSON Lines), from 'labels export': abusive ones are left out of the fit, and what was "
            "found of both is reported.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the fit; the same log and seed give the same files.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Judge a recorded log, in its own time, and write verdicts.jsonl, campaigns.jsonl and report.md with plots.

    The first part of the log is history: a model of what is usual is fitted on it; then the rest is judged.
    With fewer than 20 organisations in the history the named rules judge alone.

    Example: [bold]stillwatch replay requests.jsonl.gz --accounts accounts.jsonl --out run[/bold]
    """
    from app.offline.job import ReplayJob, run_replay

    job = ReplayJob(
        requests=requests,
        out=target,
        accounts=accounts,
        networks=networks,
        warmup_until=warmup_until,
        mapping=mapping,
        model=model,
        save_model=save_model,
        labels=labels,
        seed=seed,
    )
    finished = run_replay(job, settle(config, sets), None if quiet else err)
    for note in finished.notes:
        err.print(f"note: {note}", soft_wrap=True, markup=False)
    out.print(finished.summary, soft_wrap=True)
    for path in finished.paths:
        out.print(f"  {path}", soft_wrap=True, markup=False)
