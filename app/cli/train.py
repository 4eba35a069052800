"""train: labelled history → a candidate with trees of the provider's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import Config, Sets, err, settle
from app.cli.inputs import Accounts, Log, Mapping, Networks, Quiet, Seed, show


def train(
    requests: Log,
    labels: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Labels of keys (JSON Lines), from 'labels export'; a group in a line names the campaign or kind.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="New folder for the candidate and its report."),
    ],
    accounts: Accounts = None,
    networks: Networks = None,
    mapping: Mapping = None,
    warmup_until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Unix seconds or ISO 8601; what is later is not read. Default: the whole log."),
    ] = None,
    least_age_days: Annotated[
        float, typer.Option(min=0.0, help="Accounts younger than this, at the time, are not learned from.")
    ] = 7.0,
    seed: Seed = 0,
    quiet: Quiet = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Fit trees on labelled keys and write a candidate model with a report of how it does on what it has not seen.

    Keys of one campaign or organisation count as one. Nothing judges with the candidate until it is promoted.

    Example: [bold]stillwatch train var/archive --labels labels.jsonl --out models/own-trees[/bold]
    """
    from app.offline.history import Guards
    from app.offline.job import ReplayJob
    from app.offline.training import TrainingJob, run_training

    asked = ReplayJob(
        requests=requests,
        out=target,
        accounts=accounts,
        networks=networks,
        warmup_until=warmup_until,
        mapping=mapping,
        labels=labels,
        seed=seed,
    )
    wanted = TrainingJob(asked, Guards(least_age_days, flagged=True))
    show(run_training(wanted, settle(config, sets), None if quiet else err))
