"""What can be wrong with a replay's options and files is said before the long part, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadInput, ConfigError, StillwatchError
from app.offline import moments
from app.offline.job import ReplayJob, run_replay
from app.settings import load
from detectors import model as models

Make = Callable[..., dict[str, Any]]
Write = Callable[[list[Any]], Path]

HASHING = """
[fields]
ts = "ts"
key = "key"
path = "path"
request = "request"
"response.status" = "response.status"
[key]
hash = true
"""


@pytest.fixture
def job(record: Make, write_log: Write, tmp_path: Path) -> ReplayJob:
    """A job on a small log: nothing in it is wrong, but it holds too little to fit a model on."""
    return ReplayJob(write_log([record(number) for number in range(40)]), tmp_path / "out")


def _fail(job: ReplayJob, kind: type[StillwatchError]) -> str:
    with pytest.raises(kind) as caught:
        run_replay(job, load(environ={}))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1770163200", 1770163200.0),
        ("1770163200.25", 1770163200.25),
        ("2026-02-04", 1770163200.0),
        ("2026-02-04T00:00:01.5Z", 1770163201.5),
        ("2026-02-04T01:00:00+01:00", 1770163200.0),
        ("0", 0.0),
    ],
)
def test_a_time_is_unix_seconds_or_iso_8601(text: str, seconds: float) -> None:
    """Both forms give µs; a time without a zone is UTC."""
    assert moments.parse(text, "--warmup-until") == round(seconds * 1e6)


@pytest.mark.parametrize("text", ["", "yesterday", "nan", "inf", "-1", "1770163200000", "2026-13-01", "12:30"])
def test_anything_else_is_no_time(text: str, job: ReplayJob) -> None:
    """Milliseconds by mistake are refused too; the sentence names the option and the two forms."""
    assert _fail(replace(job, warmup_until=text), ConfigError).startswith("--warmup-until must be a time: unix seconds")


def test_a_time_past_the_calendar_is_still_written() -> None:
    """A message about a nonsensical time must not fail itself."""
    assert moments.written(1770163200_000_000) == "2026-02-04 00:00 UTC"
    assert moments.written(10**18) == "1000000000000 s"


def test_missing_files_are_named(job: ReplayJob, tmp_path: Path) -> None:
    """Each input that is not there is one sentence with its path."""
    nothing = tmp_path / "nothing"
    for name in ("requests", "accounts", "networks"):
        message = _fail(replace(job, **{name: nothing}), BadInput)
        assert str(nothing) in message
        assert "No such file" in message
    assert "mapping file" in _fail(replace(job, mapping=nothing), ConfigError)
    assert _fail(replace(job, model=nothing), ConfigError).startswith("--model: ")


def test_an_output_folder_that_cannot_be_made_is_refused_first(job: ReplayJob, tmp_path: Path) -> None:
    """Before the log is read, not after."""
    file = tmp_path / "file"
    file.write_text("")
    assert _fail(replace(job, out=file / "out"), ConfigError).startswith(f"--out {file / 'out'}: ")


def test_contradicting_options_are_refused(job: ReplayJob, tmp_path: Path) -> None:
    """Nothing new to save with a saved model; no accounts beside an archive, which holds what the gateway knew."""
    assert "--save-model" in _fail(replace(job, model=tmp_path, save_model=tmp_path), ConfigError)
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("accounts", "networks", "mapping"):
        message = _fail(replace(job, requests=archive, **{name: tmp_path / "x"}), ConfigError)
        assert message.startswith(f"--{name} is for request logs")
    assert _fail(replace(job, requests=archive), BadInput).endswith("holds no archive files")


def test_hashing_credentials_needs_a_pepper(job: ReplayJob, tmp_path: Path) -> None:
    """Without one anybody could test a guess against the hashes in the verdict file."""
    path = tmp_path / "map.toml"
    path.write_text(HASHING)
    assert _fail(replace(job, mapping=path), ConfigError).startswith("identity.pepper must be set")
    done = run_replay(replace(job, mapping=path), load(environ={"STILLWATCH_PEPPER": "a pepper for tests"}))
    assert all(len(track.key_id) == 32 for track in done.outcome.ranked)


def test_too_little_history_leaves_the_named_rules(job: ReplayJob) -> None:
    """Without a peer model the whole log is judged as a worker without one does, and summary and report say so."""
    done = run_replay(job, load(environ={}))
    note = (
        "The history has 3 organisations with enough exchanges (5 answered ones each); a peer model needs 20, "
        "so only the named rules judged."
    )
    assert done.notes == [note]
    assert done.summary.startswith("0 of 3 keys are flagged by the named rules alone; 40 exchanges")
    assert (done.outcome.run.warmup_events, done.outcome.run.fitted) == (0, False)
    assert done.outcome.model.id == models.rules_only().id
    text = done.paths[-1].read_text()
    assert note in text
    assert "the named rules alone: no key was compared with its peers" in text
    assert "comparable" not in text
    with_model = run_replay(replace(job, warmup_until="1790001200"), load(environ={}))
    assert with_model.outcome.run.warmup_events == 20


def test_a_model_that_cannot_be_fitted_cannot_be_saved(job: ReplayJob, tmp_path: Path) -> None:
    """Where the model is what is wanted, too little history is an error, and no empty folder is left."""
    message = _fail(replace(job, save_model=tmp_path / "models" / "new"), BadInput)
    assert message.startswith("--save-model: the history has 3 organisations with enough exchanges")
    assert message.endswith("a peer model needs 20, so there is no model to save")
    assert not job.out.exists()
    assert not (tmp_path / "models").exists()


def test_a_failure_leaves_no_empty_folder_and_what_was_there(job: ReplayJob, tmp_path: Path) -> None:
    """Folders that were made for the results go again; those that were there, or hold something, stay."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{\n")
    for out, stays in ((tmp_path / "a" / "b", False), (tmp_path / "old", True)):
        (tmp_path / "old").mkdir(exist_ok=True)
        _fail(replace(job, requests=bad, out=out), BadInput)
        assert out.exists() == stays
    assert not (tmp_path / "a").exists()


