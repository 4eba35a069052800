"""The machine a benchmark runs on: which cores do what, the programs it needs, and what a process has used."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

START_SEC = 30.0
STOP_SEC = 10.0


class CannotMeasure(Exception):
    """A program is missing or does not start; the message is one sentence for a person."""


def program(name: str) -> str:
    """Path of a program of the distribution.

    Raises:
        CannotMeasure: it is not installed; the sentence says how to.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise CannotMeasure(f"{name} is not installed; on Debian: apt-get install -y nginx-light prometheus wrk")
    return found


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where. With one core there is nothing to pin and every figure is worse.

    Attributes:
        proxy: the core of the process that is measured.
        rest: cores of the load, the upstream and the state server.
    """

    proxy: frozenset[int]
    rest: frozenset[int]

    @classmethod
    def share(cls) -> Cores:
        """The first core for what is measured, the others for everything else."""
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(frozenset([first]), frozenset(others or [first]))


class Child:
    """A process on given cores, ended when the block is left."""

    def __init__(
        self, command: Sequence[str | Path], cores: frozenset[int], environ: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )

    @property
    def pid(self) -> int:
        """Of the process itself."""
        return self.process.pid

    def serves(self, port: int) -> Child:
        """Returns once somebody listens on a local port.

        Raises:
            CannotMeasure: the process ended, or took too long.
        """
        self.until(lambda: _listens(port), f"port {port}")
        return self

    def until(self, ready: Callable[[], bool], what: str, limit_sec: float = START_SEC) -> None:
        """Returns once `ready` says so.

        Raises:
            CannotMeasure: the process ended, or took too long.
        """
        deadline = time.monotonic() + limit_sec
        while not ready():
            if self.process.poll() is not None:
                assert self.process.stderr is not None
                last = self.process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
                raise CannotMeasure(f"{Path(str(self.process.args[0])).name} ended at its start: {' '.join(last)}")  # type: ignore[index]
            if time.monotonic() > deadline:
                raise CannotMeasure(f"{what} was not ready within {limit_sec:.0f} s")
            time.sleep(0.02)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=STOP_SEC)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    """Time the threads of a process have spent on a core, as the scheduler counts it, in nanoseconds' resolution."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise CannotMeasure(f"process {pid} has ended")


def describe() -> str:
    """One line about the machine, for the head of a table."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return f"{model}, {cores} cores, load {load:.1f}, Python {platform.python_version()}, Linux {platform.release()}"
