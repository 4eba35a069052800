"""`stillwatch train`: labelled history → trees of the provider's own, in a candidate that a person may promote.

The trees are fitted on the labelled keys, and calibrated like any model on the whole history. How good they are is told by
campaigns and organisations that they had not seen, beside the shipped trees on the same rows; what happens to a kind of
abuse that nobody had labelled is tried by leaving each out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Console

from app.errors import BadInput
from app.gateway.identity import Identity
from app.offline import figures, job, lessons, model_report, progress
from app.offline.calibration_job import check_new
from app.offline.evaluation import Done, told
from app.offline.feeds import Feed
from app.offline.figures import Case, Figures
from app.offline.history import GUARDED, Guards, History, TooLittleHistory
from app.offline.labels import KeyLabels
from app.offline.lessons import Gatherer, Lessons
from app.offline.progress import Meter
from app.offline.states import StateTable
from app.offline.tracks import Tracks
from app.settings import Settings
from detectors import model as models
from detectors.analysis import Analysis
from detectors.scorers import boosted

LEAST_ABUSIVE, LEAST_HONEST = 5, 20
"""Campaigns and organisations of either side below which nothing is learned."""

MAX_GROUPS = 20
END_OF_TIME_US = 1 << 62


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training.

    Attributes:
        asked: the log, its options with labels and, as `out`, the folder of the candidate. What lies after `warmup_until`
            is not read; without it the whole log is.
        guards: what is not learned from.
    """

    asked: job.ReplayJob
    guards: Guards = GUARDED


def run_training(wanted: TrainingJob, settings: Settings, console: Console | None = None) -> Done:
    """Train, calibrate and write a candidate with its report into `asked.out`.

    Raises:
        BadInput: a file is missing, malformed or too small, or the labels name too few keys of either side.
        ConfigError: an option breaks its rule, or there is no place to write to.
    """
    asked = wanted.asked
    if asked.labels is None:
        raise BadInput("a training needs labels (--labels)")
    check_new(asked.out)
    plan = job.plan_of(asked)
    identities: dict[str, Identity] = {}
    feed = job.open_feed(asked, settings, identities)
    with job.writable(asked.out, "--out"), progress.meter(console) as meter:
        border_us = END_OF_TIME_US if plan.warmup_until_us is None else plan.warmup_until_us
        gathered = _Gathered(feed, plan.labels, wanted.guards, border_us, meter)
        like = boosted.shipped()
        found = gathered.lessons
        _check(found, plan.labels)
        meter.stage("Trying the trees on what they have not seen")
        odds = lessons.held_out(found, like, asked.seed)
        theirs = like.log_odds(found.matrix)
        tables = [_left_out(found, like, asked.seed, meter), _compared(found, odds, theirs)]
        meter.stage("Fitting the trees and the model")
        trees = lessons.calibrated(lessons.fit(found, like, asked.seed), found, odds)
        try:
            model = gathered.fit(asked.seed, trees)
        finally:
            gathered.states.close()
        meter.stage("Writing the model and its report")
        of_keys = _figures(found, odds, asked.seed)
        notes = list(feed.notes)
        if feed.bad.bad:
            notes.append(f"{feed.bad.bad:,} of {feed.bad.total:,} lines could not be used and were left out")
        document = model_report.Document(
            kind="training",
            model=model.id,
            source=asked.requests.name,
            facts=(
                ("Exchanges", f"{gathered.events:,}"),
                (
                    "Learned from",
                    f"{len(found):,} rows: {found.count(True)} abusive campaigns and organisations, "
                    f"{found.count(False)} honest organisations",
                ),
                ("Calibrated on", f"{model.notes.get('organisations', 0):,} organisations"),
            ),
            figures=of_keys,
            tables=tuple(tables),
            notes=tuple(notes),
        )
        job.save_model(model, asked.out, "--out")
        paths = model_report.write(asked.out, document)
    return Done(f"Candidate {model.id} in {asked.out}; on what it had not seen: {told(of_keys)}", tuple(notes), paths)


