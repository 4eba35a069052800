"""A process that runs one investigation for the admin process: `python -m app.watermark.jobs`.

What to do comes as a line of JSON on standard input, how far it is goes as lines of JSON to standard output. Standard input
stays open; when it ends, whoever asked is gone, and so is this process. Secrets therefore stand in no command line, and a
run never outlives its admin process. What is done already is on disk and is not done again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from app.errors import BadInput, ConfigError, Conflict, StillwatchError
from app.settings import WatermarkSettings
from app.watermark import store as stores
from app.watermark.corpus import Corpus, Form, Reading, Texts
from app.watermark.findings import Findings
from app.watermark.roll import read_roll
from app.watermark.sources import read_sources
from app.watermark.store import Stored
from app.watermark.tokens import MAX_BYTES, Tokens
from detectors.watermark.keys import MasterSecret
from detectors.watermark.registry import WORDS, MarkProfile

NICE = 10
"""Answers to requests come first."""

GONE_SEC = 10.0
"""Longest wait for another process of the same investigation to be gone."""

_LOOK_SEC = 0.25

LOOKED = 20
"""Documents with the strongest marks in which marked stretches are looked for, while their texts are still here."""

TOLD_SEC = 0.3
"""Between two words about how far it is."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done. Paths are absolute; an empty one is not there.

    Attributes:
        name: of the investigation, in place of the file's in the report.
        profile: id of the mark profile.
        corpus: file of the data set; it may be gone once the evidence is whole.
        sha256: of it.
        form, field, texts: how it is read, see `app.watermark.corpus.Reading`.
        store: folder of the evidence.
        report: folder of the report.
        tenants, groups: files of who is asked about.
        fwer: probability that any innocent is named, at most.
        profiles_file, secrets_file, secrets, tokenizers_dir: as in the settings.
    """

    name: str
    profile: str
    corpus: str
    sha256: str
    form: Form
    field: str
    texts: Texts
    store: str
    report: str
    tenants: str
    groups: str
    fwer: float
    profiles_file: str
    secrets_file: str
    secrets: str
    tokenizers_dir: str


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far it is: what it does, and the share of that, 0–1."""

    stage: str
    share: float


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The report is there."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It cannot be done; a sentence without anything of the data set."""

    error: str


Said: TypeAlias = Progress | Finished | Failed


