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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from app.simulate.model_api import ModelApi
from app.simulate.rig import LoopThread

PEPPER = "a pepper for tests of the program"
TOKEN = "a token for tests of the program"
READY_SEC = 60.0


class Program:
    """A running `stillwatch …`; what it says is collected in a file."""

    def __init__(self, arguments: list[str], folder: Path, environ: dict[str, str]) -> None:
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        self._file: IO[bytes] = self.log.open("wb")
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
        return self.process.wait(30)

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
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
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


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path) -> Run:
    """Run a command to its end."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=tmp_path, env=environ | more, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start a command that runs until it is stopped."""
    started: list[Program] = []

    def start(*arguments: str, **more: str) -> Program:
        started.append(Program(list(arguments), tmp_path, environ | more))
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