class _Gathered:
    """The history and the lessons of a log, gone through once."""

    def __init__(self, feed: Feed, labels: KeyLabels, guards: Guards, border_us: int, meter: Meter) -> None:
        self.states = StateTable(20_000)
        self.events = 0
        tracks = Tracks()
        self._history = History(tracks.owner_of, labels=labels, guards=guards)
        gatherer = Gatherer(labels, tracks.owner_of, guards)
        analysis = Analysis(models.rules_only())
        meter.stage("History")
        try:
            for item in feed.history(border_us):
                # One at a time: a row must show the profile as it was when the key was scored.
                tracks.of(item[0].key_id).saw(item[0], False)
                verdicts = analysis.observe(self.states, [item])
                self._history.take(self.states, verdicts)
                gatherer.take(self.states, verdicts)
                self.states.trim()
                self.events += 1
                meter.at(feed.share, self.events)
            self.lessons = gatherer.lessons(self.states, analysis.model.policy.least_evidence)
        except BaseException:
            self.states.close()
            raise

    def fit(self, seed: int, trees: boosted.Boosted) -> models.Model:
        """The model of the history, with these trees.

        Raises:
            BadInput: the history is too small.
        """
        try:
            return self._history.fit(self.states, seed, trees)
        except TooLittleHistory as error:
            raise BadInput(f"{error.reason}: let --warmup-until be later, or lower --least-age-days") from None


def _check(found: Lessons, labels: KeyLabels) -> None:
    for abusive, least, name in ((True, LEAST_ABUSIVE, "abusive"), (False, LEAST_HONEST, "benign")):
        count = found.count(abusive)
        if count < least:
            known = len(labels.abusive if abusive else labels.benign)
            raise BadInput(
                f"--labels: the log shows enough of {count} {name} organisations and campaigns, of {known} labelled keys; "
                f"training needs {least}"
            )


def _figures(found: Lessons, odds: lessons.Floats, seed: int) -> Figures:
    """Of every key by its highest log-odds, as a probability."""
    cases = []
    for side in (True, False):
        best = lessons.highest(found.keys, odds, found.abusive == side)
        place = {key: at for at, key in enumerate(found.keys)}
        for key, value in sorted(best.items()):
            at = place[key]
            score = float(1.0 / (1.0 + np.exp(-value)))
            cases.append(Case(key, found.units[at], found.groups[at], side, score, score >= 0.5, 0))
    return figures.figures(cases, seed)


def _compared(found: Lessons, odds: lessons.Floats, theirs: lessons.Floats) -> model_report.Table:
    rows = []
    for name, values in (("these trees, held out", odds), ("the shipped trees", theirs)):
        keys = [lessons.highest(found.keys, values, found.abusive == side) for side in (True, False)]
        scores = np.array([*keys[0].values(), *keys[1].values()])
        bad = np.arange(len(scores)) < len(keys[0])
        recalls = [float((scores[bad] > figures.threshold(scores[~bad], rate)).mean()) for rate in (0.05, 0.01)]
        rows.append((name, f"{figures.auroc(scores, bad) or 0.0:.3f}", *(f"{recall:.1%}" for recall in recalls)))
    return model_report.Table(
        "Against the shipped trees",
        "On the same keys. Where the shipped ones are as good, keep them: they have seen more kinds of abuse.",
        ("Trees", "AUROC", "Recall at 5 %", "Recall at 1 %"),
        tuple(rows),
    )


def _left_out(found: Lessons, like: boosted.Boosted, seed: int, meter: Meter) -> model_report.Table:
    names = sorted({group for group, bad in zip(found.groups, found.abusive.tolist(), strict=True) if bad})
    rows = []
    if len(names) > 1:
        meter.stage("Leaving out each kind of abuse")
        for number, name in enumerate(names[:MAX_GROUPS]):
            recall, keys = lessons.without_group(found, like, name, seed)
            rows.append((name, f"{keys:,}", f"{recall:.1%}"))
            meter.at((number + 1) / len(names), len(found))
    return model_report.Table(
        "A kind of abuse that nobody had labelled",
        "Each kind is left out of the training in turn and then looked for, at one honest organisation in a hundred."
        if rows
        else "The labels name fewer than two groups of abusive keys, so none could be left out.",
        ("Left out", "Keys", "Found"),
        tuple(rows),
    )