class Telling:
    """A meter that says how far it is on a stream."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._stage = ""
        self._last = 0.0

    def stage(self, text: str, share: float = 0.0, events: int = 0) -> None:
        """A new stage begins."""
        self._stage = text
        self.say(Progress(text, share))

    def at(self, share: float, events: int) -> None:
        """So much of it is done; told now and then."""
        now = time.monotonic()
        if now - self._last >= TOLD_SEC:
            self._last = now
            self.say(Progress(self._stage, round(min(1.0, share), 4)))

    def say(self, what: Said) -> None:
        """One line. Nobody may listen any more; then this process is about to end."""
        with suppress(OSError):
            self._out.write(msgspec.json.encode(what) + b"\n")
            self._out.flush()


def run(job: Job, telling: Telling) -> Findings:
    """Scan, judge, write the report.

    Raises:
        StillwatchError: the data set, a profile, a secret or a tokenizer is not as it must be.
    """
    sources = read_sources(
        WatermarkSettings.model_validate(
            {
                "profiles_file": job.profiles_file or None,
                "secrets_file": job.secrets_file or None,
                "secrets": job.secrets,
            }
        )
    )
    try:
        profile = sources.registry.of(job.profile)
        secret = sources.ring.of(profile.epoch)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    stored = _evidence(job, profile, secret, telling)
    if stored.manifest.corpus.sha256 != job.sha256:
        raise BadInput("the data set is not the one that was announced: its SHA-256 is another")
    # Imported where they are needed: a data set that cannot be read is told without them, and nobody else needs them.
    from app.watermark.investigate import Ask, investigate, stretches

    roll = read_roll(Path(job.tenants), Path(job.groups))
    found = investigate(stored, secret, roll, Ask(fwer=job.fwer), telling)
    found = structs.replace(found, corpus=structs.replace(found.corpus, name=job.name))
    looked = _texts_of_strongest(job, profile, found)
    if looked:
        telling.stage("stretches within documents")
        who = [(key.kind, key.name) for key in found.named]
        made = stretches(stored, secret, roll, who, looked)
        found = structs.replace(found, looked=sorted(looked), stretches=made)
    telling.stage("report")
    from app.watermark.report import write

    write(found, Path(job.report))
    return found


def _texts_of_strongest(job: Job, profile: MarkProfile, found: Findings) -> dict[int, NDArray[np.uint32]]:
    """Tokens of the documents with the strongest marks, by number; none where the data set is not held any more."""
    numbers = {one.number for one in found.traced[:LOOKED]}
    if not numbers or not Path(job.corpus).exists():
        return {}
    tokens = Tokens(profile, _tokenizer(job, profile))
    corpus = Corpus(Path(job.corpus), _reading(job))
    first, last = min(numbers), max(numbers)
    chosen = [
        (number, document)
        for number, document in enumerate(islice(corpus.documents(first), last - first + 1), first)
        if number in numbers
    ]
    made = tokens.of([document.content for _, document in chosen], [found.corpus.name] * len(chosen))
    return {number: listed for (number, _), listed in zip(chosen, made, strict=True)}


def _evidence(job: Job, profile: MarkProfile, secret: MasterSecret, telling: Telling) -> Stored:
    folder, corpus = Path(job.store), Path(job.corpus)
    manifest = stores.read_manifest(folder)
    if manifest is not None and manifest.whole and not corpus.exists():
        return stores.load(folder)
    from app.watermark.scan import ScanJob, scan

    if not corpus.exists():
        raise BadInput("the data set is not held any more, and its evidence is not whole; make a new investigation")
    todo = ScanJob(corpus, folder, _reading(job), _tokenizer(job, profile))
    for _ in range(int(GONE_SEC / _LOOK_SEC)):
        try:
            return scan(todo, profile, secret, telling)
        except Conflict:
            # The process of an admin process that was killed ends with it, but not in the same moment.
            time.sleep(_LOOK_SEC)
    return scan(todo, profile, secret, telling)


def _reading(job: Job) -> Reading:
    return Reading(field=job.field, form=job.form, texts=job.texts)


def _tokenizer(job: Job, profile: MarkProfile) -> Path | None:
    return tokenizer_of(profile, Path(job.tokenizers_dir) if job.tokenizers_dir else None)


def tokenizer_of(profile: MarkProfile, folder: Path | None) -> Path | None:
    """The tokenizer file of a profile, found by its SHA-256; None where it needs none, or no folder is configured.

    Raises:
        ConfigError: none of the files there is the profile's, or the folder cannot be read.
    """
    if profile.tokenizer == WORDS or folder is None:
        return None
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.stat().st_size <= MAX_BYTES)
        for path in files:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == profile.tokenizer:
                    return path
    except OSError as error:
        raise ConfigError(f"watermark.tokenizers_dir: {error.strerror or 'cannot be read'}") from None
    raise ConfigError(
        f"watermark.tokenizers_dir: none of its {len(files)} files is the tokenizer of profile {profile.id}, which has the "
        f"SHA-256 {profile.tokenizer}"
    )


def plain(error: Exception, job: Job) -> str:
    """An error in words for people far from this machine: without its folders and without options of a command line."""
    said = str(error)
    for folder in (str(Path(job.corpus).parent), str(Path(job.store).parent)):
        said = said.replace(f"{folder}{os.sep}", "")
    return (
        said.replace("; --field names another", "; 'field' of the investigation names another")
        .replace(" (--tokenizer)", " (watermark.tokenizers_dir)")
        .replace("--tokenizer ", "")
    )


def main() -> int:
    """One job, from standard input. The answer is in what is said, not in the exit status."""
    os.nice(NICE)
    telling = Telling(sys.stdout.buffer)
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_asker, daemon=True).start()
    try:
        job = msgspec.json.decode(line, type=Job)
    except msgspec.DecodeError:
        return 2
    try:
        run(job, telling)
    except StillwatchError as error:
        telling.say(Failed(plain(error, job)))
    except MemoryError:
        telling.say(Failed("there is not enough memory for this data set"))
    except OSError as error:
        telling.say(Failed(f"a file of the investigation: {error.strerror or 'cannot be used'}"))
    except Exception as error:
        # Its words might quote the data set; where it broke is enough for whoever mends it.
        telling.say(Failed(f"the run failed inside: {type(error).__name__} at {_place(error)}"))
    else:
        telling.say(Finished())
    return 0


def _end_with_asker() -> NoReturn:
    # Past the buffer, whose lock must be free when the interpreter ends; nothing is behind the line.
    while os.read(0, 1):
        pass
    os._exit(3)


def _place(error: Exception) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else "?"


if __name__ == "__main__":
    sys.exit(main())