def test_results_of_an_earlier_replay_are_overwritten_with_a_note(job: ReplayJob) -> None:
    """The note names the files; a picture that the new report does not show is gone, other files are left alone."""
    job.out.mkdir()
    for name in ("report.md", "timelines.png", "mine.txt"):
        (job.out / name).write_text("old")
    done = run_replay(job, load(environ={}))
    assert done.notes[-1] == (
        f"{job.out} held the results of an earlier replay, which were overwritten: report.md, timelines.png"
    )
    assert not (job.out / "timelines.png").exists()
    assert (job.out / "mine.txt").read_text() == "old"
    assert "overwritten" not in done.paths[-1].read_text()


def test_the_folder_of_a_model_is_tried_first(job: ReplayJob, tmp_path: Path) -> None:
    """A place that cannot hold a model is refused before the log is read."""
    file = tmp_path / "file"
    file.write_text("")
    assert _fail(replace(job, save_model=file / "model"), ConfigError).startswith(f"--save-model {file / 'model'}: ")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{", "line 2: not a complete JSON value"),
        ('{"org": "o"}', "line 2: needs either `key`"),
        ('{"key": "k_0"}', "line 2: this key already has an earlier line"),
        ('{"key": "k_1", "created_at": "monday"}', "line 2: Expected `float | null`"),
        ('{"key": "k_1", "orgg": "acme"}', "line 2: unknown field orgg; known are key, key_id, org"),
    ],
)
def test_a_bad_account_is_named_by_its_line(line: str, rule: str, job: ReplayJob, tmp_path: Path) -> None:
    """One wrong account stops the run: a key without its organisation would be judged as someone else."""
    path = tmp_path / "accounts.jsonl"
    path.write_text('{"key": "k_0"}\n' + line)
    assert rule in _fail(replace(job, accounts=path), BadInput)
