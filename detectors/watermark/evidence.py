"""Documents → scored n-grams → tables: how well a text fits every symbol at every position.

One pass over a corpus hashes every context once and drops the (context, token) pairs that came before anywhere in it. What
is left is the evidence: seeds, tokens and positions, 14 bytes an n-gram, from which the table of any document under all
symbols is made again whenever it is asked for. So a corpus of any size is searched in bounded memory: the arrays may lie
in files (`numpy.memmap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.prf import Prf, scored
from detectors.watermark.registry import MarkProfile
from detectors.watermark.seen import Seen

CHUNK = 1 << 15
"""N-grams scored at a time under all symbols: 4 MiB of numbers at 16 symbols, which fits a processor's cache level."""

BLOCK = 512
"""Documents whose tables are made at a time: 4 MiB each million cells at 128 positions of 16 symbols."""

_BELOW_ONE = 1.0 - 2.0**-53


class Ngrams(NamedTuple):
    """What of one document counts.

    Attributes:
        seeds: uint64, of the contexts.
        tokens: uint32, the tokens that follow them.
        positions: int16; −1: the model-level channel.
        at: int32, where in the document the token stands.
    """

    seeds: NDArray[np.uint64]
    tokens: NDArray[np.uint32]
    positions: NDArray[np.int16]
    at: NDArray[np.int32]


