"""The pass over a suspect corpus: every context hashed once, what counts written to an evidence store, block by block.

Memory does not grow with the corpus: a block of documents, and the filter of pairs that came before. A killed scan is taken
up after the last whole block: the corpus is read again, without decoding what is done, and the filter is filled from the
store. Blocks are cut by the documents alone, so the store is the same to the byte as that of a scan that was not killed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from app.errors import BadInput, ConfigError
from app.offline.progress import Meter, Silent
from app.watermark import store
from app.watermark.corpus import Corpus, Document, Identity, Reading
from app.watermark.findings import Corpus as Facts
from app.watermark.store import Manifest, Part, Stored, Writer
from app.watermark.tokens import Tokens
from detectors.watermark.evidence import CHUNK, ngrams
from detectors.watermark.keys import MasterSecret
from detectors.watermark.prf import Prf
from detectors.watermark.registry import MarkProfile
from detectors.watermark.seen import DEFAULT_BYTES, HASHES, Seen

BLOCK = 512
"""Documents at most that are counted together."""

BLOCK_CHARS = 1 << 23
"""Characters at most, but for a block's last document; four a token."""

SETTLE_SEC = 2.0
"""Between two times that the store is made sure of on disk: what a killed scan has to do again, at most."""

LEAST_FILTER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ScanJob:
    """One scan.

    Attributes:
        corpus: file or folder.
        store: folder for the evidence; it is made, or holds an unfinished scan of the same.
        reading: how the corpus is read.
        tokenizer: the tokenizer file, where texts need one.
        filter_bytes: of the filter of repeated pairs, a power of two; None: by the size of the corpus, 256 MiB at most.
        block: documents at most that are counted together.
        settle_sec: between two times that what was done is made sure of.
    """

    corpus: Path
    store: Path
    reading: Reading = field(default_factory=Reading)
    tokenizer: Path | None = None
    filter_bytes: int | None = None
    block: int = BLOCK
    settle_sec: float = SETTLE_SEC


def scan(job: ScanJob, profile: MarkProfile, secret: MasterSecret, meter: Meter | None = None) -> Stored:
    """Read a corpus to its end and give its evidence; a store that is whole already is only opened.

    Args:
        job: what and where.
        profile: the marks looked for.
        secret: of the profile's epoch.
        meter: told how far it is, in documents.

    Raises:
        BadInput: something of the corpus or the store cannot be read; the corpus is empty; the store is of another scan.
        ConfigError: the tokenizer is not the profile's.
        Conflict: another scan writes to the store.
    """
    meter = meter or Silent()
    size = job.filter_bytes
    if size is not None and (size < 64 or size & (size - 1) or size > 1 << 36):
        raise ConfigError("filter: must be a power of two, at most 64 GiB")
    tokens = Tokens(profile, job.tokenizer)
    corpus = Corpus(job.corpus, job.reading)
    meter.stage("checksum of the corpus")
    identity = corpus.identity(meter.at)
    begun = _begun(job, profile, secret, corpus, identity, tokens)
    with store.writing(job.store) as found:
        if found is not None:
            begun = _taken_up(job.store, found, begun)
        if not begun.whole:
            _read(job, profile, secret, corpus, tokens, begun, found is not None, meter)
    if corpus.size_bytes != identity.size_bytes or Corpus(job.corpus, job.reading).size_bytes != identity.size_bytes:
        raise BadInput(f"{job.corpus}: changed while it was read")
    return store.load(job.store)


def _read(
    job: ScanJob,
    profile: MarkProfile,
    secret: MasterSecret,
    corpus: Corpus,
    tokens: Tokens,
    manifest: Manifest,
    resumed: bool,
    meter: Meter,
) -> None:
    prf, seen = Prf(secret, profile), Seen(manifest.filter_bytes)
    facts = manifest.corpus
    parts = list(manifest.parts)
    writer = Writer(job.store, facts if resumed else None)
    try:
        if resumed:
            _refill(seen, job.store, facts, meter)
        meter.stage("documents", corpus.share, facts.documents)
        settled = time.monotonic()
        for block in _blocks(corpus.documents(facts.documents), job.block):
            for number, document in enumerate(block, facts.documents):
                name = corpus.files[document.part].name
                if not parts or parts[-1].name != name:
                    parts.append(Part(name, number))
            places = [f"{corpus.files[document.part].name}: line {document.line}" for document in block]
            listed = tokens.of([document.content for document in block], places)
            made, counts = ngrams(prf, seen, listed)
            lengths = np.array([len(one) for one in listed])
            lines = np.array([document.line for document in block])
            writer.block(made.seeds, made.tokens, made.positions, counts, lengths, lines)
            facts = _added(facts, block, lengths, len(made.seeds), profile.context_width)
            meter.at(corpus.share, facts.documents)
            if time.monotonic() - settled >= job.settle_sec:
                writer.settle(_with(manifest, facts, parts, whole=False))
                settled = time.monotonic()
        if not facts.tokens:
            raise BadInput(f"{job.corpus}: is empty: {facts.documents:,} documents, and no token in them")
        facts = msgspec.structs.replace(facts, lost_share=_lost(seen))
        writer.settle(_with(manifest, facts, parts, whole=True))
    finally:
        writer.close()


