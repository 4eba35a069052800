"""What the asker keeps between its offer and the answer: the blinding key, in a file that only its owner can read."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import msgspec

from app.errors import BadInput
from app.intel.intersect.wire import RUN

KEPT_SEC = 30 * 86_400
"""An answer that has not come by then is asked for anew."""


class Session(msgspec.Struct, frozen=True):
    """One run of the asker. No identity is in it, nor anything that one could be found with.

    Attributes:
        run: its id.
        group: trust group.
        epoch: of the group's key.
        peer: who is asked.
        key: the blinding key, hexadecimal.
        asker: size of the set.
        commitment: to the set.
        size: how many are common; None until the first answer was read.
    """

    run: str
    group: str
    epoch: str
    peer: str
    key: str
    asker: int
    commitment: str
    size: int | None = None

    def __repr__(self) -> str:
        return f"Session({self.run})"


class Sessions:
    """All of them, in a folder.

    Args:
        folder: made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, session: Session) -> None:
        """Writes one, in place of what was there.

        Raises:
            BadInput: it cannot be written.
        """
        path = self._folder / f"{session.run}.json"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            part = path.with_suffix(".part")
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.encode(session))
            part.replace(path)
        except OSError as error:
            raise BadInput(f"state.data_dir: the run's key cannot be kept in {self._folder}: {error.strerror}") from None

    def sized(self, session: Session, size: int) -> None:
        """Writes how many are common, which the second offer needs.

        Raises:
            BadInput: it cannot be written.
        """
        self.keep(msgspec.structs.replace(session, size=size))

    def of(self, run: str) -> Session:
        """One of them.

        Raises:
            BadInput: there is none, or it cannot be read.
        """
        if not re.fullmatch(RUN, run):
            raise BadInput("RUN: must be 32 hexadecimal digits, as the offer's command printed them")
        try:
            return msgspec.json.decode((self._folder / f"{run}.json").read_bytes(), type=Session)
        except FileNotFoundError:
            raise BadInput(f"run {run}: its key is not in {self._folder}: it was offered elsewhere, or is over") from None
        except (OSError, msgspec.MsgspecError):
            raise BadInput(f"run {run}: its file in {self._folder} cannot be read") from None

    def forget(self, run: str) -> None:
        """Its key is gone, and no answer to it can be read any more."""
        (self._folder / f"{run}.json").unlink(missing_ok=True)

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            if re.fullmatch(RUN, path.stem) and path.stat().st_mtime < time.time() - KEPT_SEC:
                path.unlink(missing_ok=True)
