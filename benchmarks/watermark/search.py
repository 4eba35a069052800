"""What a search costs after the pass over the text: by keys with all documents as one, and by documents times keys."""

from __future__ import annotations

import argparse
import resource
from collections.abc import Iterator

import numpy as np

from benchmarks.watermark.texts import Clock, Writer, profile, secret, table, tenants, words_of
from detectors.watermark.attribution import Roster, attribute
from detectors.watermark.conditional import ConditionalNull
from detectors.watermark.evidence import Evidence
from detectors.watermark.prf import Prf

NAME = "search"
POOLED = (10_000, 100_000, 1_000_000)
SPLIT = ((250, 100_000), (500, 100_000), (1000, 100_000), (1000, 50_000), (1000, 25_000))


def add(parser: argparse.ArgumentParser) -> None:
    """How long documents are."""
    parser.add_argument("--tokens", type=int, default=250, help="of a document (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints two tables."""
    kind, master = profile(), secret(5)
    documents = Writer(Prf(master, kind), kind, 1.0, 5).clean(1000, args.tokens)
    clock = Clock()
    evidence = Evidence.of(Prf(master, kind), kind, documents)
    print(f"Pass over 1,000 documents of {args.tokens} tokens: {clock():.2f} s\n")
    names = tenants(max(POOLED))
    words = words_of(master, names, kind)
    table(("keys, all documents as one", "seconds", "keys a second"), _pooled(evidence, words))
    print()
    table(("documents", "keys", "seconds", "pairs a second", "peak MiB"), _split(documents, words))
    return 0


def _pooled(evidence: Evidence, words: np.ndarray) -> Iterator[tuple[object, ...]]:
    for keys in POOLED:
        clock = Clock()
        null = ConditionalNull(evidence.pooled())
        null.log_tail(null.scores(words[:keys]))
        seconds = clock()
        yield f"{keys:,}", f"{seconds:.2f}", f"{keys / seconds:,.0f}"


def _split(documents: list[np.ndarray], words: np.ndarray) -> Iterator[tuple[object, ...]]:
    kind = profile()
    for many, keys in SPLIT:
        evidence = Evidence.of(Prf(secret(5), kind), kind, documents[:many])
        roster = Roster(tenants(keys), words[:keys], np.arange(kind.positions))
        clock = Clock()
        attribute(evidence, [roster])
        seconds = clock()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        yield f"{many:,}", f"{keys:,}", f"{seconds:.1f}", f"{many * keys / seconds:,.0f}", peak
