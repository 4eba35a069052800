"""What the steps of private matching share: options, keys, files that are handed over, progress."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.acting import read_bytes
from app.cli.api import Api
from app.cli.common import err
from app.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from app.intel.intersect.curve import Told
    from app.intel.intersect.session import Sessions
    from app.settings import Settings
    from detectors.watermark.keys import KeyRing, MasterSecret

Accounts = Annotated[
    Path,
    typer.Option(
        "--accounts",
        metavar="FILE",
        help="Accounts in the form that both sides agreed on, such as e-mail addresses, one a line.",
    ),
]
With = Annotated[str, typer.Option("--with", metavar="PEER", help="The other side, by the same name every time.")]
GroupName = Annotated[str, typer.Option("--group", metavar="NAME", help="Trust group, whose key is in intel.keys_dir.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="File to hand over; it must not exist yet.")]
AnswerFile = Annotated[Path, typer.Option("--answer", metavar="FILE", help="What the peer handed back.")]


def ring(settings: Settings, name: str) -> KeyRing:
    """The keys of a trust group."""
    from app.intel import group_keys

    found = group_keys.load(settings.intel.keys_dir).get(name)
    if found is None:
        raise ConfigError(f"intel.keys_dir: there is no key of a trust group {name[:64]!r}")
    return found


def secret(ring: KeyRing, epoch: str) -> MasterSecret:
    """The key that a run began with."""
    try:
        return ring.of(epoch)
    except ValueError:
        raise ConfigError(f"intel.keys_dir: the key of epoch {epoch}, which the run began with, is gone") from None


def sessions(settings: Settings) -> Sessions:
    """The runs that we began."""
    from app.intel.intersect.session import Sessions

    return Sessions(settings.state.data_dir / "intersections")


def read(path: Path) -> bytes:
    """A file of accounts."""
    from app.intel.intersect.identities import MAX_BYTES

    return read_bytes(path, MAX_BYTES)


def free(path: Path) -> None:
    """Before anything is recorded: a run counts, so it should not fail over a file's name."""
    if path.exists():
        raise ConfigError(f"--out: {path} exists already")
    if not path.parent.is_dir():
        raise ConfigError(f"--out: the folder {path.parent} does not exist")


def write(path: Path, data: bytes) -> None:
    """A new file to hand over."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise BadInput(f"file {path}: {error.strerror or 'cannot be written'}") from None


def record(api: Api, run: str, reveals: bool, size: int, theirs: int) -> None:
    """On record before it is shown."""
    body = {"reveals": reveals, "size": size, "theirs": theirs}
    api.call("POST", f"/v1/intel/intersections/{run}:result", body)


def tell_left(taken: dict[str, int]) -> None:
    """How many runs there were."""
    err.print(f"This is run {taken['runs']} of {taken['most']} of its kind with this peer in 30 days.")


@contextmanager
def meter(what: str, whole: int) -> Iterator[Told]:
    """Progress on a terminal; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=whole)
        yield lambda done: progress.advance(task, done)
