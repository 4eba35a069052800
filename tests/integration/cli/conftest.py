"""The program as an operator runs it: a process of its own, on free ports, in a folder of the test."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from app.simulate.model_api import ModelApi
from app.simulate.rig import LoopThread

PEPPER = "a pepper for tests of the program"
TOKEN = "a token for tests of the program"
READY_SEC = 60.0
ROOT = Path(__file__).resolve().parents[3]


class Forker:
    """Starts commands as forks of a process that has imported the program already, see forker.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forker.py"))],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._answer() == "ready"

    def start(self, arguments: Sequence[str], folder: Path, environ: dict[str, str], out: Path, err: Path) -> Forked:
        """A new process; what it says goes into these files."""
        order = {"arguments": arguments, "cwd": str(folder), "environ": environ, "out": str(out), "err": str(err)}
        return Forked(self, int(self.ask(order)))

    def ask(self, order: dict[str, Any]) -> Any:
        """The answer to an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """It ends."""
        self._process.communicate(timeout=30)


class Forked:
    """One process of a forker, as far as `subprocess.Popen` is needed here."""

    def __init__(self, forker: Forker, pid: int) -> None:
        self._forker = forker
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Exit status; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float) -> int:
        """Its exit status, once it has ended."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, sec: float) -> int | None:
        if self.returncode is None:
            self.returncode = self._forker.ask({"wait": self.pid, "sec": sec})
        return self.returncode


class Program:
    """A running `stillwatch …`; what it says is collected in a file."""

    def __init__(self, arguments: list[str], folder: Path, environ: dict[str, str], forker: Forker | None = None) -> None:
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        self._file: IO[bytes] = self.log.open("wb")
        self.process: Any
        if forker is not None:
            self.process = forker.start(arguments, folder, environ, self.log, self.log)
            return
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file,
        )  # fmt: skip

    @property
    def said(self) -> str:
        """Everything up to now."""
        return self.log.read_text()

    def addresses(self) -> dict[str, str]:
        """Where it serves, once it does."""
        until = time.monotonic() + READY_SEC
        while not (found := re.search(r"^serving: (.*); stop with Ctrl-C$", self.said, re.MULTILINE)):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.05)
        return dict(part.rsplit(" ", 1) for part in found[1].split(", "))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; its exit status."""
        self.process.send_signal(number)
        return int(self.process.wait(30))

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.stop()
        self._file.close()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of an operator: secrets set, everything on free ports, state in the test's folder."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")}
    return plain | {
        "PYTHONPATH": str(ROOT),
        "STILLWATCH_PEPPER": PEPPER,
        "STILLWATCH_ADMIN__TOKEN": TOKEN,
        "STILLWATCH_STATE__DATA_DIR": str(tmp_path / "data"),
        "STILLWATCH_GATEWAY__PORT": "0",
        "STILLWATCH_GATEWAY__METRICS_PORT": "0",
        "STILLWATCH_WORKER__METRICS_PORT": "0",
        "STILLWATCH_WORKER__POLL_MS": "20",
        "STILLWATCH_ADMIN__PORT": "0",
    }


Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., Program]
Fetch = Callable[..., tuple[int, bytes]]


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """One for each pytest process."""
    made = Forker()
    yield made
    made.close()


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path, forker: Forker) -> Run:
    """Run a command to its end."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        out, err = tmp_path / ".out", tmp_path / ".err"
        process = forker.start(arguments, tmp_path, environ | more, out, err)
        try:
            status = process.wait(60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        found = subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())
        out.unlink()
        err.unlink()
        return found

    return run


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path, forker: Forker) -> Iterator[Start]:
    """Start a command that runs until it is stopped."""
    yield from _starting(environ, tmp_path, forker)


@pytest.fixture
def start_afresh(environ: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """The same with an interpreter of its own, as an operator's shell does it."""
    yield from _starting(environ, tmp_path, None)


def _starting(environ: dict[str, str], folder: Path, forker: Forker | None) -> Iterator[Start]:
    started: list[Program] = []

    def start(*arguments: str, **more: str) -> Program:
        started.append(Program(list(arguments), folder, environ | more, forker))
        return started[-1]

    yield start
    for program in started:
        program.close()


@pytest.fixture(scope="session")
def model_api() -> Iterator[str]:
    """Address of a simulated model API."""
    thread = LoopThread()
    yield thread.serve(ModelApi())
    thread.stop()


@pytest.fixture
def fetch() -> Fetch:
    """GET, or POST where there is a body; (status, body)."""

    def fetch(url: str, credential: str = "", body: Any = None) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {credential}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers)
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
        return 0, b""

    return fetch


@pytest.fixture
def chat(fetch: Fetch) -> Callable[[str, str], int]:
    """Send one chat completion; its status."""

    def chat(url: str, credential: str) -> int:
        body = {"model": "still-large-2", "messages": [{"role": "user", "content": "Why do stills distil?"}]}
        return fetch(f"{url}/v1/chat/completions", credential, body)[0]

    return chat
