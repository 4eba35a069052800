"""The process of an investigation: what it is told, what it says, and that it ends with whoever asked."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from app.errors import BadInput, ConfigError, Conflict
from app.watermark import jobs, scan
from app.watermark.jobs import Failed, Finished, Job, Progress, Said, Telling, plain, run, tokenizer_of
from app.watermark.store import writing
from detectors.watermark.registry import WORDS, MarkProfile, Registry

DATA = b'{"text": "one and two and three and four and five"}\n'


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A small one."""
    profile = MarkProfile(id="words", scheme="gumbel", tokenizer=WORDS, epoch="e1", context_width=1)
    (tmp_path / "profiles.json").write_text(Registry([profile]).dumped())
    (tmp_path / "corpus.jsonl").write_bytes(DATA)
    (tmp_path / "tenants.txt").write_text("acme\nbirch\n")
    (tmp_path / "groups.txt").write_text("")
    return Job(
        name="shard",
        profile="words",
        corpus=str(tmp_path / "corpus.jsonl"),
        sha256=hashlib.sha256(DATA).hexdigest(),
        form="jsonl",
        field="",
        texts="auto",
        store=str(tmp_path / "store"),
        report=str(tmp_path / "report"),
        tenants=str(tmp_path / "tenants.txt"),
        groups=str(tmp_path / "groups.txt"),
        fwer=1e-3,
        profiles_file=str(tmp_path / "profiles.json"),
        secrets_file="",
        secrets='{"e1": "' + "ab" * 32 + '"}',
        tokenizers_dir="",
    )


def _process(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *(arguments or ("-m", "app.watermark.jobs"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_job_says_how_far_it_is_and_that_it_is_done(job: Job, tmp_path: Path) -> None:
    """In lines of JSON, with nothing on standard error and no secret in any of it."""
    with _process() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        lines = process.stdout.read().splitlines()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    said = [msgspec.json.decode(line, type=Said) for line in lines]
    assert isinstance(said[-1], Finished)
    assert {"checksum of the corpus", "report"} <= {one.stage for one in said if isinstance(one, Progress)}
    assert not any(b"abab" in line for line in lines)
    assert (tmp_path / "report" / "report.md").exists()


def test_it_ends_with_whoever_asked(job: Job) -> None:
    """Its standard input ends in the middle of the work: so does it, without a word of success."""
    waits = "import time, app.watermark.jobs as j\nj.run = lambda *_: time.sleep(600)\nraise SystemExit(j.main())"
    with _process("-c", waits) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.close()
        assert process.wait(60) == 3
        assert process.stdout is not None
        assert process.stdout.read() == b""


def test_what_breaks_inside_is_told_without_its_words(job: Job) -> None:
    """An error of a library may quote a data set: its kind and place are told alone."""
    breaks = (
        "import app.watermark.jobs as j\n"
        "def run(*_): raise RuntimeError('a word of the data set')\n"
        "j.run = run\nraise SystemExit(j.main())"
    )
    with _process("-c", breaks) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        assert process.stdout is not None
        last = msgspec.json.decode(process.stdout.read().splitlines()[-1], type=Said)
    assert isinstance(last, Failed)
    assert last.error == "the run failed inside: RuntimeError at <string>:2"


def test_a_data_set_that_is_gone_or_another_is_refused(job: Job, tmp_path: Path) -> None:
    """Without it and without whole evidence nothing can be run; with another one nothing is said about it."""
    with pytest.raises(BadInput, match="its SHA-256 is another"):
        run(msgspec.structs.replace(job, sha256="0" * 64), Telling(io.BytesIO()))
    (tmp_path / "corpus.jsonl").unlink()
    run(job, Telling(io.BytesIO()))  # its evidence is whole
    with pytest.raises(BadInput, match="the data set is not held any more"):
        run(msgspec.structs.replace(job, store=str(tmp_path / "other")), Telling(io.BytesIO()))


def test_it_waits_for_another_process_of_the_same_to_be_gone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is let go while it waits, and the scan is made; where it is not, that is told."""
    monkeypatch.setattr(jobs, "_LOOK_SEC", 0.02)
    tried = threading.Event()
    real = scan.scan

    def scanned(*arguments: object) -> object:
        tried.set()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scan, "scan", scanned)
    with writing(Path(job.store)):
        waiter = threading.Thread(target=run, args=(job, Telling(io.BytesIO())))
        waiter.start()
        assert tried.wait(30)
    waiter.join(60)
    assert (Path(job.report) / "findings.json").exists()
    monkeypatch.setattr(jobs, "GONE_SEC", 0.1)
    with writing(Path(job.store)), pytest.raises(Conflict):
        run(job, Telling(io.BytesIO()))


def test_a_tokenizer_is_found_by_its_sum(tmp_path: Path) -> None:
    """Whatever it is called; a folder without it is one sentence; words need none."""
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "any name").write_text('{"model": 1}')
    digest = hashlib.sha256(b'{"model": 1}').hexdigest()
    profile = MarkProfile(id="chat", scheme="gumbel", tokenizer=digest, epoch="e1")
    assert tokenizer_of(profile, tmp_path) == tmp_path / "any name"
    assert tokenizer_of(profile, None) is None
    assert tokenizer_of(MarkProfile(id="w", scheme="gumbel", tokenizer=WORDS, epoch="e1"), tmp_path) is None
    (tmp_path / "any name").unlink()
    with pytest.raises(ConfigError, match="none of its 1 files is the tokenizer of profile chat"):
        tokenizer_of(profile, tmp_path)
    with pytest.raises(ConfigError, match=r"watermark\.tokenizers_dir: No such file or directory"):
        tokenizer_of(profile, tmp_path / "nowhere")


def test_errors_lose_folders_and_options(job: Job) -> None:
    """They are read by people far from the machine."""
    folder = os.path.dirname(job.corpus)
    error = BadInput(f"{folder}/corpus.jsonl: line 1: has no field 'text'; --field names another (--tokenizer)")
    told = plain(error, job)
    assert told.startswith("corpus.jsonl: line 1: has no field 'text'; 'field' of the investigation")
    assert "--" not in told
    assert folder not in told
