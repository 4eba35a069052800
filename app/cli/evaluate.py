"""evaluate: a model against a labelled log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import Config, Sets, err, settle
from app.cli.inputs import Accounts, Log, Mapping, Networks, Quiet, Seed, WarmupUntil, show


def evaluate(
    requests: Log,
    model: Annotated[
        Path, typer.Option(exists=True, file_okay=False, metavar="DIR", help="Saved model that is evaluated.")
    ],
    labels: Annotated[
        Path,
        typer.Option(
            exists=True, dir_okay=False, metavar="FILE", help="Labels of keys (JSON Lines), from 'labels export'."
        ),
    ],
    target: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="Folder for the report; it is made.")
    ],
    accounts: Accounts = None,
    networks: Networks = None,
    mapping: Mapping = None,
    warmup_until: WarmupUntil = None,
    save_cases: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, metavar="FILE", help="Keep the labelled keys judged right, as cases for 'promote --cases'."
        ),
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Judge a labelled log with a model: what it finds, whom it wrongs, how early, with intervals by group.

    Writes figures.json, report.md and plots. Without --warmup-until the whole log is judged.

    Example: [bold]stillwatch evaluate requests.jsonl.gz --model models/new --labels labels.jsonl --out report[/bold]
    """
    from app.offline.evaluation import run_evaluation
    from app.offline.job import ReplayJob

    asked = ReplayJob(
        requests=requests,
        out=target,
        accounts=accounts,
        networks=networks,
        warmup_until=warmup_until,
        mapping=mapping,
        model=model,
        labels=labels,
        seed=seed,
    )
    show(run_evaluation(asked, settle(config, sets), None if quiet else err, save_cases))
