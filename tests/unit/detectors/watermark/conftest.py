"""Texts with and without marks, made by the sampler under test from a model of known entropy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.watermark.green import biased
from detectors.watermark.keys import MasterSecret
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.registry import MarkProfile
from detectors.watermark.sampling import Marker, choose, plainly

VOCABULARY = 32_000
CANDIDATES = 50

Tokens = NDArray[np.uint32]
Write = Callable[..., Tokens]


@pytest.fixture
def secret() -> MasterSecret:
    """The master secret of the tests."""
    return MasterSecret(bytes(range(32)))


@pytest.fixture
def profile() -> MarkProfile:
    """Gumbel marks of the default shape."""
    return MarkProfile("test", "gumbel", "words-1", "2026q4")


@pytest.fixture
def prf(secret: MasterSecret, profile: MarkProfile) -> Prf:
    """Under the secret and profile of the tests."""
    return Prf(secret, profile)


def zipf(bits: float, candidates: int = CANDIDATES) -> NDArray[np.float64]:
    """Probabilities of the shape 1 / rank^a with this entropy."""
    ranks = np.arange(1, candidates + 1, dtype=np.float64)
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        p = ranks**-middle
        p /= p.sum()
        low, high = (middle, high) if -(p * np.log2(np.maximum(p, 1e-300))).sum() > bits else (low, middle)
    return p


@pytest.fixture
def write() -> Write:
    """One document: at every step fifty candidates drawn by lot, with Zipf's probabilities of one bit."""

    def _write(
        prf: Prf,
        profile: MarkProfile,
        word: NDArray[np.uint8] | None,
        length: int,
        seed: int,
        bits: float = 1.0,
        vocabulary: int = VOCABULARY,
    ) -> Tokens:
        randomness = np.random.default_rng(seed)
        probabilities = zipf(bits)
        table = offsets_of(np.arange(vocabulary))
        marker = Marker(prf, profile, word) if word is not None else None
        made: list[int] = randomness.integers(0, vocabulary, profile.context_width).tolist()
        for _ in range(length):
            candidates = randomness.integers(0, vocabulary, CANDIDATES)
            by = marker.next(made[-profile.context_width :]) if marker else None
            if by is None:
                chosen = plainly(probabilities, randomness)
            elif profile.scheme == "green":
                chosen = int(biased(np.log(probabilities), profile, table[candidates], by).argmax())
            else:
                chosen = choose(probabilities, table[candidates], by)
            made.append(int(candidates[chosen]))
        return np.array(made, np.uint32)

    return _write
