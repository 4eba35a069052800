"""`stillwatch replay` as a value and one function: what to read, how to judge it, what to write.

The command line fills a `ReplayJob` and calls `run_replay`; everything that can be wrong with it is one `BadInput` or
`ConfigError`, and what can be checked before the long part is.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from app.errors import BadInput, ConfigError
from app.gateway.identity import Identifier, Identity
from app.gateway.networks import Networks
from app.gateway.observe import TextLimits
from app.offline import (
    accounts,
    campaign_page,
    campaign_texts,
    labels,
    mapping,
    moments,
    progress,
    replay,
    report,
    verdicts,
)
from app.offline.archive_reader import ArchiveFeed
from app.offline.exchange import EventBuilder
from app.offline.feeds import Feed, LogFeed
from app.offline.history import TooLittleHistory
from app.offline.linking import Reported, campaign_of
from app.offline.records import BadLines
from app.settings import Settings
from detectors import model as models
from detectors.templates_view import View

MAX_BAD_SHARE = 0.01
"""Share of a log's lines that may be malformed; more is probably another format."""

FILES = (verdicts.VERDICTS, verdicts.CAMPAIGNS, report.REPORT, *report.PICTURES)
"""What a replay may write into its folder."""

_PEPPER = SecretStr("replay: these hashes never leave the process")


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """One replay.

    Attributes:
        requests: request log (JSON Lines, plain or gzip), or the archive folder of a live deployment.
        out: folder for verdicts.jsonl, campaigns.jsonl, report.md and its pictures; it is made.
        accounts: accounts beside a log; without, every key is a stranger on the default plan.
        networks: address plan beside a log.
        warmup_until: unix seconds or ISO 8601 from which verdicts count; None: the middle of the log, or its start with
            a saved model.
        mapping: TOML that says where another log format keeps the fields, see `app.offline.mapping`.
        model: folder of a saved model that judges; None: one is fitted on the warm-up, or, where that holds too little, the
            named rules judge alone.
        save_model: folder into which the fitted model is written, for `worker.model_dir`; too little history is then an
            error.
        labels: labels of keys, as `stillwatch labels export` writes them.
        seed: of the fit; the same input and seed give the same bytes in every output file.
    """

    requests: Path
    out: Path
    accounts: Path | None = None
    networks: Path | None = None
    warmup_until: str | None = None
    mapping: Path | None = None
    model: Path | None = None
    save_model: Path | None = None
    labels: Path | None = None
    seed: int = 0


