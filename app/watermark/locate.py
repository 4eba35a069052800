"""The tokens of single documents of a corpus that was scanned, by the places that the report names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput
from app.offline.progress import Meter
from app.watermark.corpus import Corpus, Reading
from app.watermark.store import Stored
from app.watermark.tokens import Tokens


def tokens_at(
    stored: Stored, path: Path, places: Sequence[str], tokenizer: Path | None, meter: Meter
) -> dict[int, NDArray[np.uint32]]:
    """Document number → tokens.

    Args:
        stored: the evidence.
        path: of the corpus that it is of; read again up to the last of the places.
        places: `file:line`, as in a report.
        tokenizer: the tokenizer file, where texts need one.
        meter: told how far it is.

    Raises:
        BadInput: the corpus is another one or cannot be read; a place is no document's.
    """
    numbers = sorted({number_of(stored, place) for place in places})
    corpus = Corpus(path, Reading(**stored.manifest.reading))
    meter.stage("checksum of the corpus")
    if corpus.identity(meter.at).sha256 != stored.manifest.corpus.sha256:
        raise BadInput(f"{path}: is not the corpus that the evidence is of: its SHA-256 is another")
    tokens = Tokens(stored.profile, tokenizer)
    found: dict[int, NDArray[np.uint32]] = {}
    meter.stage("documents to look into")
    for number, document in enumerate(corpus.documents(numbers[0]), numbers[0]):
        if number in numbers:
            found[number] = tokens.of([document.content], [stored.place(number)])[0]
        if number == numbers[-1]:
            break
        meter.at(corpus.share, number)
    return found


def number_of(stored: Stored, place: str) -> int:
    """The document at a place.

    Raises:
        BadInput: there is none.
    """
    name, _, line = place.rpartition(":")
    parts = stored.manifest.parts
    for at, part in enumerate(parts):
        if part.name == name and line.isascii() and line.isdigit():
            end = parts[at + 1].first if at + 1 < len(parts) else len(stored.lines)
            where = np.flatnonzero(stored.lines[part.first : end] == int(line))
            if len(where):
                return part.first + int(where[0])
    raise BadInput(f"--locate {place[:128]}: no document is there; a place is a file and a line, such as suspect.jsonl:121")
