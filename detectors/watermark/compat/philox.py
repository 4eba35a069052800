"""Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011), bare and as vLLM's PRF.

`philox4x32-10-v1` absorbs a context in blocks of four tokens and asks for a candidate token in a last call whose counter
and key carry the digest, so a number depends on the key, on the context's length and tokens, and on the candidate. Two
words keep both uses apart. Statistically good, and not cryptographic: who holds texts and much time may find the key.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.watermark.compat.detection import Ints

Words = NDArray[np.uint64]
State = tuple[Words, Words, Words, Words]

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
MASK = np.uint64(0xFFFFFFFF)
_2, _3, _8, _32 = np.uint64(2), np.uint64(3), np.uint64(8), np.uint64(32)
ROUNDS = 10

CONTEXT_DOMAIN = np.uint64(0x574D4358)
"""The letters WMCX: first word of the state that absorbs a context."""

TOKEN_DOMAIN = np.uint64(0x574D544B)
"""The letters WMTK: in the key of the call for a candidate."""

BLOCK = 4
GRID = 2**24
"""A number is one of so many, (m + 1) / (2²⁴ + 1), rounded to a float32."""


def philox(counter: State, key: tuple[Words, Words]) -> State:
    """Ten rounds over arrays of 32-bit words held in uint64, which broadcast together."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        first, second = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (second >> _32) ^ c1 ^ k0, second & MASK, (first >> _32) ^ c3 ^ k1, first & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return c0, c1, c2, c3


def chosen_word(words: State, candidates: Words) -> Words:
    """Of the four words of a call, the one that the candidate's two lowest bits name."""
    rest = candidates & _3
    return np.where(rest < 2, np.where(rest == 0, words[0], words[1]), np.where(rest == 2, words[2], words[3]))


def prf_words(key: int, contexts: Ints, candidates: Ints, stream: int = 0) -> Words:
    """The 32-bit words of vLLM's PRF.

    Args:
        key: 64 bits.
        contexts: shape (n, width); −1 stands for no token.
        candidates: shape (n,), one for each context, or (n, v) or (1, v) for v candidates of each.
        stream: 64 bits; another one gives other numbers.

    Returns:
        uint64 below 2³², shaped like the candidates with one row per context.
    """
    low, high = np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)
    tokens = contexts.astype(np.uint64) & MASK  # −1 becomes 2³² − 1
    rows, width = tokens.shape
    zero = np.zeros(rows, np.uint64)
    state: State = (zero + CONTEXT_DOMAIN, zero + np.uint64(width), zero, zero)
    for offset in range(0, width, BLOCK):
        block = [
            tokens[:, offset + lane] if offset + lane < width else zero + (MASK - np.uint64(lane)) for lane in range(BLOCK)
        ]
        counter: Any = tuple(word ^ absorbed for word, absorbed in zip(state, block, strict=True))
        state = philox(counter, ((zero + low) ^ np.uint64(offset), zero + high))
    asked = candidates.astype(np.uint64) & MASK
    if asked.ndim == 2:
        state = (state[0][:, None], state[1][:, None], state[2][:, None], state[3][:, None])
    last = (
        low ^ state[3] ^ np.uint64(stream >> 32),
        np.zeros_like(state[3]) + (high ^ TOKEN_DOMAIN ^ np.uint64(stream & 0xFFFFFFFF)),
    )
    return chosen_word(philox((asked >> _2, state[0], state[1], state[2]), last), asked)


def uniforms(words: Words) -> NDArray[np.float32]:
    """Numbers strictly between 0 and 1 of 32-bit words, by their 24 highest bits."""
    return (((words >> _8).astype(np.float64) + 1.0) / (GRID + 1)).astype(np.float32)