@dataclass
class Finished:
    """What a replay did.

    Attributes:
        outcome: tracks, facts and the model.
        notes: sentences about the input, the model and the files that a person should read.
        paths: files that were written, the report last.
    """

    outcome: replay.Outcome
    notes: list[str]
    paths: list[Path] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One sentence for the terminal."""
        run = self.outcome.run
        keys = sum(1 for track in self.outcome.ranked if track.requests)
        alone = "" if run.peers else " by the named rules alone"
        return (
            f"{len(self.outcome.flagged):,} of {keys:,} keys are flagged{alone}{_groups(self.outcome)}; "
            f"{run.events:,} exchanges in "
            f"{run.seconds:.0f} s ({run.events_per_sec:,.0f}/s)"
        )


def _groups(outcome: replay.Outcome) -> str:
    found = len(outcome.campaigns)
    return f", {found:,} campaign{'' if found == 1 else 's'} reported" if found else ""


def run_replay(job: ReplayJob, settings: Settings, console: Console | None = None) -> Finished:
    """Run a replay and write its files. A folder that it made and left empty, because it failed, is removed again.

    Args:
        job: what to do.
        settings: identity (pepper, default plan) and text bounds, as the gateway has them.
        console: where progress is shown; None: nowhere.

    Raises:
        BadInput: a file is missing, malformed or too small, or holds too little to fit the model that is to be saved; the
            message names the place and the rule.
        ConfigError: an option contradicts another or breaks its rule, or names what is no model, or no place to write to.
    """
    plan = looking(plan_of(job), settings)
    identities: dict[str, Identity] = {}
    return run_plan(job, plan, lambda: open_feed(job, settings, identities), identities, console)


def run_plan(
    job: ReplayJob,
    plan: replay.Plan,
    opened: Callable[[], Feed],
    identities: Mapping[str, Identity],
    console: Console | None = None,
) -> Finished:
    """A replay of exchanges that come from anywhere, by a plan of the caller's own.

    Args:
        job: where to write, and what the report calls the input.
        plan: how to judge.
        opened: gives a feed that nothing was taken from yet; called once more where the history is too small for peers.
        identities: what is known of keys; filled when `opened` has been called.
        console: where progress is shown; None: nowhere.

    Raises:
        BadInput, ConfigError: as `run_replay`.
    """
    feed = opened()
    with contextlib.ExitStack() as stack:
        stack.enter_context(writable(job.out, "--out"))
        if job.save_model is not None:
            stack.enter_context(writable(job.save_model, "--save-model"))
        old = [name for name in FILES if (job.out / name).exists()]
        meter = stack.enter_context(progress.meter(console))
        notes: list[str] = []
        try:
            outcome = replay.play(feed, plan, job.requests.name, meter)
        except TooLittleHistory as error:
            if job.save_model is not None:
                raise BadInput(f"--save-model: {error.reason}, so there is no model to save") from None
            notes.append(f"{error.reason[0].upper()}{error.reason[1:]}, so only the named rules judged.")
            feed = opened()  # a feed is gone through once
            outcome = replay.play(feed, replace(plan, model=models.rules_only()), job.requests.name, meter)
        outcome.states.close()
        notes += remarks(feed, outcome, job, identities)
        if job.labels is not None:
            notes.append(f"{len(outcome.labelled):,} of {len(plan.labels):,} labelled keys are in the judged part.")
        if job.save_model is not None:
            save_model(outcome.model, job.save_model)
        meter.stage("Writing the report")
        page = report.Page(
            run=outcome.run,
            ranked=outcome.ranked,
            bad=feed.bad,
            notes=tuple(notes),
            labelled=outcome.labelled,
            campaigns=outcome.campaigns,
            alike=_alike(feed, outcome.campaigns[: campaign_page.MAX_PAGES]),
        )
        try:
            paths = [
                verdicts.write_verdicts(job.out, outcome.ranked, campaign_of(outcome.campaigns)),
                verdicts.write_campaigns(job.out, outcome.campaigns),
                report.write(job.out, page),
            ]
        except OSError as error:
            raise BadInput(f"{job.out}: {error.strerror or 'cannot be written'}") from None
    if old:
        notes.append(f"{job.out} held the results of an earlier replay, which were overwritten: {', '.join(old)}")
    return Finished(outcome, notes, paths)


def _alike(feed: Feed, campaigns: Sequence[Reported]) -> list[list[View]] | None:
    """What the members of campaigns write alike, from a second reading; None where the input holds no texts."""
    if not campaigns or not isinstance(feed, LogFeed):
        return None
    try:
        return campaign_texts.seen_again(feed.again({key for one in campaigns for key in one.keys}), campaigns)
    except BadInput:  # the log has gone since: the report does without the words
        return None


def plan_of(job: ReplayJob) -> replay.Plan:
    """How the log is to be judged.

    Raises:
        BadInput, ConfigError: as `run_replay`.
    """
    if job.model is not None and job.save_model is not None:
        raise ConfigError("--save-model writes the model that a replay fits; with --model none is fitted")
    border = None if job.warmup_until is None else moments.parse(job.warmup_until, "--warmup-until")
    try:
        model = None if job.model is None else models.load(job.model)
    except models.BadModel as error:
        raise ConfigError(f"--model: {error}") from None
    known = labels.KeyLabels() if job.labels is None else labels.load(job.labels)
    return replay.Plan(warmup_until_us=border, model=model, seed=job.seed, labels=known)


def looking(plan: replay.Plan, settings: Settings) -> replay.Plan:
    """The plan, with looks at the whole fleet as the workers have them."""
    worker = settings.worker
    return replace(plan, look_us=worker.look_hours * 3_600_000_000, honest_share=worker.called_honest_share)


def open_feed(job: ReplayJob, settings: Settings, identities: dict[str, Identity]) -> Feed:
    """Opens the input; fills `identities` from the accounts file.

    Raises:
        BadInput, ConfigError: as `run_replay`.
    """
    if job.requests.is_dir():
        for option, value in (("accounts", job.accounts), ("networks", job.networks), ("mapping", job.mapping)):
            if value is not None:
                raise ConfigError(f"--{option} is for request logs; an archive holds what the gateway knew")
        return ArchiveFeed(job.requests)
    identity = settings.identity
    peppered = bool(identity.pepper.get_secret_value())
    if not peppered:
        identity = identity.model_copy(update={"pepper": _PEPPER})
    identifier = Identifier(identity, None, Networks.load(job.networks) if job.networks else None)
    parser = mapping.load(job.mapping, identifier.hasher.key) if job.mapping else None
    hashed = parser is not None and parser.hashes_keys
    if hashed and not peppered:
        raise ConfigError("identity.pepper must be set: the mapping hashes credentials, and the hashes are written out")
    if job.accounts:
        identities |= accounts.load(job.accounts, identifier.hasher, identity.default_plan, hashed)
    limits = TextLimits(settings.gateway.text_head_chars, settings.gateway.text_tail_chars)
    builder = EventBuilder(identities, identifier, limits, identity.default_plan)
    return LogFeed(job.requests, builder, BadLines(MAX_BAD_SHARE), parser)


def remarks(feed: Feed, outcome: replay.Outcome, job: ReplayJob, identities: Mapping[str, Identity]) -> list[str]:
    """Sentences about the input."""
    notes = list(feed.notes)
    if feed.bad.bad:
        number, rule = feed.bad.examples[0]
        notes.append(
            f"{feed.bad.bad:,} of {feed.bad.total:,} lines could not be used and were left out; "
            f"the first is line {number}: {rule}"
        )
    if job.accounts:
        strangers = sum(1 for track in outcome.ranked if track.key_id not in identities)
        if strangers:
            notes.append(
                f"{strangers:,} of {len(outcome.ranked):,} keys are not in {job.accounts.name}; "
                "they were judged as strangers on the default plan"
            )
    return notes


@contextlib.contextmanager
def writable(path: Path, option: str) -> Iterator[None]:
    """Makes a folder and tries to write in it, before the long part and not after it; what it made goes after a failure."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise ConfigError(f"{option} {path}: {error.strerror or 'cannot be written'}") from None
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # one that holds something stays, and so do those above it
            for folder in made:
                folder.rmdir()
        raise


def save_model(model: models.Model, directory: Path, option: str = "--save-model") -> None:
    """Write a model.

    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        models.save(model, directory)
    except models.BadModel as error:
        raise BadInput(f"{option}: {error}") from None
    except OSError as error:
        raise BadInput(f"{option} {directory}: {error.strerror or 'cannot be written'}") from None
