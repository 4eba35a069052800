"""Texts of known entropy, marked by the sampler token by token, and clean ones; what the tables of this package share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.keys import MasterSecret, codewords
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.registry import MarkProfile
from detectors.watermark.sampling import Marker, choose, plainly

VOCABULARY = 32_000
CANDIDATES = 50
"""Tokens that the model hesitates between, drawn by lot at every step."""

Tokens = NDArray[np.uint32]


def profile(**fields: object) -> MarkProfile:
    """The default profile, but for these fields."""
    return MarkProfile(**{"id": "bench", "scheme": "gumbel", "tokenizer": "words-1", "epoch": "bench", **fields})  # type: ignore[arg-type]


def secret(number: int) -> MasterSecret:
    """A master secret for one run."""
    return MasterSecret(number.to_bytes(32, "big"))


def tenants(count: int) -> list[str]:
    """So many names."""
    return [f"tenant-{number}" for number in range(count)]


def words_of(master: MasterSecret, names: Sequence[str], kind: MarkProfile) -> NDArray[np.uint8]:
    """Their codewords: uint8 of shape (names, positions)."""
    return codewords(master, names, kind.positions, kind.symbols)


def zipf(bits: float, candidates: int = CANDIDATES) -> NDArray[np.float64]:
    """Probabilities of the shape 1 / rank^a with this entropy, in bits."""
    ranks = np.arange(1, candidates + 1, dtype=np.float64)
    low, high = 0.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        p = ranks**-middle
        p /= p.sum()
        low, high = (middle, high) if -(p * np.log2(np.maximum(p, 1e-300))).sum() > bits else (low, middle)
    return p


class Writer:
    """Writes documents under one secret and profile.

    Args:
        prf: under both.
        kind: the profile.
        bits: entropy of every token.
        seed: of the candidates.
    """

    def __init__(self, prf: Prf, kind: MarkProfile, bits: float, seed: int) -> None:
        self._prf, self._kind = prf, kind
        self._p = zipf(bits)
        self._offsets = offsets_of(np.arange(VOCABULARY))
        self.randomness = np.random.default_rng(seed)

    def marked(self, word: NDArray[np.uint8], length: int) -> Tokens:
        """A document of `length` scored tokens, after as many as a context has."""
        width = self._kind.context_width
        made: list[int] = self.randomness.integers(0, VOCABULARY, width).tolist()
        marker = Marker(self._prf, self._kind, word)
        drawn = self.randomness.integers(0, VOCABULARY, (length, CANDIDATES))
        for candidates in drawn:
            by = marker.next(made[-width:])
            chosen = plainly(self._p, self.randomness) if by is None else choose(self._p, self._offsets[candidates], by)
            made.append(int(candidates[chosen]))
        return np.array(made, np.uint32)

    def clean(self, count: int, length: int) -> list[Tokens]:
        """Documents that nobody marked."""
        shape = (count, length + self._kind.context_width)
        return list(self.randomness.integers(0, VOCABULARY, shape).astype(np.uint32))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a Markdown table, row by row as they are made."""
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head), flush=True)
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def __call__(self) -> float:
        """Seconds."""
        return time.perf_counter() - self._began
