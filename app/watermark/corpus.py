"""A suspect corpus as a stream of documents: JSON Lines, Parquet, plain text, or a folder of such files.

Unlike a log of our own, whatever cannot be read ends the reading with one sentence that names file, line and rule: evidence
that was drawn from an unknown part of a data set is worth little in a dispute. No error repeats what the corpus says.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput
from app.watermark import parquet
from app.watermark.tokens import content

Form = Literal["jsonl", "parquet", "text"]
Texts = Literal["auto", "blank-lines", "file"]

SUFFIXES: dict[str, Form] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".txt": "text", ".text": "text", ".md": "text",
}  # fmt: skip
FIELDS = ("text", "tokens")
LIMIT_BYTES = 1 << 20
"""Of one document; a book is read in its first fifth."""

MAX_LINE_BYTES = 1 << 26
"""Of a line of JSON: longer ones are no line."""

_GZIP = b"\x1f\x8b"
_READ_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"

_record = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Document(NamedTuple):
    """One document.

    Attributes:
        part: number of its file.
        line: its line, row, or first line, from 1.
        content: its text, or its tokens.
        cut: it is longer than the limit.
    """

    part: int
    line: int
    content: str | NDArray[np.uint32]
    cut: bool


class File(NamedTuple):
    """One file of a corpus: its name within it."""

    name: str
    path: Path
    form: Form


class Identity(NamedTuple):
    """What a corpus is known by."""

    sha256: str
    size_bytes: int
    modified: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How a corpus is read.

    Attributes:
        field: of JSON Lines and column of Parquet that holds the text or the tokens; empty: `text`, or else `tokens`.
        form: of a file whose name does not tell; None: by its name.
        texts: whether a text file is one document, or its parts between blank lines are; auto: one document in a folder,
            parts in a file by itself.
        limit_bytes: of one document; what is beyond is not read. A token counts as four.
    """

    field: str = ""
    form: Form | None = None
    texts: Texts = "auto"
    limit_bytes: int = LIMIT_BYTES

    def __post_init__(self) -> None:
        if self.form is not None and self.form not in get_args(Form):
            raise BadInput(f"form: must be one of {', '.join(get_args(Form))}")
        if self.texts not in get_args(Texts):
            raise BadInput(f"texts: must be one of {', '.join(get_args(Texts))}")
        if not 64 <= self.limit_bytes <= 1 << 30:
            raise BadInput("limit: must be from 64 bytes to 1 GiB")


