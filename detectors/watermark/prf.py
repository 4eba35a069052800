"""The pseudo-random function `sw1`: the tokens before a token say where and how it is scored.

The last `context_width` tokens are hashed once with a key (BLAKE2b, RFC 7693, 128 bits): the secret enters here and
nowhere else. Half of the hash is the seed; the other half says which position of the codeword the token belongs to, or,
by a coin, that it belongs to the model-level channel. A candidate token's uniform number under a symbol is then two
rounds of the finaliser of SplitMix64 (Steele, Lea and Flood 2014, constants of Stafford's variant 13), which is cheap
enough to ask for every symbol at detection. Symbol `symbols` is the model-level channel, the ones after it are decoys
that nobody is ever marked with.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.keys import MasterSecret
from detectors.watermark.registry import MarkProfile

VERSION = "sw1"

_GOLDEN = 0x9E3779B97F4A7C15
_ODD = 0xD1B54A32D192ED03
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB
"""Factors of the finaliser, for engines that make the same numbers elsewhere than in numpy."""
_MASK = (1 << 64) - 1
_UNIT = 2.0**-53

_U64_GOLDEN, _U64_ODD = np.uint64(_GOLDEN), np.uint64(_ODD)
# Arrays of no dimension: numpy takes them as they are, where it would convert a scalar at every call.
_U64_FIRST, _U64_SECOND = np.array(FIRST, np.uint64), np.array(SECOND, np.uint64)
_30, _27, _31, _11 = (np.array(bits, np.uint64) for bits in (30, 27, 31, 11))

_halves = struct.Struct("<QQ").unpack


class Step(NamedTuple):
    """Where a token is scored.

    Attributes:
        seed: 64 bits.
        position: of the codeword; −1 for the model-level channel.
    """

    seed: int
    position: int


class Prf:
    """The function under one secret and one profile."""

    __slots__ = ("_base", "_coin", "_packed", "_positions", "context_width", "model_symbol")

    def __init__(self, secret: MasterSecret, profile: MarkProfile) -> None:
        self.context_width = profile.context_width
        self.model_symbol = profile.symbols
        self._positions = profile.positions
        self._coin = int(profile.coin * 2.0**32)
        key = secret.derive(f"context/{VERSION}/{profile.id}/{profile.context_width}")
        self._base = hashlib.blake2b(key=key, digest_size=16)
        self._packed = struct.Struct(f"<{profile.context_width}I").pack

    def step(self, context: Sequence[int]) -> Step:
        """For the token that follows these; the last `context_width` of them count, and there must be as many.

        ValueError: there are too few, or one of them is no token (32 bits without a sign).
        """
        width = self.context_width
        if len(context) < width:
            raise ValueError(f"context: {width} tokens are needed, not {len(context)}")
        digest = self._base.copy()
        try:
            digest.update(self._packed(*context[-width:]))
        except struct.error:
            raise ValueError("context: a token is a whole number from 0 to 4,294,967,295") from None
        word, seed = _halves(digest.digest())
        return Step(seed, -1 if word >> 32 < self._coin else (word & 0xFFFFFFFF) % self._positions)

    def steps(self, tokens: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], NDArray[np.int16]]:
        """Seeds and positions for the tokens of a document from the `context_width`-th on.

        Args:
            tokens: uint32 of shape (n,).

        Returns:
            uint64 seeds and int16 positions (−1: the model-level channel), each of shape (max(0, n − width),).
        """
        width = 4 * self.context_width
        raw = np.ascontiguousarray(tokens, "<u4").tobytes()
        copy = self._base.copy
        digests = []
        for at in range(0, len(raw) - width, 4):
            digest = copy()
            digest.update(raw[at : at + width])
            digests.append(digest.digest())
        words = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
        return words[:, 1].copy(), self.positions(words[:, 0])

    def positions(self, words: NDArray[np.uint64]) -> NDArray[np.int16]:
        """The position that the second half of a hash stands for; −1 for the model-level channel."""
        at = ((words & np.uint64(0xFFFFFFFF)) % np.uint64(self._positions)).astype(np.int16)
        at[(words >> np.uint64(32)) < np.uint64(self._coin)] = -1
        return at


def mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, elementwise: a bijection of 64 bits. Changes its argument."""
    # One buffer for all shifts: at generation the arrays are so short that every allocation counts.
    shifted = np.right_shift(words, _30)
    np.bitwise_xor(words, shifted, words)
    np.multiply(words, _U64_FIRST, words)
    np.right_shift(words, _27, shifted)
    np.bitwise_xor(words, shifted, words)
    np.multiply(words, _U64_SECOND, words)
    np.right_shift(words, _31, shifted)
    np.bitwise_xor(words, shifted, words)
    return words


def stream(seed: int, symbol: int) -> int:
    """The seed of one symbol's numbers, as a Python integer: for one step at generation."""
    word = seed + (symbol + 1) * _GOLDEN & _MASK
    word = (word ^ word >> 30) * FIRST & _MASK
    word = (word ^ word >> 27) * SECOND & _MASK
    return word ^ word >> 31


def uniforms(seed: int, symbol: int, offsets: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The candidates' numbers at one step, in (0, 1).

    Args:
        seed: of the step.
        symbol: which numbers.
        offsets: of the candidates, from `offsets_of`: uint64 of shape (n,).

    Returns:
        float64 of shape (n,).
    """
    words = offsets + np.uint64(stream(seed, symbol))
    return _unit(mixed(words))


def offsets_of(candidates: NDArray[np.integer]) -> NDArray[np.uint64]:
    """What candidates add to a stream; once for a vocabulary. uint64 of the same shape."""
    return (candidates.astype(np.uint64) + np.uint64(1)) * _U64_ODD


def scored(seeds: NDArray[np.uint64], tokens: NDArray[np.uint32], symbols: NDArray[np.integer]) -> NDArray[np.float64]:
    """The numbers of tokens that were seen, under several symbols: float64 of shape (n, symbols), in (0, 1)."""
    words = seeds[:, None] + (symbols.astype(np.uint64) + np.uint64(1))[None, :] * _U64_GOLDEN
    words = mixed(words)
    words += offsets_of(tokens)[:, None]
    return _unit(mixed(words))


def _unit(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Of 64 bits the upper 53, as a number between 0 and 1. Changes its argument."""
    np.right_shift(words, _11, words)
    made = np.add(words, 0.5)
    np.multiply(made, _UNIT, made)
    return made
