"""promote: a candidate takes the place of the model in use, by a person."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.cli.acting import Yes, sure
from app.cli.common import Config, Sets, err, out, plain_table, settle
from app.errors import ConfigError


def promote(
    candidate: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CANDIDATE]", exists=True, file_okay=False, help="Folder of calibrate or train; or --back."
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line of at least 10 characters; kept.")] = "",
    cases: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Confirmed cases, from 'evaluate --save-cases'; may be repeated.",
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Put the model before the present one in the place again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the candidate and change nothing.")] = False,
    new_baseline: Annotated[
        bool, typer.Option("--new-baseline", help="Accept the drift so far: compare later candidates with this one.")
    ] = False,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who; default: the user of the machine.")] = "",
    yes: Yes = False,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Check a candidate against anchors and the first baseline, and put it where the workers load their model.

    A candidate that fails is refused. Workers and the admin process take the model up when they start.

    Example: [bold]stillwatch promote models/2026-12-08 --reason "December calibration, reviewed"[/bold]
    """
    from app.offline.promotion import Person, Place, anchors_of, check_reason

    settings = settle(config, sets)
    if settings.worker.model_dir is None:
        raise ConfigError("worker.model_dir must be set: it is the place that a promoted model goes to")
    place = Place(settings.worker.model_dir)
    person = Person(by or _user(), datetime.now(UTC).isoformat(timespec="seconds"), reason)
    if not dry_run:
        check_reason(person)
    if back:
        if candidate is not None:
            raise typer.BadParameter("takes no candidate: it puts back the model before", param_hint="--back")
        sure("Put the model before the present one in the place again?", yes)
        step = place.back(person)
        out.print(f"Model {step.model} is in {place.path} again; restart workers and admin.", soft_wrap=True, markup=False)
        return
    if candidate is None:
        raise typer.BadParameter("needs the folder of a candidate, or --back", param_hint="CANDIDATE")
    anchors = anchors_of(cases or ())
    model, checked = place.examine(candidate, anchors, new_baseline)
    plain_table([(name, f"{value:.3f}") for name, value in checked.figures.items()], ("checked", "value"))
    for failure in checked.failures:
        err.print(f"fails: {failure}", soft_wrap=True, markup=False)
    if dry_run:
        out.print(f"Model {model.id} {'passes' if checked.passed else 'fails'}; nothing was changed.", soft_wrap=True)
        raise typer.Exit(0 if checked.passed else 1)
    if checked.passed:
        sure(f"Put model {model.id} into {place.path}?", yes)
    step = place.promote(candidate, anchors, person, new_baseline)
    out.print(f"Model {step.model} is in {place.path}; restart workers and admin.", soft_wrap=True, markup=False)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
