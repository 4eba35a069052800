"""Which contexts each tenant was served, on disk: keyed hashes alone, from which no word of an answer can be read.

    served.json    profile, fingerprint of the secret, tenant → file
    model.ctx      the contexts of all answers
    <hash>.ctx     those of one tenant; `detectors.watermark.served.Contexts`

More answers are merged into what is there, a day's log at a time. A folder is its owner's alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from app.errors import BadInput
from app.offline.progress import Meter
from app.watermark.corpus import records, value_of
from app.watermark.store import profile_fields
from app.watermark.tokens import Tokens, content
from detectors.watermark.keys import MasterSecret
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.served import Contexts, Served

MANIFEST = "served.json"
FORMAT = "stillwatch-served/1"
MODEL = "model.ctx"

KEY_BYTES = 1 << 24
"""Of one tenant's set: exact up to two million contexts."""

MODEL_BYTES = 1 << 27
BATCH = 512
TENANT, ANSWER = "tenant", "answer"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Of a folder."""

    format: str = FORMAT
    profile: dict[str, Any]
    secret: str
    answers: int
    files: dict[str, str]


class Folder:
    """A folder of served contexts, open for reading.

    Args:
        path: where it is.
        profile: the marks looked for.
        secret: of its epoch.

    Raises:
        BadInput: it is none, or was made under another profile or secret.
    """

    def __init__(self, path: Path, profile: MarkProfile, secret: MasterSecret) -> None:
        found = _manifest(path)
        if found is None:
            raise BadInput(f"{path}: holds no {MANIFEST}; 'watermark served' makes it of a log of answers")
        _demand_same(path, found, profile, secret)
        self._path = path
        self._manifest = found

    @property
    def tenants(self) -> list[str]:
        """Who was served anything."""
        return list(self._manifest.files)

    def of(self, tenant: str) -> Contexts:
        """A tenant's contexts; none where nothing was served to it."""
        name = self._manifest.files.get(tenant)
        return Contexts(KEY_BYTES) if name is None else _read(self._path / name)

    def model(self) -> Contexts:
        """The contexts of all answers."""
        return _read(self._path / MODEL)


def add(
    log: Path, folder: Path, profile: MarkProfile, secret: MasterSecret, tokenizer: Path | None, meter: Meter
) -> Manifest:
    """Merge the answers of a log into a folder, which is made.

    Args:
        log: JSON Lines with `tenant` and `answer`: a text, or a list of tokens.
        folder: where the contexts are kept.
        profile: the marks that the answers got.
        secret: of its epoch.
        tokenizer: the tokenizer file, where texts need one.
        meter: told how far it is, in answers.

    Raises:
        BadInput: a line is not so; the folder is of another profile or secret, or cannot be written.
    """
    before = _manifest(folder)
    if before is not None:
        _demand_same(folder, before, profile, secret)
    served = Served(Prf(secret, profile), KEY_BYTES, MODEL_BYTES)
    meter.stage("answers")
    answers = 0
    for tenant, tokens in _answers(log, Tokens(profile, tokenizer), meter):
        served.add(tenant, tokens)
        answers += 1
    if not answers:
        raise BadInput(f"{log}: holds no answer")
    files = dict(before.files) if before else {}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for tenant, contexts in served.keys.items():
            name = files.setdefault(tenant, f"{hashlib.blake2b(tenant.encode(), digest_size=16).hexdigest()}.ctx")
            _merge(folder / name, contexts)
        _merge(folder / MODEL, served.model)
        made = Manifest(
            profile=profile_fields(profile),
            secret=secret.fingerprint(),
            answers=answers + (before.answers if before else 0),
            files=files,
        )
        _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror or 'cannot be written'}") from None
    return made


def _answers(log: Path, tokens: Tokens, meter: Meter) -> Iterator[tuple[str, Any]]:
    rows = iter(records(log, meter.at))
    while batch := list(islice(rows, BATCH)):
        tenants, contents = [], []
        for place, fields in batch:
            for field in (TENANT, ANSWER):
                if field not in fields:
                    raise BadInput(f"{place}: has no field {field!r}")
            tenant = value_of(place, fields[TENANT])
            if not isinstance(tenant, str) or not tenant:
                raise BadInput(f"{place}: {TENANT}: must be a name")
            tenants.append(tenant)
            contents.append(content(place, ANSWER, value_of(place, fields[ANSWER])))
        yield from zip(tenants, tokens.of(contents, [place for place, _ in batch]), strict=True)


def _merge(path: Path, contexts: Contexts) -> None:
    if path.exists():
        there = _read(path)
        there.merge(contexts)
        contexts = there
    _write(path, contexts.to_bytes())


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_suffix(f"{path.suffix}.new")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _read(path: Path) -> Contexts:
    try:
        return Contexts.from_bytes(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None


def _manifest(folder: Path) -> Manifest | None:
    path = folder / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}") from None
    if found.format != FORMAT:
        raise BadInput(f"{path}: format must be {FORMAT}, not {found.format[:64]!r}")
    return found


def _demand_same(folder: Path, found: Manifest, profile: MarkProfile, secret: MasterSecret) -> None:
    for name, there, now in (
        ("profile", found.profile, profile_fields(profile)),
        ("secret", found.secret, secret.fingerprint()),
    ):
        if there != now:
            raise BadInput(f"{folder}: was made with another {name}")
