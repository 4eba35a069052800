"""Which contexts were served, on disk: a set for the whole model and one for each key, from the provider's own answers.

    <folder>/served.json     profile, fingerprint of the secret, which keys, how many answers
    <folder>/model.swc       contexts of all keys together
    <folder>/keys/<hash>.swc contexts of one key

Built off-line from the provider's archive of answers, JSON Lines or Parquet with a key and a text or list of tokens each.
The service's own archive does not do: it holds no texts. A set holds keyed hashes, so a folder by itself tells nobody what
was said; with the secret it tells whether a key was served a sentence, and is therefore its owner's alone.

Sets only grow, so a folder is extended by the next archive, and a build that was killed is begun again without harm.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import msgspec

from app.errors import BadInput, ConfigError, Conflict
from app.offline.progress import Meter, Silent
from app.watermark.corpus import Corpus, Document, Reading
from app.watermark.store import profile_fields
from app.watermark.tokens import Tokens
from detectors.watermark.keys import MasterSecret
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.served import DEFAULT_BYTES, Contexts, Served

MANIFEST = "served.json"
FORMAT = "stillwatch-served/1"
MODEL = "model.swc"

KEY_BYTES = 1 << 22
"""Bound of one key's set: exact up to half a million contexts, at four million 1 in 50 too many is held."""

HELD = 1 << 25
"""Contexts in memory before sets are written: 512 MiB, for they are in a key's set and in the model's."""

MAX_NAME = 512
KEY_FIELDS = ("key", "tenant")
ANSWER_FIELDS = ("", "answer")
"""Without a name, a corpus is read by `text`, or else `tokens`."""

_BATCH = 512


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds.

    Attributes:
        format: of the folder.
        profile: every field.
        secret: fingerprint of the master secret.
        answers: read so far.
        contexts: in them, repeated ones counted again.
        keys: that answers were served to, in ascending order.
        whole: the last build reached its end.
    """

    format: str = FORMAT
    profile: dict[str, Any]
    secret: str
    answers: int
    contexts: int
    keys: list[str]
    whole: bool


@dataclass(frozen=True, slots=True)
class ServedLog:
    """A finished folder."""

    folder: Path
    manifest: Manifest

    def model(self) -> Contexts:
        """What was served to anybody.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return _read(self.folder / MODEL)

    def of(self, key: str) -> Contexts:
        """What a key was served; nothing, if it never was.

        Raises:
            BadInput: the file is missing or damaged.
        """
        return _read(_path(self.folder, key)) if key in self.manifest.keys else Contexts(KEY_BYTES)


def load(folder: Path, profile: MarkProfile, secret: MasterSecret) -> ServedLog:
    """Open a folder for the profile whose marks are looked for.

    Raises:
        BadInput: there is none, it is damaged, or its build has not reached the end.
        ConfigError: it was built with another profile or secret: its contexts would never be met.
    """
    manifest = _manifest(folder)
    if manifest is None:
        raise BadInput(
            f"{folder}: is no log of served contexts: it has no {MANIFEST}; 'watermark served' makes it of answers"
        )
    _demand_same(folder, manifest, profile, secret)
    if not manifest.whole:
        raise BadInput(f"{folder}: its build has not reached the end; build it again from the same archive")
    return ServedLog(folder, manifest)


