"""calibrate: a provider's own history → a candidate model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.common import Config, Sets, err, settle
from app.cli.inputs import Accounts, Labels, Log, Mapping, Networks, Quiet, Seed, WarmupUntil, show


def calibrate(
    requests: Log,
    target: Annotated[
        Path,
        typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="New folder for the candidate and its report."),
    ],
    accounts: Accounts = None,
    networks: Networks = None,
    mapping: Mapping = None,
    labels: Labels = None,
    warmup_until: WarmupUntil = None,
    model: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Model in use: who it flags is not learned from. Default: rules.",
        ),
    ] = None,
    least_age_days: Annotated[
        float, typer.Option(min=0.0, help="Accounts younger than this, at the time, are not learned from.")
    ] = 7.0,
    learn_flagged: Annotated[
        bool, typer.Option("--learn-flagged", help="Learn from flagged keys too; for a history known to be clean.")
    ] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Learn what is normal from the first part of a log, try it on the rest, and write a candidate model with a report.

    An organisation has one vote. Nothing judges with the candidate until it is promoted.

    Example: [bold]stillwatch calibrate var/archive --out models/2026-12-08[/bold]
    """
    from app.offline.calibration_job import CalibrationJob, run_calibration
    from app.offline.history import Guards
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
    wanted = CalibrationJob(asked, Guards(least_age_days, not learn_flagged))
    show(run_calibration(wanted, settle(config, sets), None if quiet else err))