def ngrams(prf: Prf, seen: Seen, documents: Sequence[NDArray[np.uint32]]) -> tuple[Ngrams, NDArray[np.int64]]:
    """What of these documents counts and was in none before them.

    Args:
        prf: under the secret and profile that is looked for.
        seen: pairs of the corpus so far; changed.
        documents: the tokens of each.

    Returns:
        The n-grams of all, in order, and how many each document has.
    """
    width = prf.context_width
    steps = [prf.steps(tokens) for tokens in documents]
    lengths = [len(seeds) for seeds, _ in steps]
    seeds = np.concatenate([part for part, _ in steps]) if steps else np.empty(0, np.uint64)
    positions = np.concatenate([part for _, part in steps]) if steps else np.empty(0, np.int16)
    tails = [np.asarray(tokens[width:], np.uint32) for tokens in documents]
    tokens = np.concatenate(tails) if tails else np.empty(0, np.uint32)
    at = np.concatenate([np.arange(width, width + length, dtype=np.int32) for length in lengths] or [np.empty(0, np.int32)])
    new = seen.fresh(seeds, tokens)
    owner = np.repeat(np.arange(len(lengths)), lengths)[new]
    counts = np.bincount(owner, minlength=len(lengths)).astype(np.int64)
    return Ngrams(seeds[new], tokens[new], positions[new], at[new]), counts


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of a corpus.

    Attributes:
        profile: the marks looked for.
        seeds: uint64 of shape (n,), of all documents in order.
        tokens: uint32 of shape (n,).
        positions: int16 of shape (n,).
        starts: int64 of shape (documents + 1,): where each document's n-grams begin, and the end.
    """

    profile: MarkProfile
    seeds: NDArray[np.uint64]
    tokens: NDArray[np.uint32]
    positions: NDArray[np.int16]
    starts: NDArray[np.int64]

    @classmethod
    def of(
        cls, prf: Prf, profile: MarkProfile, documents: Iterable[NDArray[np.uint32]], seen: Seen | None = None
    ) -> Evidence:
        """Of documents that fit into memory."""
        found, counts = ngrams(prf, seen if seen is not None else Seen(1 << 22), list(documents))
        return cls(profile, found.seeds, found.tokens, found.positions, np.concatenate([[0], np.cumsum(counts)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The tables of all documents, `size` at a time: the first one's number, float32 (≤ size, positions, symbols)."""
        for first in range(0, len(self), size):
            yield first, self._tables(first, min(first + size, len(self)))

    def tables(self, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """The tables of some documents: float32 of shape (documents, positions, symbols)."""
        made = [self._tables(number, number + 1) for number in documents.tolist()]
        return np.concatenate(made) if made else np.empty((0, self.profile.positions, self.profile.symbols), np.float32)

    def summed(self, documents: NDArray[np.int64]) -> NDArray[np.float64]:
        """The table of some documents as one: float64 of shape (positions, symbols)."""
        total = np.zeros((self.profile.positions, self.profile.symbols))
        for number in documents.tolist():
            total += self._tables(number, number + 1)[0]
        return total

    def pooled(self) -> NDArray[np.float64]:
        """The table of all documents as one: float64 of shape (positions, symbols)."""
        profile = self.profile
        total = np.zeros((profile.positions, profile.symbols))
        symbols = np.arange(profile.symbols)
        for low in range(0, len(self.seeds), CHUNK):
            positions = np.asarray(self.positions[low : low + CHUNK])
            coded = positions >= 0
            values = self._values(low, low + CHUNK, coded, symbols)
            for symbol in range(profile.symbols):
                total[:, symbol] += np.bincount(positions[coded], values[:, symbol], profile.positions)
        return total

    def model(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The model-level channel: score and number of n-grams of every document, each of shape (documents,)."""
        score, count = np.zeros(len(self)), np.zeros(len(self), np.int64)
        symbol = np.array([self.profile.symbols])
        for low, owner, chosen in self._chunks(model=True):
            values = self._values(low, low + CHUNK, chosen, symbol)[:, 0]
            score += np.bincount(owner, values, len(self))
            count += np.bincount(owner, minlength=len(self))
        return score, count

    def decoys(self, number: int, most: int = 1 << 17) -> tuple[NDArray[np.float64], int]:
        """The same n-grams under channels that nobody is marked with: what the model-level score is by chance on this text.

        Args:
            number: of decoys.
            most: n-grams scored, from the first on; beyond, a text has shown what it repeats.

        Returns:
            float64 of shape (number,), and how many n-grams they are sums of.
        """
        total, counted = np.zeros(number), 0
        symbols = self.profile.symbols + 1 + np.arange(number)
        for low, owner, chosen in self._chunks(model=True):
            del owner
            where = np.flatnonzero(chosen)[: most - counted]
            for at in range(0, len(where), 256):
                picked = np.zeros(len(chosen), np.bool_)
                picked[where[at : at + 256]] = True
                total += self._values(low, low + CHUNK, picked, symbols).sum(axis=0)
            counted += len(where)
            if counted >= most:
                break
        return total, counted

    def _tables(self, first: int, last: int) -> NDArray[np.float32]:
        profile = self.profile
        low, high = int(self.starts[first]), int(self.starts[last])
        cells = (last - first) * profile.positions
        table = np.zeros((cells, profile.symbols), np.float32)
        symbols = np.arange(profile.symbols)
        lengths = np.diff(self.starts[first : last + 1])
        owner = np.repeat(np.arange(last - first), lengths)
        for at in range(low, high, CHUNK):
            until = min(at + CHUNK, high)
            positions = np.asarray(self.positions[at:until])
            coded = positions >= 0
            values = self._values(at, until, coded, symbols)
            cell = owner[at - low : until - low][coded] * profile.positions + positions[coded]
            order = np.argsort(cell, kind="stable")
            cell = cell[order]
            begins = np.flatnonzero(np.diff(cell, prepend=-1))
            if len(begins):
                table[cell[begins]] += np.add.reduceat(values[order], begins, axis=0).astype(np.float32)
        return table.reshape(last - first, profile.positions, profile.symbols)

    def _chunks(self, model: bool) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.bool_]]]:
        for low in range(0, len(self.seeds), CHUNK):
            positions = np.asarray(self.positions[low : low + CHUNK])
            chosen = (positions < 0) == model
            numbers = low + np.flatnonzero(chosen)
            yield low, np.searchsorted(self.starts, numbers, "right") - 1, chosen

    def _values(self, low: int, high: int, chosen: NDArray[np.bool_], symbols: NDArray[np.integer]) -> NDArray[np.float64]:
        seeds = np.asarray(self.seeds[low:high])[chosen]
        tokens = np.asarray(self.tokens[low:high])[chosen]
        return values(self.profile, seeds, tokens, symbols)


def values(
    profile: MarkProfile, seeds: NDArray[np.uint64], tokens: NDArray[np.uint32], symbols: NDArray[np.integer]
) -> NDArray[np.float64]:
    """What n-grams add to the score under each symbol: float64 of shape (n, symbols).

    Under a random function, an Exponential(1) number each, −ln(1 − u); for `green`, one with probability gamma, else zero.
    """
    numbers = scored(seeds, tokens, symbols)
    if profile.scheme == "green":
        return (numbers < profile.gamma).astype(np.float64)
    np.minimum(numbers, _BELOW_ONE, out=numbers)  # one word in 2^53 rounds up to one, whose score would have no end
    np.negative(numbers, out=numbers)
    np.log1p(numbers, out=numbers)
    np.negative(numbers, out=numbers)
    return numbers