def build(
    archive: Path,
    folder: Path,
    profile: MarkProfile,
    secret: MasterSecret,
    tokenizer: Path | None = None,
    key_field: str = "",
    field: str = "",
    meter: Meter | None = None,
    held: int = HELD,
) -> ServedLog:
    """Build a folder from an archive of answers, or extend it by them.

    Args:
        archive: a file or folder of JSON Lines (also gzip) or Parquet: a key and an answer each, without its prompt.
        folder: made if it is not there.
        profile: that the answers were marked with.
        secret: of the profile's epoch.
        tokenizer: the profile's tokenizer file, where the archive holds texts and the profile does not count words.
        key_field: that holds the name of the key, as the codewords were issued to it; empty: `key`, or else `tenant`.
        field: that holds the text or the tokens; empty: `text`, or else `tokens`, or else `answer`.
        meter: told how far it is, in answers.
        held: contexts in memory before sets are written.

    Raises:
        BadInput: something cannot be read; file, line and rule are named.
        ConfigError: the folder is of another profile or secret, or the tokenizer file is not the profile's.
        Conflict: another build writes to the folder.
    """
    make = Tokens(profile, tokenizer)
    meter = meter or Silent()
    key_field = _present(archive, key_field, KEY_FIELDS)
    names, answers = _corpora(archive, key_field, _present(archive, field, ANSWER_FIELDS))
    rows = _rows(names, answers, key_field)
    batch = list(islice(rows, _BATCH))
    if not batch:
        raise BadInput(f"{archive}: holds no answer")
    with _writing(folder) as before:
        if before is None:
            before = Manifest(
                profile=profile_fields(profile), secret=secret.fingerprint(), answers=0, contexts=0, keys=[], whole=False
            )
        _demand_same(folder, before, profile, secret)
        _settle(folder, _with(before, whole=False))
        prf = Prf(secret, profile)
        keys, count, contexts, unwritten = set(before.keys), 0, 0, 0
        served = Served(prf, KEY_BYTES, DEFAULT_BYTES)
        meter.stage("which contexts were served")
        while batch:
            places = [f"{answers.files[answer.part].name}: line {answer.line}" for _, answer in batch]
            for (name, _), tokens in zip(batch, make.of([answer.content for _, answer in batch], places), strict=True):
                unwritten += served.add(name, tokens)
            count += len(batch)
            if unwritten >= held:
                contexts, unwritten = contexts + unwritten, 0
                _extend(folder, served)
                keys |= set(served.keys)
                served = Served(prf, KEY_BYTES, DEFAULT_BYTES)
            meter.at(answers.share, count)
            batch = list(islice(rows, _BATCH))
        _extend(folder, served)
        os.sync()  # once for all sets: one by one takes minutes for many keys, and until now a build begins anew
        manifest = _with(
            before,
            answers=before.answers + count,
            contexts=before.contexts + contexts + unwritten,
            keys=sorted(keys | set(served.keys)),
            whole=True,
        )
        _settle(folder, manifest)
    return ServedLog(folder, manifest)


def _present(archive: Path, field: str, usual: tuple[str, ...]) -> str:
    """The field that is asked for, or the first of the usual ones that the first record has."""
    if field:
        return field
    for name in usual:
        try:
            next(Corpus(archive, Reading(field=name)).documents(), None)
        except BadInput:
            continue  # if all fail, what is wrong is said of the first one
        return name
    return usual[0]


def _corpora(archive: Path, key_field: str, field: str) -> tuple[Corpus, Corpus]:
    """The same records twice: their keys and their answers."""
    # An answer is read whole: what is cut off was served, too.
    names, answers = Corpus(archive, Reading(field=key_field)), Corpus(archive, Reading(field=field, limit_bytes=1 << 30))
    texts = [file.name for file in answers.files if file.form == "text"]
    if texts:
        raise BadInput(f"{texts[0]}: is plain text, which does not say whose an answer is; JSON Lines or Parquet is needed")
    return names, answers


def _rows(names: Corpus, answers: Corpus, key_field: str) -> Iterator[tuple[str, Document]]:
    for key, answer in zip_longest(names.documents(), answers.documents()):
        if key is None or answer is None or (key.part, key.line) != (answer.part, answer.line):
            raise BadInput(f"{names.path}: was changed while it was read")
        name = key.content
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            place = f"{names.files[key.part].name}: line {key.line}"
            raise BadInput(f"{place}: {key_field}: must be a string of 1 to {MAX_NAME} characters")
        yield name, answer


def _extend(folder: Path, served: Served) -> None:
    for path, new in [(folder / MODEL, served.model), *((_path(folder, key), new) for key, new in served.keys.items())]:
        if path.exists():
            old = _read(path)
            old.merge(new)
            new = old
        _write(path, new.to_bytes())


def _path(folder: Path, key: str) -> Path:
    """A name may hold what a file's name must not."""
    return folder / "keys" / f"{blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}.swc"


def _read(path: Path) -> Contexts:
    try:
        return Contexts.from_bytes(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_suffix(".new")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        unfinished.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be written'}") from None


def _settle(folder: Path, manifest: Manifest) -> None:
    _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")


def _with(manifest: Manifest, **changed: Any) -> Manifest:
    return msgspec.structs.replace(manifest, **changed)


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


def _demand_same(folder: Path, manifest: Manifest, profile: MarkProfile, secret: MasterSecret) -> None:
    if manifest.profile != profile_fields(profile):
        raise ConfigError(
            f"{folder}: was built with profile {manifest.profile.get('id')}, and not with {profile.id} as it is"
        )
    if manifest.secret != secret.fingerprint():
        raise ConfigError(
            f"{folder}: was built with the secret {manifest.secret}, and the one of epoch {profile.epoch} has the "
            f"fingerprint {secret.fingerprint()}"
        )


@contextmanager
def _writing(folder: Path) -> Iterator[Manifest | None]:
    try:
        (folder / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        lock = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror or 'cannot be made'}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"{folder}: another build writes to it") from None
        manifest = _manifest(folder)
        if manifest is None and any(path.name not in (".lock", "keys") for path in folder.iterdir()):
            raise BadInput(f"{folder}: holds other files; give a new or empty folder")
        yield manifest
    finally:
        os.close(lock)
