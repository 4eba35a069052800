"""Investigations on the disk of the admin process: a folder each, which nobody but its owner may enter.

    investigation.json        what is asked of which data set, and how far it is
    corpus.jsonl|parquet|txt  what was uploaded; gone once it was scanned
    named.txt                 tenants that somebody named beside those that are known
    tenants.txt groups.txt    who was asked about in the last run
    store/                    the evidence, `app.watermark.store`
    report/                   findings.json, report.md and its pictures

One process works in these folders at a time. What is in a data set is in none of these names, nor in any error.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import structs

from app.errors import ConfigError, Conflict
from app.settings import Settings
from app.watermark.corpus import Form, Texts

log = logging.getLogger(__name__)

Stage: TypeAlias = Literal["waiting", "uploaded", "queued", "running", "done", "failed"]
STAGES: tuple[Stage, ...] = get_args(Stage)

SUFFIXES: dict[Form, str] = {"jsonl": ".jsonl", "parquet": ".parquet", "text": ".txt"}
RECORD = "investigation.json"
TEXT_DAYS = 7
"""A data set that was uploaded, and that no run took up or brought to its end, is held for so long."""

_ID = re.compile(r"wi-[a-z2-7]{13}")
_DAY_US = 86_400 * 1_000_000
_READ_BYTES = 1 << 20


class Investigation(msgspec.Struct, frozen=True, kw_only=True):
    """One of them.

    Attributes:
        id: `wi-` and 13 letters and digits.
        name: what people call it.
        profile: id of the mark profile that is looked for.
        form, field, texts: of the data set, as `app.watermark.corpus.Reading` takes them.
        size: of the data set in bytes, as announced.
        sha256: of it, as announced, in hexadecimal digits.
        reason: why it is made.
        by: name of the person.
        made_us: when; unix µs.
        changed_us: when it was last uploaded to, run or at its end.
        stage: `waiting` for (more of) the data set, `uploaded`, `queued`, `running`, `done`, `failed`.
        error: why it failed, a sentence.
        fwer: probability that any innocent is named, at most.
        attempts: of the present run; a process that was killed is started again.
        tenants: who were asked about in the last run; groups: of them, campaigns.
    """

    id: str
    name: str
    profile: str
    form: Form
    field: str
    texts: Texts
    size: int
    sha256: str
    reason: str
    by: str
    made_us: int
    changed_us: int
    stage: Stage = "waiting"
    error: str = ""
    fwer: float = 1e-3
    attempts: int = 0
    tenants: int = 0
    groups: int = 0


class Folders:
    """All investigations of one folder. Its methods touch the disk; those that read or erase much say so."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.investigations_dir
        self._most = settings.watermark.investigations_most
        self._days = settings.watermark.investigations_days
        self._lock: int | None = None

    @property
    def owned(self) -> bool:
        """This process is the one that works here."""
        return self._lock is not None

    def own(self) -> None:
        """Become the process that works here; once is enough.

        Raises:
            Conflict: another one does.
            ConfigError: the folder cannot be made.
        """
        if self._lock is not None:
            return
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            lock = os.open(self.root / ".lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"watermark.investigations_dir: {self.root}: {error.strerror or 'cannot be made'}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise Conflict("another admin process works on the investigations in this folder; ask that one") from None
        self._lock = lock

    def release(self) -> None:
        """Let another process work here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def all(self) -> list[Investigation]:
        """Every one, the newest first; reads a small file for each."""
        if not self.root.is_dir():
            return []
        found = [self.get(path.name) for path in self.root.iterdir() if _ID.fullmatch(path.name)]
        return sorted((one for one in found if one is not None), key=lambda one: (-one.made_us, one.id))

    def get(self, name: str) -> Investigation | None:
        """One of them; None where there is none."""
        if not _ID.fullmatch(name):
            return None
        try:
            return msgspec.json.decode((self.root / name / RECORD).read_bytes(), type=Investigation)
        except (OSError, msgspec.DecodeError):
            return None

    def make(
        self,
        *,
        name: str,
        profile: str,
        form: Form,
        field: str,
        texts: Texts,
        size: int,
        sha256: str,
        reason: str,
        by: str,
    ) -> Investigation:
        """A new one, which waits for its data set.

        Raises:
            Conflict: there are as many as may be, or another process works here.
        """
        self.own()
        self.demand_place()
        now = time.time_ns() // 1000
        made = Investigation(
            id=new_id(),
            name=name,
            profile=profile,
            form=form,
            field=field,
            texts=texts,
            size=size,
            sha256=sha256,
            reason=reason,
            by=by,
            made_us=now,
            changed_us=now,
        )
        # With its record from the first moment: a folder without one is the rest of an erasure, and is swept.
        begun = self.root / f"{_BEGUN}{made.id}"
        begun.mkdir(mode=0o700)
        _write_private(begun / RECORD, msgspec.json.encode(made))
        begun.rename(self.root / made.id)
        return made

    def demand_place(self) -> None:
        """Raises Conflict where there are as many as may be."""
        if len(self.all()) >= self._most:
            raise Conflict(f"{self._most:,} investigations are kept, and no more may be; erase one that is over")

    def put(self, one: Investigation, **changes: object) -> Investigation:
        """It becomes another: these fields of it are changed, and `changed_us`. Whole on disk when this returns."""
        made = structs.replace(one, changed_us=time.time_ns() // 1000, **changes)
        self._write(made)
        return made

    def room_for(self, size: int) -> bool:
        """The disk has room for a data set and its evidence, which is at most about four times as large."""
        place = self.root if self.root.exists() else self.root.parent
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free > 5 * size

    def corpus(self, one: Investigation) -> Path:
        """Where its data set is, or was."""
        return self.root / one.id / f"corpus{SUFFIXES[one.form]}"

    def received(self, one: Investigation) -> int:
        """Bytes of the data set that are here."""
        try:
            return self.corpus(one).stat().st_size
        except FileNotFoundError:
            return 0

    def is_as_announced(self, one: Investigation) -> bool:
        """The data set has the SHA-256 that was announced; reads all of it."""
        digest = hashlib.sha256()
        with self.corpus(one).open("rb") as file:
            while part := file.read(_READ_BYTES):
                digest.update(part)
        return secrets.compare_digest(digest.hexdigest(), one.sha256)

    def drop_text(self, one: Investigation) -> None:
        """Its data set goes."""
        self.corpus(one).unlink(missing_ok=True)

    def report(self, one: Investigation) -> Path:
        """The folder of its report."""
        return self.root / one.id / "report"

    def store(self, one: Investigation) -> Path:
        """The folder of its evidence."""
        return self.root / one.id / "store"

    def write_named(self, one: Investigation, tenants: list[str]) -> None:
        """Tenants beside those that are known; in place of those before."""
        _write_private(self.root / one.id / "named.txt", "".join(f"{tenant}\n" for tenant in tenants).encode())

    def named(self, one: Investigation) -> list[str]:
        """Those of `write_named`."""
        try:
            return (self.root / one.id / "named.txt").read_text().split("\n")[:-1]
        except FileNotFoundError:
            return []

    def write_roll(self, one: Investigation, tenants: list[str], groups: dict[str, str]) -> None:
        """Who is asked about, in the form that `app.watermark.roll` reads."""
        folder = self.root / one.id
        _write_private(folder / "tenants.txt", "".join(f"{tenant}\n" for tenant in tenants).encode())
        _write_private(folder / "groups.txt", "".join(f"{tenant},{group}\n" for tenant, group in groups.items()).encode())

    def roll(self, one: Investigation) -> tuple[Path, Path]:
        """The files of `write_roll`."""
        folder = self.root / one.id
        return folder / "tenants.txt", folder / "groups.txt"

    def erase(self, one: Investigation) -> None:
        """Everything of it goes; the record first, so that what is left of an interrupted erasure is swept."""
        folder = self.root / one.id
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, now_us: int) -> int:
        """Erases what has been kept for as long as it may be; returns how many investigations.

        Data sets that no run brought to its end go after `TEXT_DAYS`, and the remains of interrupted erasures at once.
        """
        erased = 0
        for one in self.all():
            if one.stage in ("queued", "running"):
                continue
            if one.changed_us < now_us - self._days * _DAY_US:
                self.erase(one)
                erased += 1
            elif one.changed_us < now_us - TEXT_DAYS * _DAY_US and self.received(one):
                self.drop_text(one)
                if one.stage == "uploaded":
                    self._write(structs.replace(one, stage="waiting"))
        if self.root.is_dir():
            for path in self.root.iterdir():
                rest = _ID.fullmatch(path.name) and not (path / RECORD).exists()
                if rest or (path.name.startswith(_BEGUN) and _older(path, now_us / 1e6 - _BEGUN_SEC)):
                    shutil.rmtree(path, ignore_errors=True)
        return erased

    def _write(self, one: Investigation) -> None:
        path = self.root / one.id / RECORD
        fresh = path.with_suffix(".new")
        _write_private(fresh, msgspec.json.encode(one))
        fresh.replace(path)


def _older(path: Path, than_sec: float) -> bool:
    try:
        return path.stat().st_mtime < than_sec
    except FileNotFoundError:  # it was finished, and has its name now
        return False


_BEGUN = ".new-"
_BEGUN_SEC = 3600.0


def new_id() -> str:
    """An id that nobody had; 65 bits by lot."""
    return "wi-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(13))


def _write_private(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
