"""`stillwatch evaluate`: a saved model against a log whose keys people have labelled.

The log is judged by the analysis that the worker runs, in the log's own time; then every labelled key is one case, by the
highest score and level that it ever had. Keys whose contract allows what they do are neither honest nor abusive here.
"""

from __future__ import annotations

import contextlib
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from app.errors import BadInput
from app.gateway.identity import Identity
from app.offline import figures, job, labels, model_report, progress, promotion, replay
from app.offline.figures import Ablation, Case
from app.offline.labels import KeyLabels
from app.offline.tracks import FLAGGED, Track
from app.settings import Settings
from detectors import promote
from detectors.contract import Level, Verdict
from detectors.event import Event
from detectors.features import features, stack
from detectors.model import Model
from detectors.promote import Anchors
from detectors.verdict import Moment, combined, level_called

ABLATION_RATE = 0.01


@dataclass
class _Heard:
    """What is remembered of one labelled key.

    Attributes:
        score: highest without each of the scorers, in the model's order; level: likewise.
    """

    times_us: array[int] = field(default_factory=lambda: array("q"))
    score: list[float] = field(default_factory=list)
    level: list[int] = field(default_factory=list)


class Collector:
    """Listens to a replay and makes cases of the labelled keys.

    Args:
        known: the labels.
        model: what judges, for the ablation; None where it is only fitted in the replay, and then there is none.
    """

    def __init__(self, known: KeyLabels, model: Model | None = None) -> None:
        self._known = known
        self._model = model
        self._scorers = () if model is None else tuple(scorer.name for scorer in model.scorers)
        self._heard: dict[str, _Heard] = {}

    def seen(self, event: Event) -> None:
        """An exchange of the judged part."""
        if self._known.of(event.key_id) is not None:
            self._heard.setdefault(event.key_id, _Heard()).times_us.append(event.at_us)

    def heard(self, verdict: Verdict) -> None:
        """A verdict of the judged part: what it would have been without each scorer."""
        held = self._heard.get(verdict.entity_id)
        if held is None or self._model is None:
            return
        moment = Moment(verdict.entity_id, "key", verdict.at_us, 0, verdict.evidence)
        if not held.score:
            held.score, held.level = [0.0] * len(self._scorers), [0] * len(self._scorers)
        for at, name in enumerate(self._scorers):
            rest = [score for score in verdict.scores if score.scorer != name]
            held.score[at] = max(held.score[at], combined(self._model.policy, moment, rest))
            held.level[at] = max(held.level[at], level_called(self._model.policy, moment, rest)[0])

    def cases(self, ranked: Sequence[Track], strata: Mapping[str, str]) -> list[Case]:
        """Every labelled key that was judged, in the order of `ranked`.

        Args:
            ranked: the replay's tracks.
            strata: peer group of each labelled key.
        """
        found = []
        for track in ranked:
            finding = self._known.of(track.key_id)
            if finding is None or not track.judged or track.authorised:
                continue
            group = self._known.groups.get(track.key_id)
            abusive = finding == "abusive"
            owner = track.org_id or track.key_id
            needed, hours = None, None
            times = self._heard[track.key_id].times_us
            if track.flagged_us is not None:
                needed = bisect_right(times, track.flagged_us)
                hours = (track.flagged_us - times[0]) / 3.6e9
            found.append(
                Case(
                    track.key_id,
                    f"campaign {group}" if abusive and group else f"organisation {owner}",
                    group or strata.get(track.key_id, "unknown"),
                    abusive,
                    track.score,
                    track.flagged,
                    track.requests,
                    needed,
                    hours,
                )
            )
        return found

    def ablation(self, cases: Sequence[Case]) -> list[Ablation]:
        """Figures of the same cases without each scorer in turn."""
        if not cases:
            return []
        bad = np.array([case.abusive for case in cases], np.bool_)
        held = [self._heard[case.key_id] for case in cases]
        found = []
        for at, name in enumerate(self._scorers):
            scores = np.array([one.score[at] for one in held])
            flagged = np.array([one.level[at] >= FLAGGED for one in held])
            recall = None
            if bad.any() and not bad.all():
                recall = float((scores[bad] > figures.threshold(scores[~bad], ABLATION_RATE)).mean())
            own = [float(flagged[side].mean()) if side.any() else None for side in (bad, ~bad)]
            found.append(Ablation(name, recall, own[0], own[1]))
        return found


@dataclass(frozen=True, slots=True)
class Done:
    """What a command of this family did.

    Attributes:
        summary: one sentence.
        notes: sentences that a person should read.
        paths: files that were written, the report last.
    """

    summary: str
    notes: tuple[str, ...]
    paths: tuple[Path, ...]


def watched(plan: replay.Plan, collector: Collector) -> replay.Plan:
    """The plan, with the collector listening."""
    return replace(plan, seen=collector.seen, heard=collector.heard)


