"""What an investigation found, as a value: the report is drawn from it, and a program can read it.

It holds no secret, no codeword and nothing of the suspect's text. It names tenants, and is for the operator alone: who sees
scores of texts of his own can learn to wash a mark out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from app.errors import BadInput

FINDINGS = "findings.json"
FORMAT = "stillwatch-findings/1"

Kind = Literal["tenant", "group"]


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """What was read.

    Attributes:
        name: of the file or folder, without its path.
        sha256: of its bytes; of a folder, of the names and sums of its files.
        size_bytes: on disk.
        modified: newest change of a file, UTC, ISO 8601.
        files: how many were read.
        skipped_files: of other kinds.
        documents: how many there are.
        empty: of them, without a token.
        cut: of them, longer than the limit and read up to it.
        limit_bytes: of one document.
        tokens: of all documents.
        ngrams: scored: pairs of a context and the token after it.
        repeated: pairs left out because they had come before.
        lost_share: of the new pairs, how many were taken for repeated ones by chance, about.
        said: how texts were divided into documents and tokens, in a sentence.
    """

    name: str
    sha256: str
    size_bytes: int
    modified: str
    files: int
    skipped_files: int
    documents: int
    empty: int
    cut: int
    limit_bytes: int
    tokens: int
    ngrams: int
    repeated: int
    lost_share: float
    said: str


class ModelTest(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the text is the model's at all, whoever asked for it.

    Attributes:
        ngrams: of the model-level channel.
        score: their sum.
        expected: of a text without marks.
        log10_p: logarithm of the probability that a text without marks scores as much.
        decoys: channels that nobody is marked with, scored on the same text.
        decoy_ngrams: how many n-grams those were scored on.
        decoy_log10_p: of every decoy, ascending.
    """

    ngrams: int
    score: float
    expected: float
    log10_p: float
    decoys: int
    decoy_ngrams: int
    decoy_log10_p: list[float]


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant or group among those that fit best.

    Attributes:
        name: as the provider knows it.
        kind: a tenant, or a group of tenants that were found to be one.
        group: the tenant's, if it has one.
        named: the family-wise bound holds it guilty of being in the text.
        log10_p: logarithm of its p-value: of twice the smaller of the next two.
        log10_pooled: all documents as one.
        log10_split: half of the codeword selects documents, the other half is tested on them; 0: not computed.
        selected: documents that were selected.
        documents: that carry its mark, each by itself; None: not looked at.
        share: of the marked text; None: cannot be said.
        share_low: end of its 95 % interval.
        share_high: the other.
    """

    name: str
    kind: Kind
    group: str
    named: bool
    log10_p: float
    log10_pooled: float
    log10_split: float
    selected: int
    documents: int | None = None
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """The p-values of many codewords, ascending, thinned: `log10_p[i]` is the `ranks[i]`-th smallest of `total`."""

    total: int
    ranks: list[int]
    log10_p: list[float]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Some neighbouring documents in the picture, by the one with the strongest evidence.

    Attributes:
        first: number of the first one, from 0.
        documents: how many.
        key: index of the named key in `Findings.named`; −1: none.
        log10_p: of that document under that key; with no key, of the document under the model-level channel.
    """

    first: int
    documents: int
    key: int
    log10_p: float


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """A document that carries the mark of a named key.

    Attributes:
        number: from 0, in the corpus.
        place: file and line, row or part.
        name: of the key.
        log10_p: of the document by itself under this key, at most (a bound).
        ngrams: scored in it.
    """

    number: int
    place: str
    name: str
    log10_p: float
    ngrams: int


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a document that carries a mark.

    Attributes:
        document: number, from 0.
        place: file and line, row or part.
        name: of the key; empty: the model-level mark, whoever asked.
        start: number of the first token.
        end: of the token after the last.
        ngrams: scored in it.
        log10_p: of the stretch, corrected for the number of stretches that were looked at.
    """

    document: int
    place: str
    name: str
    start: int
    end: int
    ngrams: int
    log10_p: float


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one investigation.

    Attributes:
        format: of this document.
        version: of the program.
        at: when it was made, UTC, ISO 8601.
        profile: every field of the mark profile.
        secret: fingerprint of the master secret, from which nothing follows about it.
        corpus: what was read.
        model: the model-level test.
        keys: the named, and after them the next best, by ascending p-value.
        tested: codewords of tenants and groups.
        groups: of them, of groups.
        fwer: probability that any innocent one is named, at most.
        curve: p-values of all of them.
        decoys: p-values of codewords that were never issued.
        cells: the documents in order.
        traced: documents with the mark of a named key, the strongest first; at most `TRACED`.
        looked: documents in which stretches were looked for.
        stretches: what was found there.
        notes: sentences a reader should know.
    """

    format: str = FORMAT
    version: str
    at: str
    profile: dict[str, Any]
    secret: str
    corpus: Corpus
    model: ModelTest
    keys: list[Key]
    tested: int
    groups: int
    fwer: float
    curve: Curve
    decoys: Curve
    cells: list[Cell]
    traced: list[Traced]
    looked: list[int] = []
    stretches: list[Stretch] = []
    notes: list[str] = []

    @property
    def named(self) -> list[Key]:
        """Who is named."""
        return [key for key in self.keys if key.named]


def dumped(findings: Findings) -> bytes:
    """As JSON that `parse` reads."""
    return msgspec.json.format(msgspec.json.encode(findings), indent=1) + b"\n"


def parse(data: bytes, place: str = FINDINGS) -> Findings:
    """Of JSON.

    Raises:
        BadInput: it is none of ours.
    """
    try:
        found = msgspec.json.decode(data, type=Findings)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{place}: {error}") from None
    if found.format != FORMAT:
        raise BadInput(f"{place}: format must be {FORMAT}, not {found.format[:64]!r}")
    return found


def read(folder: Path) -> Findings:
    """Of a report's folder.

    Raises:
        BadInput: it cannot be read or is none of ours.
    """
    path = folder / FINDINGS
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or 'cannot be read'}") from None
