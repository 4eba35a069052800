"""Candidates for the embedding of a text: the shipped token table, what it could have been instead, and its teacher.

Every candidate gives unit vectors of whole texts; those a fingerprint could keep are rounded to signed bytes as it keeps
them. Words are the masked tokens of the fingerprint, each different one once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from benchmarks.embedding import teacher
from benchmarks.labelled import NoBench
from detectors.fingerprint.embedding import DIMENSIONS, UNIT, embedding, table, vector
from detectors.fingerprint.hashing import mix, vocabulary
from detectors.fingerprint.normalise import HEAD_CHARS, TAIL_CHARS, fold, pieces, tokens

Vectors = NDArray[np.float32]

CUT_TOKENS = 128
NGRAM = 3, 4
NGRAM_DIMENSIONS = 256
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One embedding.

    Attributes:
        size: bytes a text.
        embed: texts → float32 of shape (n, width), of length 1.
        small: whether it is quick enough for texts to be embedded for one table, and in another script too.
    """

    name: str
    size: int
    embed: Callable[[Sequence[str]], Vectors]
    small: bool = True


def read(text: str) -> str:
    """What a fingerprint reads of a text, folded; a break where it was cut."""
    head, rest = (fold(part) for part in pieces(text[:HEAD_CHARS], text[-TAIL_CHARS:], len(text)))
    return f"{head}\n{rest}" if rest else head


def shipped(texts: Sequence[str]) -> Vectors:
    """The token table; a word that it does not know has a row that it shares with others by its hash."""
    return np.stack([vector(embedding(vocabulary(tokens(read(text))))) for text in texts])


def table_alone(texts: Sequence[str]) -> Vectors:
    """The token table; words that it does not know are left out."""
    known = frozenset(table().hashes.tolist())
    bags = (vocabulary(tokens(read(text))) for text in texts)
    return np.stack([vector(embedding({word: value for word, value in bag.items() if value in known})) for bag in bags])


def table_and_ngrams(texts: Sequence[str]) -> Vectors:
    """The token table; a word that it does not know is the direction of its character n-grams, as long as its rows are."""
    held = table()
    known = frozenset(held.hashes.tolist())
    length = float(np.linalg.norm(held.rows[: len(held.hashes)], axis=1).mean())
    found = []
    for text in texts:
        bag = vocabulary(tokens(read(text)))
        ours = {word: value for word, value in bag.items() if value in known}
        rows = held.rows[np.searchsorted(held.hashes, np.fromiter(ours.values(), np.uint64, len(ours)))]
        total = held.centre + rows.sum(axis=0)
        for word in bag.keys() - ours.keys():
            total = total + length * _unit(_signs(_ngrams(f" {word} ")))
        found.append(_kept(total))
    return np.stack(found)


def hashed_words(texts: Sequence[str]) -> Vectors:
    """No table: each word is 64 signs, the bits of its hash."""
    bags = (vocabulary(tokens(read(text))) for text in texts)
    return np.stack([_kept(_signs(np.fromiter(bag.values(), np.uint64, len(bag)))) for bag in bags])


def hashed_ngrams(texts: Sequence[str]) -> Vectors:
    """No words: each different run of three or four characters adds or takes one in one of 256 places, by its hash."""
    found = []
    for text in texts:
        hashes = _ngrams(read(text))
        signs = 1.0 - 2.0 * (hashes >> np.uint64(8) & np.uint64(1)).astype(np.float64)
        found.append(_kept(np.bincount((hashes & np.uint64(255)).astype(np.intp), signs, NGRAM_DIMENSIONS)))
    return np.stack(found)


def encoder(texts: Sequence[str]) -> Vectors:
    """The teacher."""
    return teacher.embed(texts, CUT_TOKENS)


CANDIDATES = (
    Candidate("token table, other words in shared rows (shipped)", DIMENSIONS, shipped),
    Candidate("token table, other words left out", DIMENSIONS, table_alone),
    Candidate("token table, other words as n-grams", DIMENSIONS, table_and_ngrams),
    Candidate("hashed words", DIMENSIONS, hashed_words),
    Candidate("hashed character n-grams", NGRAM_DIMENSIONS, hashed_ngrams),
)
REFERENCE = Candidate("all-MiniLM-L6-v2", 4 * teacher.WIDTH, encoder, small=False)


def missing() -> str:
    """Why the teacher cannot take part; empty when it can."""
    try:
        teacher.find_model()
    except NoBench as reason:
        return str(reason)
    return (
        "" if find_spec("torch") and find_spec("transformers") else "torch and transformers: pip install --group embedding"
    )


def only_tokens(texts: Iterable[str]) -> None:
    """What every fingerprint needs whatever the embedding is: masked tokens and their hashes."""
    for text in texts:
        vocabulary(tokens(read(text)))


def _ngrams(text: str) -> NDArray[np.uint64]:
    """Hashes of the different runs of NGRAM characters."""
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint64)
    found = []
    for width in NGRAM:
        total = codes[: max(0, len(codes) - width + 1)].copy()
        for offset in range(1, width):
            total = total * _STEP + codes[offset : offset + len(total)]
        found.append(mix(total))
    return np.unique(np.concatenate(found))


def _signs(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Sum over hashes of ±1 by each of 64 bits."""
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1)
    total: NDArray[np.float64] = 2.0 * bits.sum(axis=0) - float(len(hashes))
    return total


def _unit(total: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(total))
    return total / length if length else total


def _kept(total: NDArray[np.floating]) -> Vectors:
    """A direction as a fingerprint keeps it."""
    kept: Vectors = (np.rint(_unit(total.astype(np.float64)) * UNIT) / UNIT).astype(np.float32)
    return kept
