"""The demonstration itself, run as the README runs it, and what can be done with the folder that it was told to keep."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[3]
MARK = uuid.uuid4().hex
ROW = re.compile(
    r"^ ?(?P<name>[A-Za-z ]+ \d) +(?P<key>[0-9a-f]{8}) +(?P<level>[a-z ]+?) +(?P<score>[01]\.\d{3}) +"
    r"(?P<requests>\d+) +(?P<limited>\d+)"
)


def _environ() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")}
    return plain | {"PYTHONPATH": str(ROOT), "OF_THIS_TEST": MARK}


def _still_running() -> list[str]:
    """Processes that inherited the mark from one that a test started; the state server and every child does."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if MARK.encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_text())
    return found


@dataclass(frozen=True)
class Shown:
    """A finished demonstration."""

    status: int
    out: str
    err: str
    folder: Path
    seconds: float

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """Rows of the table by the name of who was planted."""
        found = (ROW.match(line) for line in self.out.splitlines())
        return {match["name"]: match.groupdict() for match in found if match}


Stillwatch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def stillwatch() -> Stillwatch:
    """Run a command to its end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            env=_environ(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def shown(stillwatch: Stillwatch, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """One run that keeps its folder."""
    folder = tmp_path_factory.mktemp("demo") / "kept"
    began = time.monotonic()
    done = stillwatch("demo", "--once", "--seconds", "25", "--keep", str(folder))
    return Shown(done.returncode, done.stdout, done.stderr, folder, time.monotonic() - began)


def test_the_attackers_are_flagged_and_nobody_else(shown: Shown) -> None:
    """Every planted attacker is suspect or worse, every honest key is clear or watched, and the status says so."""
    assert shown.status == 0, shown.out + shown.err
    assert shown.err == ""
    attacks = ("forced reasoning", "seed generation", "logit sweep", "rejection sampling")
    assert len(shown.rows) == 23
    for name, row in shown.rows.items():
        planted = name.startswith(attacks)
        assert (row["level"] in ("suspect", "confirmed")) is planted, name
        assert int(row["requests"]) > 0
        assert planted or row["limited"] == "0", name
    assert sum(int(row["limited"]) for row in shown.rows.values()) > 0


def test_it_says_where_to_look_next(shown: Shown) -> None:
    """What works once everything is stopped and the folder stays: no address of what is gone."""
    assert f"Everything is in {shown.folder}" in shown.out
    assert f" archive check {shown.folder}/data/archive" in shown.out
    assert f" keys list --set state.data_dir={shown.folder}/data" in shown.out
    assert "Run it without --once to look around" in shown.out
    assert "curl" not in shown.out


def test_what_is_piped_has_no_filling(shown: Shown) -> None:
    """No line ends in spaces."""
    assert not [line for line in shown.out.splitlines() if line != line.rstrip()]


def test_nothing_runs_on(shown: Shown) -> None:
    """Every process of the run has ended."""
    assert not _still_running()


def test_the_kept_folder_can_be_worked_with(shown: Shown, stillwatch: Stillwatch) -> None:
    """State and archive of the run are there: keys with their levels, and every exchange without its text."""
    listed = stillwatch("keys", "list", "--json", "--set", f"state.data_dir={shown.folder / 'data'}")
    levels = {item["key_id"][:8]: item["level"] for item in json.loads(listed.stdout)}
    assert levels == {row["key"]: row["level"] for row in shown.rows.values()}
    checked = stillwatch("archive", "check", str(shown.folder / "data" / "archive"))
    assert checked.returncode == 0, checked.stderr
    sent = sum(int(row["requests"]) for row in shown.rows.values())
    (exchanges,) = re.findall(r"([\d,]+) exchanges", checked.stdout)
    assert int(exchanges.replace(",", "")) == sent


def test_the_live_run_replays_to_the_live_verdicts(shown: Shown, stillwatch: Stillwatch, tmp_path: Path) -> None:
    """Replayed with the model that judged it, the archive gives the levels that live gave."""
    model = shown.folder / "history" / "model"
    done = stillwatch("replay", str(shown.folder / "data" / "archive"), "--model", str(model), "--out", str(tmp_path), "-q")
    assert done.returncode == 0, done.stderr
    verdicts = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert {v["key"][:8]: v["level"] for v in verdicts} == {row["key"]: row["level"] for row in shown.rows.values()}
    assert (tmp_path / "report.md").exists()


def test_the_past_is_a_log_to_try_a_replay_on(shown: Shown, stillwatch: Stillwatch, tmp_path: Path) -> None:
    """The files that README names are there, and the campaign that was planted is found in them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"`past/(history/[a-z.]+)`", readme)
    assert names == ["history/requests.jsonl.gz", "history/accounts.jsonl"]
    log, accounts = (str(shown.folder / name) for name in names)
    done = stillwatch("replay", log, "--accounts", accounts, "--out", str(tmp_path), "-q")
    assert done.returncode == 0, done.stderr
    (campaign,) = map(json.loads, (tmp_path / "campaigns.jsonl").read_text().splitlines())
    assert len(campaign["keys"]) >= 12
    assert "Campaigns" in (tmp_path / "report.md").read_text()


def test_in_shadow_the_report_says_what_would_have_been_done(stillwatch: Stillwatch) -> None:
    """Policy only counts: no request is refused, and every request that was sent is in the report's first sentence."""
    done = stillwatch("demo", "--once", "--shadow", "--seconds", "15")
    assert "# What enforcement did, and would have done" in done.stdout, done.stdout + done.stderr
    table, _, report = done.stdout.partition("# What enforcement did, and would have done")
    rows = [match.groupdict() for line in table.splitlines() if (match := ROW.match(line))]
    assert {row["limited"] for row in rows} == {"0"}
    (told,) = re.findall(r"^([\d,]+) requests and", report, re.MULTILINE)
    assert int(told.replace(",", "")) == sum(int(row["requests"]) for row in rows)
    assert re.search(r"^\| throttle \| only counted \| [1-9]", report, re.MULTILINE)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where temporary folders are made; short, because a socket's path must be."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def interrupted(temporary: Path) -> Iterator[Callable[[str, int], tuple[int, str]]]:
    """Start the demonstration, send it a signal when it has said something, and return its status and output."""
    started: list[subprocess.Popen[str]] = []

    def interrupt(words: str, number: int) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "demo", "--seconds", "10"],
            env=_environ() | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if words in line:
                process.send_signal(number)
                break
        said += process.stdout.read()
        return process.wait(30), said

    yield interrupt
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_while_it_runs_it_says_how_to_look_around(interrupted: Callable[[str, int], tuple[int, str]]) -> None:
    """Admin address, metrics and something to try are printed, with what is needed to use them."""
    _, said = interrupted("Traffic goes on", signal.SIGINT)
    for words in ("/v1/keys?level=flagged", "/metrics", "/v1/chat/completions", "Authorization: Bearer sk-demo-"):
        assert words in said


@pytest.mark.parametrize(
    ("words", "number"),
    [("Making traffic", signal.SIGINT), ("Starting", signal.SIGINT), ("Sending traffic", signal.SIGTERM)],
)
def test_an_interrupt_leaves_nothing_behind(
    interrupted: Callable[[str, int], tuple[int, str]], words: str, number: int, temporary: Path
) -> None:
    """Whenever it is interrupted, its folder and its processes go, and no traceback is shown."""
    status, said = interrupted(words, number)
    assert status == 130
    assert "Traceback" not in said
    assert "stillwatch-demo-" not in said
    assert not list(temporary.iterdir())
    assert not _still_running()
