"""State servers to be hurt: one on a port of its own, or a Cluster of them, on loopback.

They run the binary that the embedded server runs, with the settings that `deploy/` recommends but for what a test changes.
They end when the process that started them does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.errors import StillwatchError
from app.state.embedded import LAUNCHER, find_binary

NODE_TIMEOUT_MS = 2000
"""How long a silent master of a Cluster is waited for before a replica takes over."""

SLOTS = 16_384

_START_SEC = 20.0
_ASK_SEC = 5.0


class ServerGone(StillwatchError):
    """A server did not start, did not answer, or refused; one sentence."""


class StateServerProcess:
    """One server on a TCP port.

    Attributes:
        port: where it listens.
        url: address for clients.
    """

    def __init__(self, folder: Path, **options: str | int) -> None:
        """Started, and answering.

        Args:
            folder: for its files; made when needed.
            options: of its configuration, with _ for -.
        """
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def pid(self) -> int | None:
        """Process id while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Starts it again after it was killed, with the files it had.

        Raises:
            ServerGone: it does not start.
        """
        options: dict[str, str | int] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "logfile": str(self._folder / "server.log"),
            "save": "",
            "appendonly": "yes",
            "maxmemory_policy": "noeviction",
            **self._options,
        }
        arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        self._process = subprocess.Popen(  # noqa: S603 - the program is ours, from PATH or the package
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), str(find_binary()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: self._answers() or self.pid is None, _START_SEC, "a state server answers")
        if self.pid is None:
            raise ServerGone(f"the state server in {self._folder} ended at once")

    def ask(self, *parts: str | int) -> str:
        """One command → its reply, where that is a line or a string.

        Raises:
            ServerGone: it refused, or gave no answer in time.
        """
        command = b"*%d\r\n" % len(parts)
        for part in parts:
            data = str(part).encode()
            command += b"$%d\r\n%b\r\n" % (len(data), data)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_ASK_SEC) as sock, sock.makefile("rb") as file:
                sock.sendall(command)
                line = file.readline().rstrip().decode()
                if line.startswith("$") and line != "$-1":
                    return file.read(int(line[1:])).decode()
        except OSError as error:
            raise ServerGone(f"the state server gave no answer ({type(error).__name__})") from None
        if line.startswith("-"):
            raise ServerGone(f"the state server refused {parts[0]}: {line[1:]}")
        return line[1:]

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, SIGKILL, …; returns when a killed one has ended."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait()

    def close(self) -> None:
        """Ends it for good, also a frozen one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == "PONG"
        except ServerGone:
            return False


class LocalCluster:
    """Three masters, and a replica of each where that is wanted.

    Attributes:
        masters: as they were at the start; a failover does not change the list.
        replicas: of the master at the same place; empty without.
        url: names two of the masters.
    """

    def __init__(self, folder: Path, *, replicas: bool = False, **options: str | int) -> None:
        """Started, and whole. `options` as `StateServerProcess` takes them."""
        self.replicas: list[StateServerProcess] = []
        self.masters: list[StateServerProcess] = []
        try:
            for number in range(6 if replicas else 3):
                node = StateServerProcess(
                    folder / f"node{number}",
                    cluster_enabled="yes",
                    cluster_port=free_port(),
                    cluster_node_timeout=NODE_TIMEOUT_MS,
                    cluster_config_file="nodes.conf",
                    cluster_require_full_coverage="no",
                    repl_diskless_sync_delay=0,
                    **options,
                )
                (self.masters if number < 3 else self.replicas).append(node)
            self._join()
        except BaseException:
            self.close()
            raise
        self.url = f"redis://127.0.0.1:{self.masters[0].port},127.0.0.1:{self.masters[1].port}"

    @property
    def nodes(self) -> list[StateServerProcess]:
        """All of them."""
        return [*self.masters, *self.replicas]

    def master_of(self, slot: int) -> StateServerProcess:
        """The master that had the slot at the start."""
        return self.masters[slot * 3 // SLOTS]

    def replicated(self) -> bool:
        """Every replica has a link to its master."""
        return all("master_link_status:up" in replica.ask("INFO", "replication") for replica in self.replicas)

    def close(self) -> None:
        """Ends all of them."""
        for node in self.nodes:
            node.close()

    def _join(self) -> None:
        first = self.masters[0]
        bounds = [-(-number * SLOTS // 3) for number in range(4)]  # as `master_of` divides them
        for number, master in enumerate(self.masters):
            master.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            slots = range(bounds[number], bounds[number + 1])
            master.ask("CLUSTER", "ADDSLOTS", *slots)
        bus = first._options["cluster_port"]
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, bus)
        until(lambda: all(self._sees_all(node) for node in self.nodes), _START_SEC, "the nodes know each other")
        for master, replica in zip(self.masters, self.replicas, strict=False):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        until(self._whole, _START_SEC, "the Cluster is whole")

    def _sees_all(self, node: StateServerProcess) -> bool:
        lines = [line.split() for line in node.ask("CLUSTER", "NODES").splitlines()]
        return len(lines) == len(self.nodes) and all("handshake" not in line[2] for line in lines)

    def _whole(self) -> bool:
        known = len(self.replicas)
        return (
            all(
                "cluster_state:ok" in node.ask("CLUSTER", "INFO") and node.ask("CLUSTER", "NODES").count("slave") == known
                for node in self.nodes
            )
            and self.replicated()
        )


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Returns when something another process does has happened.

    Raises:
        ServerGone: it has not, in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerGone(f"it took more than {seconds:.0f} s until {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A port nobody listens on now, low enough that a Cluster's other ports would fit too."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