def run_evaluation(
    asked: job.ReplayJob, settings: Settings, console: Console | None = None, cases: Path | None = None
) -> Done:
    """Evaluate `asked.model` on the labelled keys of a log and write figures, report and pictures into `asked.out`.

    Args:
        asked: the log, its options, model and labels.
        settings: identity and text bounds, as the gateway has them.
        console: where progress is shown; None: nowhere.
        cases: file for the labelled keys that the model judges right, as anchors for later candidates.

    Raises:
        BadInput: a file is missing, malformed or too small, or none of its keys is labelled; the message names the place.
        ConfigError: an option contradicts another or breaks its rule, or names what is no model, or no place to write to.
    """
    if asked.model is None or asked.labels is None:
        raise BadInput("an evaluation needs a model (--model) and labels (--labels)")
    plan = job.looking(job.plan_of(asked), settings)
    assert plan.model is not None
    collector = Collector(plan.labels, plan.model)
    identities: dict[str, Identity] = {}
    feed = job.open_feed(asked, settings, identities)
    with job.writable(asked.out, "--out"), progress.meter(console) as meter:
        outcome = replay.play(feed, watched(plan, collector), asked.requests.name, meter)
        with contextlib.closing(outcome.states):
            confirmed = _confirmed(outcome)
        meter.stage("Computing the figures")
        found = summed_up(collector, outcome, asked.seed)
        notes = job.remarks(feed, outcome, asked, identities)
        if cases is not None:
            promotion.save_cases(cases, confirmed)
            notes.append(f"{len(confirmed):,} labelled keys that the model judges right are kept in {cases}")
        notes += _unused(plan.labels, found)
        document = model_report.Document(
            kind="evaluation",
            model=outcome.model.id,
            source=asked.requests.name,
            facts=job_facts(outcome),
            figures=found,
            notes=tuple(notes),
        )
        paths = model_report.write(asked.out, document)
    return Done(told(found), tuple(notes), paths)


def summed_up(collector: Collector, outcome: replay.Outcome, seed: int) -> figures.Figures:
    """Figures of the labelled keys of a finished replay.

    Raises:
        BadInput: none of them was judged.
    """
    strata = {one.key_id: one.stratum for one in outcome.labelled}
    cases = collector.cases(outcome.ranked, strata)
    if not cases:
        raise BadInput(
            f"--labels: none of the labelled keys was judged: the labels name other keys than {outcome.run.source}, "
            "or these sent too little in its judged part"
        )
    return figures.figures(cases, seed, collector.ablation(cases))


def job_facts(outcome: replay.Outcome) -> tuple[tuple[str, str], ...]:
    """What every report of this family says about the log."""
    run = outcome.run
    judged = sum(1 for track in outcome.ranked if track.judged)
    levels = [track.level for track in outcome.ranked if track.judged]
    return (
        ("Exchanges", f"{run.events:,}, of which {run.warmup_events:,} are history"),
        ("Keys judged", f"{judged:,}"),
        ("Flagged", f"{sum(level >= Level.SUSPECT for level in levels):,}; on watch {levels.count(Level.WATCH):,}"),
    )


def told(found: figures.Figures) -> str:
    """The figures in one sentence."""
    parts = [f"{found.abusive:,} abusive and {found.honest:,} honest keys"]
    if found.own_recall.value is not None:
        parts.append(f"{found.own_recall.value:.1%} of the abusive ones are flagged")
    if found.own_false.value is not None:
        parts.append(f"{found.own_false.value:.2%} of the honest ones are")
    one = next((recall for recall in found.recalls if recall.rate == ABLATION_RATE), None)
    if one is not None and one.found.value is not None:
        parts.append(f"{one.found.value:.1%} are above the score of 1 % of the honest ones")
    return "; ".join(parts)


def _confirmed(outcome: replay.Outcome) -> Anchors:
    """The labelled keys that the model judges right at the end of the log, as they were then."""
    known = [one for one in outcome.labelled if one.judged]
    rows = []
    for one in known:
        state = outcome.states["key", one.key_id]
        rows.append(features(state.profile, state.profile.last_at_us))
        outcome.states.trim()
    attack = np.array([one.finding == "abusive" for one in known], np.bool_)
    whole = Anchors(stack(rows), attack, np.ones(len(known), np.bool_), tuple(f"key {one.key_id}" for one in known))
    level = promote.judged(outcome.model, whole.matrix).level
    right = np.flatnonzero(np.where(attack, level >= Level.WATCH, level < Level.SUSPECT))
    return Anchors(
        whole.matrix.take(right), attack[right], whole.confirmed[right], tuple(whole.kinds[at] for at in right.tolist())
    )


def _unused(known: labels.KeyLabels, found: figures.Figures) -> list[str]:
    missing = len(known) - found.honest - found.abusive
    if not missing:
        return []
    return [
        f"{missing:,} of {len(known):,} labelled keys are not in the figures: not in the judged part, too little to be "
        "judged, or allowed by contract to do what they do"
    ]
