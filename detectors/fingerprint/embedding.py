"""What a text is about, as a direction of 64 numbers: the sum of its words' rows in a table fitted to sentences.

A sentence encoder costs tens of milliseconds a text. A table costs tens of microseconds: each word's row was fitted so that
the sum over a text points where all-MiniLM-L6-v2 (Wang et al. 2020; Apache-2.0) points, reduced to its 64 main directions.
A word without a row of its own shares one of the `BUCKETS` with others, by its hash: texts of scripts that the table does
not know still fall into directions of their own, equal for equal words.

Each different word counts once, so that a long text is not its stop words. How the table was made: `benchmarks.embedding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import Artefact, load

DIMENSIONS = 64
BUCKETS = 2048
_BUCKETS = np.uint64(BUCKETS)
UNIT = 127
"""A component of 1 as int8: directions are kept with a resolution of 1/127."""


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Rows by word.

    Attributes:
        hashes: uint64 of shape (words,), sorted: xxh3 of each word that has a row of its own.
        rows: float32 of shape (words + BUCKETS, 64); the last BUCKETS are shared.
        centre: float32 of shape (64,): added once to every text.
    """

    hashes: NDArray[np.uint64]
    rows: NDArray[np.float32]
    centre: NDArray[np.float32]

    @classmethod
    def from_artefact(cls, artefact: Artefact) -> TokenTable:
        """The shipped table: int8 rows, each with its scale."""
        arrays = artefact.arrays
        rows = arrays["rows"].astype(np.float32) * arrays["scales"].astype(np.float32)[:, None]
        return cls(arrays["hashes"], rows, arrays["centre"].astype(np.float32))

    def direction(self, words: Mapping[str, int]) -> NDArray[np.float32]:
        """Unit vector, float32 of shape (64,), of a vocabulary (word → xxh3 hash); zeros for no words."""
        if not words:
            return np.zeros(DIMENSIONS, np.float32)
        wanted = np.fromiter(words.values(), np.uint64, len(words))
        at = np.searchsorted(self.hashes, wanted)
        shared = (wanted % _BUCKETS).astype(np.intp) + len(self.hashes)
        places = np.where(self.hashes.take(at, mode="clip") == wanted, at, shared)
        total: NDArray[np.float32] = self.centre + self.rows.take(places, axis=0).sum(axis=0)
        length = float(np.sqrt(total @ total))
        return total / np.float32(length) if length > 0.0 else total


@cache
def table() -> TokenTable:
    """The shipped table, read once.

    Raises:
        BadArtefact: it is missing or not what was shipped.
    """
    return TokenTable.from_artefact(load("token_table"))


def embedding(words: Mapping[str, int]) -> bytes:
    """Direction of a vocabulary as 64 signed bytes, `UNIT` for 1; empty for no words."""
    if not words:
        return b""
    return np.rint(table().direction(words) * UNIT).astype(np.int8).tobytes()


def vector(data: bytes) -> NDArray[np.float32]:
    """Bytes of `embedding` → float32 of shape (64,), of length about 1; zeros for none."""
    if not data:
        return np.zeros(DIMENSIONS, np.float32)
    return np.frombuffer(data, np.int8).astype(np.float32) / np.float32(UNIT)
