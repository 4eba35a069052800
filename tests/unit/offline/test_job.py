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
    """A job on a small log; nothing in it is wrong but that it holds too little to fit a model on."""
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
    assert _fail(replace(job, model=nothing), BadInput).startswith("--model: ")


def test_an_output_folder_that_cannot_be_made_is_refused_first(job: ReplayJob, tmp_path: Path) -> None:
    """Before the log is read, not after."""
    file = tmp_path / "file"
    file.write_text("")
    assert _fail(replace(job, out=file / "out"), BadInput).startswith(f"--out {file / 'out'}: ")


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
    with pytest.raises(BadInput, match="let it end later"):  # with a pepper it gets as far as the fit
        run_replay(replace(job, mapping=path), load(environ={"STILLWATCH_PEPPER": "a pepper for tests"}))


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{", "line 2: not a complete JSON value"),
        ('{"org": "o"}', "line 2: needs either `key`"),
        ('{"key": "k_0"}', "line 2: this key already has an earlier line"),
        ('{"key": "k_1", "created_at": "monday"}', "line 2: Expected `float | null`"),
    ],
)
def test_a_bad_account_is_named_by_its_line(line: str, rule: str, job: ReplayJob, tmp_path: Path) -> None:
    """One wrong account stops the run: a key without its organisation would be judged as someone else."""
    path = tmp_path / "accounts.jsonl"
    path.write_text('{"key": "k_0"}\n' + line)
    assert rule in _fail(replace(job, accounts=path), BadInput)
