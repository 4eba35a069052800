"""Documents of STIX objects from files, addresses and uploads: bundles and envelopes, read in bounded bytes and memory.

A document is another organisation's, and may be huge, deep, cut or made to be misread. So it is looked through in a window
of a megabyte: no value is built that is larger, and where each object begins and ends is all that is kept. A document that
breaks JSON is refused whole; a well-formed object that breaks a rule of its own is left out, and the rule named.
"""

from __future__ import annotations

import codecs
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import BadInput
from app.intel import tlp
from app.intel.taxii import envelope

MAX_BYTES = 64 * 1024 * 1024
MAX_OBJECTS = 250_000
"""Of one document; a feed keeps as many."""

MAX_OTHER_BYTES = 64 * 1024
"""Of everything in a document that is not its objects."""

_WINDOW = 1024 * 1024
_LARGEST = 2 * envelope.MAX_OBJECT_BYTES
"""What the window has at least: an object that breaks the bound a little is left out, and does not end the document."""

_SPACE = re.compile(rb"[ \t\r\n]*+")


@dataclass(frozen=True, slots=True)
class Found:
    """One object of a document.

    Attributes:
        number: its place, from 0.
        content: the object; None where it breaks a rule.
        data: as JSON that can be sent on.
        fault: "" or the rule.
        red: it is marked TLP:RED.
    """

    number: int
    content: dict[str, Any] | None
    data: bytes
    fault: str = ""
    red: bool = False


class Document:
    """A document that was looked through; `read` makes it.

    Attributes:
        kind: "bundle" or "envelope".
        data: its bytes, as they came.
    """

    def __init__(self, kind: str, data: bytes, spans: array[int]) -> None:
        self.kind = kind
        self.data = data
        self._spans = spans

    def __len__(self) -> int:
        return len(self._spans) // 2

    def objects(self, first: int = 0, count: int = MAX_OBJECTS) -> Iterator[Found]:
        """Its objects, from one on."""
        for number in range(first, min(len(self), first + count)):
            yield _found(number, self.data[self._spans[2 * number] : self._spans[2 * number + 1]])


def read(data: bytes) -> Document:
    """A bundle, or an envelope of TAXII.

    Raises:
        BadInput: it is none, or beyond a bound; the message names the place and the rule, and quotes nothing.
    """
    if len(data) > MAX_BYTES:
        raise BadInput(f"document: must be at most {MAX_BYTES:,} bytes")
    _demand_utf8(data)
    reader = _Reader(data)
    spans: array[int] = array("Q")
    kind, other, names = "envelope", 0, set()
    reader.demand(b"{", "document: must be a JSON object, a bundle or an envelope")
    while True:
        name = reader.value("document")[0]
        reader.demand(b":", "document: must be valid JSON")
        if not isinstance(name, str):
            raise BadInput("document: must be valid JSON")
        if name in names:
            raise BadInput("document: a name stands in it twice")
        names.add(name)
        if name == "objects":
            _index(reader, spans)
        else:
            value, start, end = reader.value("document")
            other += end - start + len(name)
            if other > MAX_OTHER_BYTES:
                raise BadInput(f"document: must have at most {MAX_OTHER_BYTES:,} bytes beside its objects")
            if name == "type":
                if value != "bundle":
                    raise BadInput("document: type must be bundle")
                kind = "bundle"
        if not reader.take(b","):
            break
    reader.demand(b"}", "document: must be valid JSON, and is cut or malformed")
    if not reader.ended():
        raise BadInput("document: must be one JSON object and nothing behind it")
    if "objects" not in names or not spans:
        raise BadInput("document: objects must be a list of at least one object")
    return Document(kind, data, spans)


def _index(reader: _Reader, spans: array[int]) -> None:
    reader.demand(b"[", "document: objects must be a list")
    if reader.take(b"]"):
        return
    while True:
        if len(spans) >= 2 * MAX_OBJECTS:
            raise BadInput(f"document: must have at most {MAX_OBJECTS:,} objects")
        value, start, end = reader.value(f"objects.{len(spans) // 2}")
        if not isinstance(value, dict):
            raise BadInput(f"objects.{len(spans) // 2}: must be an object")
        spans.extend((start, end))
        if not reader.take(b","):
            break
    reader.demand(b"]", "document: must be valid JSON, and is cut or malformed")


class _Reader:
    """Values one after another, each built from a window of the document."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._text = ""
        self._begin = 0

    def take(self, sign: bytes) -> bool:
        """Whether this sign comes next, which then is behind us."""
        self._skip()
        if self._data[self._at : self._at + 1] != sign:
            return False
        self._at += 1
        return True

    def demand(self, sign: bytes, rule: str) -> None:
        """BadInput unless it comes next."""
        if not self.take(sign):
            raise BadInput(rule)

    def ended(self) -> bool:
        """Whether nothing comes any more."""
        self._skip()
        return self._at == len(self._data)

    def value(self, place: str) -> tuple[Any, int, int]:
        """(the value, where it begins, where it ends). Text in it is not decoded: it is for names and structure."""
        self._skip()
        if self._begin + len(self._text) < min(len(self._data), self._at + _LARGEST):
            self._begin = self._at
            # One character for each byte, whatever the text is: offsets stay those of the document.
            self._text = self._data[self._at : self._at + _WINDOW].decode("latin-1")
        start = self._at
        try:
            value, end = _DECODER.raw_decode(self._text, start - self._begin)
        except RecursionError:
            raise BadInput(f"{place}: must not be nested deeper than {envelope.MAX_DEPTH} levels") from None
        except _Twice:
            raise BadInput(f"{place}: a name stands in it twice") from None
        except ValueError:
            raise BadInput(
                f"{place}: must be valid JSON, without NaN, whole, and at most {envelope.MAX_OBJECT_BYTES:,} bytes"
            ) from None
        self._at = self._begin + end
        return value, start, self._at

    def _skip(self) -> None:
        found = _SPACE.match(self._data, self._at)
        assert found is not None
        self._at = found.end()


class _Twice(ValueError):
    """A name stands in an object twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def _found(number: int, data: bytes) -> Found:
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        return Found(number, None, b"", "has a number or a character that JSON cannot say")
    if not envelope.identified(content):
        return Found(number, None, b"", "must have a STIX identifier and the type that it begins with")
    red = tlp.level_of(content.get("object_marking_refs")) == "red"
    try:
        return Found(number, content, envelope.packed(content), red=red)
    except BadInput as error:
        return Found(number, None, b"", str(error), red)


def _demand_utf8(data: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for first in range(0, len(data), _WINDOW):
            decoder.decode(data[first : first + _WINDOW])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadInput("document: must be UTF-8") from None
