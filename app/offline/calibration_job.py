"""`stillwatch calibrate`: a provider's own history → a model folder, a candidate that a person may promote.

What is fitted is what is normal here: peer groups, conformal null distributions and what else a model keeps of a history.
What was learned from labelled traffic, here or elsewhere, is taken over as it is. The rest of the log is judged with the
candidate and nothing is learned from it: the report says how often honest organisations would meet each bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from app.errors import BadInput, ConfigError
from app.gateway.identity import Identity
from app.offline import evaluation, job, model_report, progress, replay
from app.offline.evaluation import Collector, Done
from app.offline.history import GUARDED, Guards, TooLittleHistory
from app.offline.labels import KeyLabels
from app.settings import Settings
from detectors import model as models
from detectors.model_files import MANIFEST

PROMISED = (0.1, 0.05, 0.02, 0.01, 0.005, 0.001)


@dataclass(frozen=True, slots=True)
class CalibrationJob:
    """One calibration.

    Attributes:
        asked: the log, its options and, as `out`, the folder of the candidate; `model` is the one in use, whose flags are
            not learned from; `save_model` is not given.
        guards: what is not learned from.
    """

    asked: job.ReplayJob
    guards: Guards = GUARDED


def run_calibration(wanted: CalibrationJob, settings: Settings, console: Console | None = None) -> Done:
    """Fit a candidate, write it with its report into `asked.out`.

    Raises:
        BadInput: a file is missing, malformed or too small, or the history is too small for a model.
        ConfigError: an option breaks its rule, or names what is no model, or no place to write to.
    """
    asked = wanted.asked
    check_new(asked.out)
    plan = job.looking(job.plan_of(asked), settings)
    plan = replace(plan, model=None, suspects=plan.model, guards=wanted.guards)
    collector = Collector(plan.labels)
    identities: dict[str, Identity] = {}
    feed = job.open_feed(asked, settings, identities)
    with job.writable(asked.out, "--out"), progress.meter(console) as meter:
        try:
            outcome = replay.play(feed, evaluation.watched(plan, collector), asked.requests.name, meter)
        except TooLittleHistory as error:
            raise BadInput(f"{error.reason}: let --warmup-until be later, or lower --least-age-days") from None
        outcome.states.close()
        meter.stage("Writing the model and its report")
        notes = job.remarks(feed, outcome, asked, identities)
        labelled = _labelled(plan.labels, outcome)
        if labelled:
            notes.append(labelled)
        found = evaluation.summed_up(collector, outcome, asked.seed) if outcome.labelled else None
        document = model_report.Document(
            kind="calibration",
            model=outcome.model.id,
            source=asked.requests.name,
            facts=(*evaluation.job_facts(outcome), *learned(outcome.model, outcome.run, wanted.guards)),
            figures=found,
            tables=(held_out(outcome),),
            notes=tuple(notes),
        )
        job.save_model(outcome.model, asked.out, "--out")
        paths = model_report.write(asked.out, document)
    return Done(
        f"Candidate {outcome.model.id} in {asked.out}: {outcome.model.notes.get('organisations', 0):,} organisations. It "
        "judges nothing until it is promoted",
        tuple(notes),
        paths,
    )


def _labelled(labels: KeyLabels, outcome: replay.Outcome) -> str:
    """What labels took out of the learning, in a sentence; "" without labels.

    Raises:
        BadInput: none of the labelled keys is in the log: the learning would take abusive keys for the norm.
    """
    if not len(labels):
        return ""
    known = {track.key_id for track in outcome.ranked}
    missing = len((labels.benign | labels.abusive) - known)
    if missing == len(labels):
        raise BadInput(
            f"--labels: none of the {len(labels):,} labelled keys is in {outcome.run.source}; key_id is the id of "
            "stillwatch id, under the pepper that the log was read with"
        )
    told = f"{len(labels.abusive & known):,} keys with an abusive label were not learned from"
    return f"{told}; {missing:,} of {len(labels):,} labels name keys that are not in the log" if missing else told


def check_new(out: Path) -> None:
    """A candidate gets a folder of its own: none that is in use is ever written over.

    Raises:
        ConfigError: the folder holds a model already.
    """
    if (out / MANIFEST).exists():
        raise ConfigError(f"--out {out}: holds a model already, and a model is not written over; name a new folder")


def learned(model: models.Model, run: replay.Run, guards: Guards) -> tuple[tuple[str, str], ...]:
    """What a candidate has learned from, and what it was kept from."""
    notes = model.notes
    young = f"{run.young:,} keys while their account was younger than {guards.least_age_d:g} days"
    return (
        (
            "Learned from",
            f"{notes.get('rows', 0):,} rows of {notes.get('organisations', 0):,} organisations, one vote each",
        ),
        ("Not learned from", f"{young}; {run.suspected:,} keys that were flagged, with their organisations"),
        ("Organisations taken out", f"{notes.get('taken_out', 0):,}"),
    )


def held_out(outcome: replay.Outcome) -> model_report.Table:
    """How many organisations of the judged part reach a score that so many honest ones should."""
    highest: dict[str, float] = {}
    for track in outcome.ranked:
        if track.judged and not track.authorised:
            owner = track.org_id or track.key_id
            highest[owner] = max(track.score, highest.get(owner, 0.0))
    scores = np.array(list(highest.values()))
    rows = []
    for promised in PROMISED:
        reached = int((scores >= 1.0 - promised).sum())
        rows.append((f"{1.0 - promised:g}", f"{promised:.1%}", f"{reached:,}", f"{reached / max(1, len(scores)):.1%}"))
    return model_report.Table(
        "Organisations of the part that was not learned from",
        f"{len(scores):,} organisations, by the highest score that any of their keys had. An organisation has several keys "
        "and a model several peer scorers, so a few times the nominal share is as it should be; much more says that the "
        "traffic has changed since the history, or that somebody harvests.",
        ("Score", "Nominal share", "Organisations", "Share"),
        tuple(rows),
    )
