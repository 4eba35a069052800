"""What is left after a text was edited: 20,000 tokens of one key at one bit, among 100,000 keys."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.watermark.texts import VOCABULARY, Tokens, Writer, profile, secret, table, tenants, words_of
from detectors.watermark.attribution import Roster, attribute
from detectors.watermark.evidence import Evidence
from detectors.watermark.prf import Prf

NAME = "edits"
GUILTY = 4711
LENGTH = 250

Edit = Callable[[Tokens, float, np.random.Generator], Tokens]


def add(parser: argparse.ArgumentParser) -> None:
    """How much text, how many keys."""
    parser.add_argument("--tokens", type=int, default=20_000, help="of the key's text (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=100_000, help="issued codewords (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints the table: logarithm of the key's p-value; bold where it is named, alone."""
    table(("edit", "strength", "h = 2: log10 p", "h = 4: log10 p"), _rows(args))
    return 0


def _rows(args: argparse.Namespace) -> Iterator[tuple[object, ...]]:
    names = tenants(args.keys)
    prepared = []
    for width in (2, 4):
        kind = profile(context_width=width)
        master = secret(width)
        prf = Prf(master, kind)
        roster = Roster(names, words_of(master, names, kind), np.arange(kind.positions))
        writer = Writer(prf, kind, 1.0, width)
        texts = [writer.marked(roster.words[GUILTY], LENGTH) for _ in range(args.tokens // LENGTH)]
        prepared.append((kind, prf, roster, texts))
    for name, strengths, edit in EDITS:
        for strength in strengths:
            row: list[object] = [name, f"{strength:g}"]
            for kind, prf, roster, texts in prepared:
                randomness = np.random.default_rng(17)
                edited = [edit(text, strength, randomness) for text in texts]
                found = attribute(Evidence.of(prf, kind, edited), [roster], best=1)
                mine = found.log10_p[0][GUILTY]
                alone = [fit.name for fit in found.named] == [names[GUILTY]]
                row.append(f"**{mine:.1f}**" if alone else f"{mine:.1f}")
            yield tuple(row)


def _substitute(text: Tokens, share: float, randomness: np.random.Generator) -> Tokens:
    made = text.copy()
    hit = randomness.random(len(text)) < share
    made[hit] = randomness.integers(0, VOCABULARY, int(hit.sum()))
    return made


def _delete(text: Tokens, share: float, randomness: np.random.Generator) -> Tokens:
    return text[randomness.random(len(text)) >= share]


def _insert(text: Tokens, share: float, randomness: np.random.Generator) -> Tokens:
    places = np.flatnonzero(randomness.random(len(text)) < share)
    return np.insert(text, places, randomness.integers(0, VOCABULARY, len(places)).astype(np.uint32))


def _shuffle(text: Tokens, length: float, randomness: np.random.Generator) -> Tokens:
    """Spans of this many tokens in another order."""
    spans = [text[at : at + int(length)] for at in range(0, len(text), int(length))]
    return np.concatenate([spans[at] for at in randomness.permutation(len(spans))])


def _truncate(text: Tokens, share: float, randomness: np.random.Generator) -> Tokens:
    """The last `share` is cut off."""
    return text[: int(len(text) * (1 - share))]


def _mix(text: Tokens, share: float, randomness: np.random.Generator) -> Tokens:
    """A share of every document is clean text, in one piece."""
    length = int(len(text) * share)
    at = int(randomness.integers(0, len(text) - length + 1))
    return np.concatenate([text[:at], randomness.integers(0, VOCABULARY, length).astype(np.uint32), text[at + length :]])


def _drown(text: Tokens, share: float, randomness: np.random.Generator) -> Tokens:
    """A share of the documents is replaced whole by clean ones."""
    if randomness.random() >= share:
        return text
    return randomness.integers(0, VOCABULARY, len(text)).astype(np.uint32)


EDITS: tuple[tuple[str, tuple[float, ...], Edit], ...] = (
    ("none", (0.0,), _substitute),
    ("substitute tokens", (0.1, 0.2, 0.3, 0.4, 0.5), _substitute),
    ("delete tokens", (0.1, 0.3, 0.5), _delete),
    ("insert tokens", (0.1, 0.3, 0.5), _insert),
    ("shuffle spans of", (40, 20, 10, 5), _shuffle),
    ("truncate documents", (0.5, 0.8, 0.9), _truncate),
    ("clean text inside documents", (0.5, 0.8, 0.9), _mix),
    ("clean documents instead", (0.5, 0.8, 0.95), _drown),
)