class Corpus:
    """A file or folder, found but not yet read.

    Args:
        path: of the file or folder.
        reading: how.

    Raises:
        BadInput: there is no such file, its form is not known, or the folder holds no file to read.
    """

    def __init__(self, path: Path, reading: Reading = Reading()) -> None:
        self.path = path
        self.reading = reading
        self.skipped_files = 0
        self._whole_texts = reading.texts == "file" or (reading.texts == "auto" and path.is_dir())
        self.files = self._found()
        self._sizes = [_stat(file.path)[0] for file in self.files]
        self._before = 0
        self._open: IO[bytes] | None = None
        self._within = 0.0

    @property
    def size_bytes(self) -> int:
        """On disk."""
        return sum(self._sizes)

    @property
    def share(self) -> float:
        """How much of the corpus was handed out, 0–1, by bytes on disk."""
        return min(1.0, (self._before + self._within) / max(1, self.size_bytes))

    @property
    def said(self) -> str:
        """How it is divided into documents, in sentences."""
        forms = {file.form for file in self.files}
        field = f"the field {self.reading.field!r}" if self.reading.field else "the field 'text', or else 'tokens',"
        told = []
        if "jsonl" in forms:
            told.append(f"JSON Lines: {field} of each line is a document.")
        if "parquet" in forms:
            told.append(f"Parquet: {field} of each row is a document.")
        if "text" in forms:
            parts = "each is one document" if self._whole_texts else "what stands between blank lines is a document"
            told.append(f"Text files: {parts}.")
        return " ".join(told)

    def identity(self, told: Callable[[float, int], None] | None = None) -> Identity:
        """Sum, size and time; `told` hears how far the reading is: share, and files done."""
        sums, done, newest = [], 0, 0.0
        for number, file in enumerate(self.files):
            digest = sha256()
            newest = max(newest, _stat(file.path)[1])
            try:
                with file.path.open("rb") as raw:
                    while data := raw.read(_READ_BYTES):
                        digest.update(data)
                        done += len(data)
                        if told is not None:
                            told(min(1.0, done / max(1, self.size_bytes)), number)
            except OSError as error:
                raise BadInput(f"{file.path}: {error.strerror or 'cannot be read'}") from None
            sums.append(digest.hexdigest())
        if self.path.is_dir():
            listed = "".join(f"{file.name}\0{one}\n" for file, one in zip(self.files, sums, strict=True))
            total = sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()
        else:
            total = sums[0]
        return Identity(total, self.size_bytes, datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds"))

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """Every document in order of the files' names, without the first `skip`.

        Raises:
            BadInput: something cannot be read; file, line and rule are named.
        """
        self._before = 0
        for number, file in enumerate(self.files):
            self._within = 0.0
            seen = 0
            for line, said, cut in self._read(file, skip):
                seen += 1
                if said is None:
                    continue
                yield Document(number, line, said, cut)
            skip = max(0, skip - seen)
            self._before += self._sizes[number]
            self._within = 0.0

    def _read(self, file: File, skip: int) -> Iterator[tuple[int, str | NDArray[np.uint32] | None, bool]]:
        """(line, content, cut) of each document; without content for the first `skip`, which are not decoded."""
        if file.form == "parquet":
            yield from self._rows(file, skip)
            return
        with _opened(file.path) as (raw, stream):
            items = self._json(file, stream) if file.form == "jsonl" else self._texts(file, stream)
            for number, (line, make) in enumerate(_guarded(file, items)):
                self._within = raw.tell()
                if number < skip:
                    yield line, None, False
                else:
                    yield line, *make()

    def _json(self, file: File, stream: IO[bytes]) -> Iterator[tuple[int, _Make]]:
        for number, line in _lines(file, stream):
            if line.strip():
                yield number, lambda number=number, line=line: self._record(file, number, line)  # type: ignore[misc]

    def _record(self, file: File, number: int, line: bytes) -> tuple[str | NDArray[np.uint32], bool]:
        place = f"{file.name}: line {number}"
        record = _decoded(place, line)
        field = self.reading.field or next((name for name in FIELDS if name in record), FIELDS[0])
        if field not in record:
            either = "" if self.reading.field else f" and no {FIELDS[1]!r}"
            raise BadInput(f"{place}: has no field {field!r}{either}; --field names another")
        return self._content(place, field, value_of(place, record[field]))

    def _content(self, place: str, field: str, value: Any) -> tuple[str | NDArray[np.uint32], bool]:
        limit = self.reading.limit_bytes
        found = content(place, field, value)
        if isinstance(found, str):
            return _shortened(found, limit)
        return found[: limit // 4], len(found) > limit // 4

    def _rows(self, file: File, skip: int) -> Iterator[tuple[int, str | NDArray[np.uint32] | None, bool]]:
        for row in range(1, min(skip, parquet.rows(file.path)) + 1):
            yield row, None, False
        for row, share, field, value in parquet.read(file.path, file.name, self.reading.field, FIELDS, skip):
            self._within = share * _stat(file.path)[0]
            yield row, *self._content(f"{file.name}: row {row}", field, value)

    def _texts(self, file: File, stream: IO[bytes]) -> Iterator[tuple[int, _Make]]:
        limit = self.reading.limit_bytes
        if self._whole_texts:
            data = stream.read(limit + 4)
            yield 1, lambda: _text(f"{file.name}: line", 1, data, limit)
            return
        first, held, size = 0, list[bytes](), 0
        for number, line in _lines(file, stream, limit + 4):
            if line.strip():
                first = first or number
                if size <= limit:
                    held.append(line)
                size += len(line)
            elif held:
                data = b"".join(held)
                yield first, lambda first=first, data=data: _text(f"{file.name}: line", first, data, limit)  # type: ignore[misc]
                first, held, size = 0, [], 0
        if held:
            data = b"".join(held)
            yield first, lambda: _text(f"{file.name}: line", first, data, limit)

    def _found(self) -> list[File]:
        path = self.path
        if not path.is_dir():
            _stat(path)
            form = self.reading.form or _form(path)
            if form is None:
                raise BadInput(f"{path}: its name does not tell its form; --form says whether it is jsonl, parquet or text")
            return [File(path.name, path, form)]
        found = []
        inside = (one for one in path.rglob("*") if not any(part.startswith(".") for part in one.relative_to(path).parts))
        for one in sorted(inside, key=lambda one: one.relative_to(path).as_posix()):
            if one.is_file():
                form = _form(one)
                if form is None:
                    self.skipped_files += 1
                else:
                    found.append(File(one.relative_to(path).as_posix(), one, form))
        if not found:
            raise BadInput(f"{path}: holds no file that ends in {', '.join(SUFFIXES)}, or in one of them and .gz")
        return found


def records(path: Path, told: Callable[[float, int], None] | None = None) -> Iterator[tuple[str, dict[str, msgspec.Raw]]]:
    """(place, fields) of each line of a JSON Lines file, plain or gzip; `value_of` decodes a field.

    Args:
        path: of the file.
        told: hears how far it is: share of the file, and lines so far.

    Raises:
        BadInput: as `Corpus.documents`.
    """
    file = File(path.name, path, "jsonl")
    size = _stat(path)[0]
    with _opened(path) as (raw, stream):
        for number, line in _guarded(file, _lines(file, stream)):
            if line.strip():
                place = f"{file.name}: line {number}"
                yield place, _decoded(place, line)
            if told is not None:
                told(min(1.0, raw.tell() / max(1, size)), number)


def value_of(place: str, raw: msgspec.Raw) -> Any:
    """A field's value.

    Raises:
        BadInput: it is no JSON.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{place}: is no JSON ({_plain(error)})") from None


def _decoded(place: str, line: bytes) -> dict[str, msgspec.Raw]:
    _utf8(place, line)
    try:
        return _record.decode(line)
    except msgspec.ValidationError:
        raise BadInput(f"{place}: must be a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cut = "truncated" in str(error)
        raise BadInput(
            f"{place}: is cut off in the middle of its JSON" if cut else f"{place}: is no JSON ({_plain(error)})"
        ) from None


_Content = tuple[str | NDArray[np.uint32], bool]
_Make = Callable[[], _Content]
_Item = TypeVar("_Item")


class _opened:  # noqa: N801 - a context
    """The file itself, for how far it is, and its bytes, unpacked where it is gzip."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> tuple[IO[bytes], IO[bytes]]:
        try:
            self._raw = self._path.open("rb")
            packed = self._raw.read(2) == _GZIP
            self._raw.seek(0)
        except OSError as error:
            raise BadInput(f"{self._path}: {error.strerror or 'cannot be read'}") from None
        return self._raw, gzip.GzipFile(fileobj=self._raw, mode="rb") if packed else self._raw  # type: ignore[return-value]

    def __exit__(self, *_: object) -> None:
        self._raw.close()


def _guarded(file: File, items: Iterator[_Item]) -> Iterator[_Item]:
    try:
        yield from items
    except EOFError:
        raise BadInput(f"{file.name}: is cut off in the middle of its gzip stream") from None
    except (gzip.BadGzipFile, zlib.error):
        raise BadInput(f"{file.name}: is damaged: its gzip stream does not decode") from None
    except OSError as error:
        raise BadInput(f"{file.name}: {error.strerror or 'cannot be read'}") from None


def _lines(file: File, stream: IO[bytes], most: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers and ends. Of JSON a longer one is refused; of text it comes as its beginning."""
    number = 0
    while line := stream.readline(most):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) == most and not line.endswith(b"\n"):
            if file.form == "jsonl":
                raise BadInput(f"{file.name}: line {number}: is longer than {most >> 20} MiB")
            while (rest := stream.readline(_READ_BYTES)) and not rest.endswith(b"\n"):
                pass
        yield number, line


def _text(place: str, first: int, data: bytes, limit: int) -> _Content:
    data = data.removeprefix(_BOM) if first == 1 else data
    whole = data[:limit]
    cut = len(data) > limit
    try:
        return whole.decode(), cut
    except UnicodeDecodeError as error:
        if cut and error.end == len(whole) and error.reason == "unexpected end of data":
            return whole[: error.start].decode(), cut
        line = first + whole.count(b"\n", 0, error.start)
        byte = error.start - (whole.rfind(b"\n", 0, error.start) + 1) + 1
        raise _no_utf8(f"{place} {line}", byte, whole[error.start]) from None


def _utf8(place: str, line: bytes) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise _no_utf8(place, error.start + 1, line[error.start]) from None


def _no_utf8(place: str, byte: int, value: int) -> BadInput:
    return BadInput(f"{place}, byte {byte}: must be UTF-8, and holds 0x{value:02x}")


def _shortened(text: str, limit: int) -> tuple[str, bool]:
    if len(text) * 4 <= limit:
        return text, False
    raw = text.encode("utf-8", "surrogatepass")
    return (text, False) if len(raw) <= limit else (raw[:limit].decode("utf-8", "ignore"), True)


def _plain(error: Exception) -> str:
    """A decoder's words, which name a place and never quote."""
    return str(error).removeprefix("JSON is malformed: ")


def _form(path: Path) -> Form | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        form = SUFFIXES.get(suffixes[-2]) if len(suffixes) > 1 else None
        return None if form == "parquet" else form
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def _stat(path: Path) -> tuple[int, float]:
    try:
        found = path.stat()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
    return found.st_size, found.st_mtime
