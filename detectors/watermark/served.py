"""Which contexts a key was served: what turns a student's text into evidence about that key.

A student can repeat the mark of an answer only where it saw the answer's context. The provider knows which contexts it
served, so everything else a suspect says is noise, and is left out. A context is its seed (`prf`): 64 bits of a keyed hash,
so the set shows nobody a word of an answer, and without the secret it cannot even be asked.

The set is a sorted array as long as it fits the bound, and a Bloom filter (Bloom 1970) of the size of the bound from there
on. A filter sometimes holds a context that was never served: that one adds noise, for a reason that has nothing to do with
its score. It never forgets one.

Leaving out is no selection by score: a context is in the set because of the tokens before it, and its own numbers are first
asked when it has been reached. Whatever a key was served, the scores of an innocent student are fresh draws.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.prf import Prf, mixed

HASHES = 4
DEFAULT_BYTES = 1 << 27
"""128 MiB: exact up to 16 million contexts; with 50 million 1 in 1,200 too many is held, with 100 million 1 in 110."""

_MAGIC: Final = b"swctx\x01"
_HEADER: Final = struct.Struct("<6sBxQQ")
_ARRAY, _FILTER = 0, 1
_LATER = 1 << 16


class Contexts:
    """A set of seeds in bounded memory.

    Args:
        size_bytes: bound of the memory, and of `to_bytes` but for its header; a power of two from 64 up.
    """

    __slots__ = ("_bits", "_later", "_later_count", "_seeds", "size_bytes")

    def __init__(self, size_bytes: int = DEFAULT_BYTES) -> None:
        if size_bytes < 64 or size_bytes & (size_bytes - 1):
            raise ValueError("size_bytes: a power of two, at least 64")
        self.size_bytes = size_bytes
        self._seeds: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._bits: NDArray[np.uint64] | None = None
        # Seeds come an answer at a time; sorting them in would cost the whole array each time.
        self._later: list[NDArray[np.uint64]] = []
        self._later_count = 0

    @classmethod
    def of(cls, prf: Prf, answers: Iterable[NDArray[np.uint32]], size_bytes: int = DEFAULT_BYTES) -> Contexts:
        """Of served answers, each without its prompt: uint32 tokens of shape (n,)."""
        made = cls(size_bytes)
        for answer in answers:
            made.add(prf.steps(answer)[0])
        return made

    @property
    def exact(self) -> bool:
        """Whether it still is an array."""
        self._settle()
        return self._bits is None

    def __len__(self) -> int:
        """How many different contexts: counted while exact, estimated by the filter's filling from there on."""
        self._settle()
        if self._bits is None:
            return len(self._seeds)
        cells = 64 * len(self._bits)
        empty = max(1, cells - int(np.bitwise_count(self._bits).sum()))
        return round(-cells / HASHES * float(np.log(empty / cells)))

    def add(self, seeds: NDArray[np.uint64]) -> None:
        """Holds these from now on; uint64 of shape (n,)."""
        if not len(seeds):
            return
        self._later.append(seeds)
        self._later_count += len(seeds)
        if self._later_count >= max(_LATER, len(self._seeds)):
            self._settle()

    def holds(self, seeds: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these are in the set; bool of shape (n,)."""
        self._settle()
        if self._bits is not None:
            held = np.ones(len(seeds), np.bool_)
            for word, bit in _places(seeds, len(self._bits)):
                held &= (self._bits[word] & bit) != 0
            return held
        if not len(self._seeds):
            return np.zeros(len(seeds), np.bool_)
        # In ascending order neighbours lie in the same cache lines: a fifth of the time for a million in ten million.
        order = np.argsort(seeds)
        asked = seeds[order]
        at = np.minimum(np.searchsorted(self._seeds, asked), len(self._seeds) - 1)
        held = np.empty(len(seeds), np.bool_)
        held[order] = self._seeds[at] == asked
        return held

    def merge(self, other: Contexts) -> None:
        """Holds what the other one holds, too. Of two filters of different bounds, the smaller bound is kept to."""
        other._settle()
        self._settle()
        if other._bits is None:
            self.add(other._seeds)
            self._settle()
            return
        bits = other._bits
        if self._bits is None:
            self.size_bytes = min(self.size_bytes, other.size_bytes)
            self._to_filter()
        assert self._bits is not None
        # A place in a filter of half the size is the same number without its highest bit.
        length = min(len(bits), len(self._bits))
        self._bits = _folded(self._bits, length) | _folded(bits, length)
        self.size_bytes = 8 * length

    def to_bytes(self) -> bytes:
        """What `from_bytes` reads; the seeds are keyed hashes, so there is nothing of an answer in it."""
        self._settle()
        body, kind = (self._seeds, _ARRAY) if self._bits is None else (self._bits, _FILTER)
        return _HEADER.pack(_MAGIC, kind, self.size_bytes, len(body)) + body.astype("<u8").tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Contexts:
        """The set that these bytes stand for; ValueError if they are none, or are cut short."""
        if len(raw) < _HEADER.size:
            raise ValueError("contexts: shorter than its header")
        magic, kind, size_bytes, length = _HEADER.unpack_from(raw)
        if magic != _MAGIC or kind not in (_ARRAY, _FILTER):
            raise ValueError("contexts: no set of served contexts, or of an unknown version")
        if len(raw) != _HEADER.size + 8 * length:
            raise ValueError(f"contexts: {_HEADER.size + 8 * length} bytes are needed, not {len(raw)}")
        made = cls(size_bytes)
        body = np.frombuffer(raw, "<u8", offset=_HEADER.size).astype(np.uint64)
        if kind == _FILTER:
            if 8 * length != size_bytes:
                raise ValueError("contexts: the filter has another size than its header says")
            made._bits = body
            return made
        if len(body) > size_bytes // 8 or (body[1:] <= body[:-1]).any():
            raise ValueError("contexts: the seeds are not in ascending order, or are too many")
        made._seeds = body
        return made

    def _settle(self) -> None:
        if not self._later:
            return
        late, self._later, self._later_count = np.concatenate(self._later), [], 0
        if self._bits is None:
            every = np.sort(np.concatenate([self._seeds, late]))
            self._seeds = every[np.concatenate([[True], every[1:] != every[:-1]])]
            if len(self._seeds) > self.size_bytes // 8:
                self._to_filter()
        else:
            _set(self._bits, late)

    def _to_filter(self) -> None:
        self._bits = np.zeros(self.size_bytes // 8, np.uint64)
        _set(self._bits, self._seeds)
        self._seeds = np.empty(0, np.uint64)


class Served:
    """What was served under one profile: of every key, and of the model as a whole.

    Args:
        prf: under the epoch's secret and the profile.
        size_bytes: bound of one key's set.
        model_bytes: bound of the set of the whole model.
    """

    __slots__ = ("_prf", "_size_bytes", "keys", "model")

    def __init__(self, prf: Prf, size_bytes: int = DEFAULT_BYTES, model_bytes: int = DEFAULT_BYTES) -> None:
        self._prf = prf
        self._size_bytes = size_bytes
        self.model = Contexts(model_bytes)
        self.keys: dict[str, Contexts] = {}

    def add(self, key: str, answer: NDArray[np.uint32]) -> int:
        """A served answer, without its prompt: uint32 tokens of shape (n,). How many contexts it has."""
        seeds = self._prf.steps(answer)[0]
        self.model.add(seeds)
        if key not in self.keys:
            self.keys[key] = Contexts(self._size_bytes)
        self.keys[key].add(seeds)
        return len(seeds)


def _places(seeds: NDArray[np.uint64], words: int) -> Iterable[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Where each seed's bits are in a filter of so many words: word and bit, `HASHES` times."""
    mask = np.uint64(64 * words - 1)
    step = mixed(seeds + np.uint64(1)) | np.uint64(1)
    for number in range(HASHES):
        at = (seeds + np.uint64(number) * step) & mask
        yield (at >> np.uint64(6)).astype(np.int64), np.uint64(1) << (at & np.uint64(63))


def _set(bits: NDArray[np.uint64], seeds: NDArray[np.uint64]) -> None:
    for word, bit in _places(seeds, len(bits)):
        np.bitwise_or.at(bits, word, bit)


def _folded(bits: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    return np.asarray(np.bitwise_or.reduce(bits.reshape(-1, length), axis=0))
