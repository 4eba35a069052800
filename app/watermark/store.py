"""The evidence of a corpus on disk: what was counted of every document, as plain arrays in a folder.

    manifest.json   profile, fingerprint of the secret, the corpus, how far the scan is
    seeds.u64 tokens.u32 positions.i16   an n-gram each
    starts.i64      where each document's n-grams begin, and the end of the last
    lengths.u32 lines.u32                a document each: its tokens; its line, row or part in its file

Arrays grow by whole blocks and the manifest names the last one, so what a killed scan left is cut back to it. The numbers
are little-endian. Seeds come from the secret: who holds a store can score texts of his own, so a folder is its owner's
alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput, Conflict
from app.watermark.findings import Corpus
from detectors.watermark.evidence import Evidence
from detectors.watermark.registry import MarkProfile

MANIFEST = "manifest.json"
FORMAT = "stillwatch-evidence/1"
ARRAYS: Mapping[str, str] = {
    "seeds.u64": "<u8",
    "tokens.u32": "<u4",
    "positions.i16": "<i2",
    "starts.i64": "<i8",
    "lengths.u32": "<u4",
    "lines.u32": "<u4",
}
_OF_NGRAMS = ("seeds.u64", "tokens.u32", "positions.i16")


class Part(msgspec.Struct, frozen=True):
    """A file of the corpus: its name within it, and the number of its first document."""

    name: str
    first: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """How far a scan is, and of what.

    Attributes:
        format: of the store.
        profile: every field.
        secret: fingerprint of the master secret.
        corpus: what was read so far.
        reading: how the corpus is read: a scan is only taken up the same way.
        filter_bytes: of the filter of repeated pairs.
        block: documents at most that are counted together.
        parts: the files so far.
        whole: the scan reached the end.
    """

    format: str = FORMAT
    profile: dict[str, Any]
    secret: str
    corpus: Corpus
    reading: dict[str, Any]
    filter_bytes: int
    block: int
    parts: list[Part]
    whole: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A whole store, open for reading; its arrays stay on disk.

    Attributes:
        folder: where it is.
        manifest: what it is of.
        profile: the marks looked for.
        evidence: all documents'.
        lengths: uint32 of shape (documents,): tokens of each.
        lines: uint32 of shape (documents,): where in its file each is.
    """

    folder: Path
    manifest: Manifest
    profile: MarkProfile
    evidence: Evidence
    lengths: NDArray[np.uint32]
    lines: NDArray[np.uint32]

    def place(self, document: int) -> str:
        """File and line of a document, for people."""
        parts = self.manifest.parts
        at = int(np.searchsorted([part.first for part in parts], document, "right")) - 1
        return f"{parts[at].name}:{int(self.lines[document])}"


def load(folder: Path) -> Stored:
    """Open a store that a scan finished.

    Raises:
        BadInput: there is none, it is damaged, or its scan has not reached the end.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise BadInput(f"{folder}: is no evidence store: it has no {MANIFEST}")
    if not manifest.whole:
        raise BadInput(f"{folder}: its scan has not reached the end; the same 'watermark scan' again takes it up")
    try:
        profile = MarkProfile(**manifest.profile)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{folder / MANIFEST}: profile: {error}") from None
    arrays = {name: _array(folder / name, kind, _items(name, manifest.corpus)) for name, kind in ARRAYS.items()}
    evidence = Evidence(
        profile, arrays["seeds.u64"], arrays["tokens.u32"], arrays["positions.i16"], np.asarray(arrays["starts.i64"])
    )
    return Stored(folder, manifest, profile, evidence, arrays["lengths.u32"], arrays["lines.u32"])


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a store, or None where there is none.

    Raises:
        BadInput: it cannot be read, or is none of ours.
    """
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


class Writer:
    """Writes a store block by block; use `writing`."""

    def __init__(self, folder: Path, begun: Corpus | None) -> None:
        self._folder = folder
        self._ngrams = begun.ngrams if begun else 0
        self._files = {}
        for name, kind in ARRAYS.items():
            path = folder / name
            path.touch(mode=0o600)
            size = _items(name, begun) * np.dtype(kind).itemsize if begun else 0
            if path.stat().st_size < size:
                raise BadInput(f"{path}: is shorter than {MANIFEST} says; the store is damaged, remove it and scan again")
            os.truncate(path, size)
            self._files[name] = path.open("ab")
        if not begun:
            self._add("starts.i64", np.zeros(1))

    def block(
        self,
        seeds: NDArray[np.uint64],
        tokens: NDArray[np.uint32],
        positions: NDArray[np.int16],
        counts: NDArray[np.int64],
        lengths: NDArray[np.integer],
        lines: NDArray[np.integer],
    ) -> None:
        """Add some documents: their n-grams, how many each has, their tokens and lines."""
        self._add("seeds.u64", seeds)
        self._add("tokens.u32", tokens)
        self._add("positions.i16", positions)
        self._add("starts.i64", self._ngrams + np.cumsum(counts))
        self._add("lengths.u32", lengths)
        self._add("lines.u32", lines)
        self._ngrams += len(seeds)

    def settle(self, manifest: Manifest) -> None:
        """Everything so far is on disk, and the manifest says so."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        path = self._folder / MANIFEST
        unfinished = path.with_suffix(".new")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def close(self) -> None:
        """Give the files back."""
        for file in self._files.values():
            file.close()

    def _add(self, name: str, values: NDArray[Any]) -> None:
        self._files[name].write(np.ascontiguousarray(values, ARRAYS[name]).tobytes())


@contextmanager
def writing(folder: Path) -> Iterator[Manifest | None]:
    """A folder that this process alone writes to; gives the manifest of what is in it.

    Raises:
        Conflict: another process writes to it.
        BadInput: it cannot be made or read, or holds something else.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror or 'cannot be made'}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"{folder}: another scan writes to it") from None
        manifest = read_manifest(folder)
        known = {MANIFEST, f"{Path(MANIFEST).stem}.new", ".lock", *ARRAYS}
        if manifest is None and any(path.name not in known for path in folder.iterdir()):
            raise BadInput(f"{folder}: holds other files; give a new or empty folder")
        yield manifest
    finally:
        os.close(lock)


def profile_fields(profile: MarkProfile) -> dict[str, Any]:
    """Every field, as a manifest and a report tell it."""
    return asdict(profile)


def _items(name: str, corpus: Corpus) -> int:
    if name in _OF_NGRAMS:
        return corpus.ngrams
    return corpus.documents + (name == "starts.i64")


def _array(path: Path, kind: str, items: int) -> NDArray[Any]:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
    if size < items * np.dtype(kind).itemsize:
        raise BadInput(f"{path}: is shorter than {MANIFEST} says; the store is damaged, scan again")
    if not items:
        return np.empty(0, kind)
    return np.memmap(path, kind, "r", shape=(items,))
