"""The two files that an operator changes by hand: the policy, and the kill switch. Read in a thread, a disk may hang."""

from __future__ import annotations

import os
from pathlib import Path

from app.enforcement.policy_text import parse_policy
from app.enforcement.rules import Kill
from app.errors import ConfigError
from app.settings import EnforcementSettings

MAX_POLICY_BYTES = 64 * 1024
_KILL_BYTES = 64

STRENGTH: dict[str, int] = {"": 0, "actions": 1, "all": 2}
"""Scopes of the kill switch by how much they switch off; also the value of its metric."""


def read_kill(path: Path) -> Kill:
    """What the kill file asks for: nothing while it is absent, `all` if that is what it says, `actions` otherwise.

    A file that cannot be read, or says something else, is there: it switches off.
    """
    try:
        with path.open("rb") as file:
            words = file.read(_KILL_BYTES).split()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        return "actions"
    return "all" if words[:1] == [b"all"] else "actions"


def strongest(*scopes: Kill) -> Kill:
    """The scope that switches off most."""
    return max(scopes, key=STRENGTH.__getitem__)


class PolicyFile:
    """A policy file, read only when it has changed, and when it was left alone from one look to the next.

    An editor or `cp` empties a file before it fills it: half a policy may be a valid one that does less.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int, int] | None = None
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> EnforcementSettings | None:
        """The policy in it when the file is another than the one that was read last, else None.

        Raises:
            ConfigError: it cannot be read, now and each time until it can; or it is wrong, once for each change.
        """
        where = f"policy file {self._path}"
        try:
            found = os.stat(self._path)
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
            settled = self._read is None or mark == self._seen
            self._seen = mark
            if mark == self._read or not settled:
                return None
            with self._path.open("rb") as file:
                data = file.read(MAX_POLICY_BYTES + 1)
        except OSError as error:
            self._seen = None
            self._read = self._read and (0, 0, 0)  # it is read again when it is back
            raise ConfigError(f"{where}: {error.strerror or 'cannot be read'}") from None
        self._read = mark
        if not data.strip():
            raise ConfigError(f"{where}: is empty")
        if len(data) > MAX_POLICY_BYTES:
            raise ConfigError(f"{where}: must be at most {MAX_POLICY_BYTES:,} bytes")
        try:
            return parse_policy(data.decode("utf-8"), where)
        except UnicodeDecodeError:
            raise ConfigError(f"{where}: must be UTF-8 text") from None