def _begun(
    job: ScanJob, profile: MarkProfile, secret: MasterSecret, corpus: Corpus, identity: Identity, tokens: Tokens
) -> Manifest:
    facts = Facts(
        name=job.corpus.resolve().name,
        sha256=identity.sha256,
        size_bytes=identity.size_bytes,
        modified=identity.modified,
        files=len(corpus.files),
        skipped_files=corpus.skipped_files,
        documents=0,
        empty=0,
        cut=0,
        limit_bytes=job.reading.limit_bytes,
        tokens=0,
        ngrams=0,
        repeated=0,
        lost_share=0.0,
        said=f"{corpus.said} {tokens.said}",
    )
    return Manifest(
        profile=store.profile_fields(profile),
        secret=secret.fingerprint(),
        corpus=facts,
        reading=asdict(job.reading),
        filter_bytes=job.filter_bytes or _filter_bytes(corpus),
        block=job.block,
        parts=[],
        whole=False,
    )


def _taken_up(folder: Path, found: Manifest, asked: Manifest) -> Manifest:
    same = (
        ("corpus", found.corpus.sha256, asked.corpus.sha256),
        ("profile", found.profile, asked.profile),
        ("secret", found.secret, asked.secret),
        ("way of reading", found.reading, asked.reading),
        ("way of reading", found.corpus.said, asked.corpus.said),
        ("filter", found.filter_bytes, asked.filter_bytes),
        ("block", found.block, asked.block),
    )
    for name, there, now in same:
        if there != now:
            raise BadInput(f"{folder}: holds a scan with another {name}; give another folder, or the same {name}")
    return found


def _blocks(documents: Iterable[Document], most: int) -> Iterator[list[Document]]:
    block: list[Document] = []
    chars = 0
    for document in documents:
        block.append(document)
        chars += len(document.content) * (1 if isinstance(document.content, str) else 4)
        if len(block) == most or chars >= BLOCK_CHARS:
            yield block
            block, chars = [], 0
    if block:
        yield block


def _added(
    facts: Facts, block: list[Document], lengths: np.ndarray[tuple[int], np.dtype[np.int64]], new: int, width: int
) -> Facts:
    scored = int(np.maximum(lengths - width, 0).sum())
    return msgspec.structs.replace(
        facts,
        documents=facts.documents + len(block),
        empty=facts.empty + int((lengths == 0).sum()),
        cut=facts.cut + sum(document.cut for document in block),
        tokens=facts.tokens + int(lengths.sum()),
        ngrams=facts.ngrams + new,
        repeated=facts.repeated + scored - new,
    )


def _with(manifest: Manifest, facts: Facts, parts: list[Part], *, whole: bool) -> Manifest:
    return msgspec.structs.replace(manifest, corpus=facts, parts=list(parts), whole=whole)


def _refill(seen: Seen, folder: Path, facts: Facts, meter: Meter) -> None:
    """The filter as it was: a pair that seems to be there already adds nothing to it."""
    meter.stage("n-grams of the scan before")
    if not facts.ngrams:
        return
    seeds = np.memmap(folder / "seeds.u64", store.ARRAYS["seeds.u64"], "r", shape=(facts.ngrams,))
    tokens = np.memmap(folder / "tokens.u32", store.ARRAYS["tokens.u32"], "r", shape=(facts.ngrams,))
    for low in range(0, facts.ngrams, CHUNK):
        seen.fresh(np.array(seeds[low : low + CHUNK]), np.array(tokens[low : low + CHUNK]))
        meter.at(min(1.0, (low + CHUNK) / facts.ngrams), facts.documents)


def _filter_bytes(corpus: Corpus) -> int:
    """A byte of filter for a byte of text, so some 30 bits for a pair; packed files hold more than they show."""
    packed = any(file.form == "parquet" or file.path.suffix == ".gz" for file in corpus.files)
    wanted = max(LEAST_FILTER_BYTES, corpus.size_bytes * (4 if packed else 1))
    return int(min(DEFAULT_BYTES, 1 << (wanted - 1).bit_length()))


def _lost(seen: Seen) -> float:
    """How likely a new pair is taken for an old one at the end: all its bits are set."""
    bits = sum(int(np.bitwise_count(seen.bits[at : at + CHUNK]).sum()) for at in range(0, len(seen.bits), CHUNK))
    return float(round((bits / (64 * len(seen.bits))) ** HASHES, 6))
