"""Marked texts of made-up words, and corpora of them on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from detectors.watermark.keys import MasterSecret, issued
from detectors.watermark.prf import Prf, offsets_of
from detectors.watermark.registry import MarkProfile
from detectors.watermark.sampling import Marker, choose, plainly
from detectors.watermark.words import words

VOCABULARY = [f"{first}{middle}{last}" for first in "bdgklmnprst" for middle in "aeiou" for last in "bdfglmnprst"]
CANDIDATES = 24
TENANTS = [f"tenant-{number:03d}" for number in range(300)]

Tell = Callable[..., str]
Keep = Callable[..., Path]


@pytest.fixture
def secret() -> MasterSecret:
    """The master secret of the tests."""
    return MasterSecret(bytes(range(32)))


@pytest.fixture
def profile() -> MarkProfile:
    """Gumbel marks on words."""
    return MarkProfile("words-h2", "gumbel", "words-1", "2026q4", context_width=2)


@pytest.fixture
def tell(secret: MasterSecret, profile: MarkProfile) -> Tell:
    """A text of made-up words at three bits a word, marked for a tenant or, without one, not at all."""
    tokens = words(" ".join(VOCABULARY))
    prf, offsets = Prf(secret, profile), offsets_of(tokens)
    ranks = np.arange(1, CANDIDATES + 1, dtype=np.float64)
    probabilities = ranks**-1.4 / (ranks**-1.4).sum()

    def _tell(seed: int, tenant: str = "", length: int = 120, group: str = "") -> str:
        randomness = np.random.default_rng(seed)
        marker = None
        if tenant:
            marker = Marker(prf, profile, issued(secret, tenant, profile.positions, profile.symbols, group))
        said: list[int] = []
        made: list[int] = []
        for _ in range(length):
            candidates = randomness.integers(0, len(tokens), CANDIDATES)
            by = marker.next(made) if marker else None
            at = plainly(probabilities, randomness) if by is None else choose(probabilities, offsets[candidates], by)
            said.append(int(candidates[at]))
            made.append(int(tokens[candidates[at]]))
        return " ".join(VOCABULARY[word] for word in said)

    return _tell


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Texts, or lists of tokens, as JSON Lines."""

    def _keep(contents: Sequence[str | list[int]], name: str = "suspect.jsonl") -> Path:
        path = tmp_path / name
        rows = ({"text": one} if isinstance(one, str) else {"tokens": one} for one in contents)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return _keep
