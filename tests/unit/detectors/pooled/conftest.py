"""Simulated customers: each with its own topic and its own level of the harvest ratio, as pools at three scales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.pooled.rows import WIDTH, pool_row
from detectors.sketch.pool import SCALES, Pool

Floats = NDArray[np.float32]
MakePools = Callable[..., Floats]
DIMENSIONS = 64


@pytest.fixture(scope="session")
def make_pools() -> MakePools:
    """make(seed, keys, exchanges, share=0.0): float32 of shape (keys, scales, 1 + WIDTH); `share` of the exchanges are
    about another topic and have a high harvest ratio."""

    def make(seed: int, keys: int, exchanges: int, share: float = 0.0) -> Floats:
        rng = np.random.default_rng(seed)
        out = np.zeros((keys, len(SCALES), 1 + WIDTH), np.float32)
        elsewhere, common = 8.0 * np.eye(DIMENSIONS)[:2]
        for key in range(keys):
            pool = Pool(WIDTH)
            topic, level = common + 0.4 * rng.standard_normal(DIMENSIONS), rng.normal(-40.0, 6.0)
            attacks = rng.permutation(exchanges) < round(share * exchanges)
            for attack in attacks:
                point = (elsewhere if attack else topic) + rng.standard_normal(DIMENSIONS)
                embedding = np.rint(127.0 * point / np.linalg.norm(point)).astype(np.int8).tobytes()
                ratio = rng.normal(24.0, 8.0) if attack else rng.normal(level, 14.0)
                pool.add(pool_row(embedding, int(np.clip(round(ratio), -127, 127))))
            out[key] = np.column_stack([np.array(pool.counts, np.float32), pool.means])
        return out

    return make
