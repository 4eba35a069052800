"""Fleets of traces made by hand, and a scorer that reads the harvest bins alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from detectors.campaign import trace as traces
from detectors.campaign.fleet import Columns, Fleet
from detectors.campaign.trace import Kind, Trace
from detectors.catalogue import INDEX
from detectors.contract import FeatureMatrix, ScoreColumn
from detectors.model import Model
from detectors.policy import Policy
from detectors.pooled.rff import FEATURES
from detectors.pooled.rows import BINS
from detectors.sketch.decay import DAY_US
from detectors.tally import COUNTERS
from detectors.tally import INDEX as COUNTER

NOW_US = 1_790_000_000_000_000

MakeTrace = Callable[..., Trace]


@pytest.fixture
def now_us() -> int:
    """The moment of the pass."""
    return NOW_US


@pytest.fixture
def make_trace() -> MakeTrace:
    """make(key, marks=((Kind, item), …), hot=False, topic=0, age_d=30.0, **fields): a key with so many exchanges.

    `hot` keys harvest; keys of one topic ask about the same things. Organisation and marks are the key's own unless given.
    """

    def make(
        key: str,
        marks: Sequence[tuple[Kind, int]] = (),
        hot: bool = False,
        topic: int = 0,
        age_d: float = 30.0,
        exchanges: int = 40,
        **fields: Any,
    ) -> Trace:
        dice = np.random.default_rng([topic, 1])
        waves = dice.integers(-110, 110, FEATURES)
        own = np.random.default_rng(list(key.encode())).integers(-6, 7, FEATURES)
        bins = np.zeros(BINS, np.uint8)
        bins[BINS - 3 if hot else 3] = 255
        sums = np.zeros(len(COUNTERS), "<f4")
        for name in ("requests", "answered", "generated", "worded", "single_turn"):
            sums[COUNTER[name]] = exchanges
        packed = sorted((int(kind), item) for kind, item in marks)
        given: dict[str, Any] = {
            "key_id": key,
            "org": f"o-{key}",
            "at_us": NOW_US - 60_000_000,
            "first_us": round(NOW_US - age_d * DAY_US),
            "created_us": round(NOW_US - age_d * DAY_US),
            "plan": "payg",
            "exchanges": exchanges,
            "score": 0.999 if hot else 0.5,
            "valuable": exchanges // 2,
            "sums": traces.packed(sums),
            "pool": (waves + own).clip(-127, 127).astype(np.int8).tobytes() + bins.tobytes(),
            "pooled": float(exchanges),
            "marks": np.array([(kind, item, 200) for kind, item in packed], traces.MARK_DTYPE).tobytes(),
            "contents": b"".join(sorted(zlib.crc32(f"{key} {n}".encode()).to_bytes(4, "little")[:3] for n in range(4))),
            "hours": (1).to_bytes(21, "little") + (NOW_US // 3_600_000_000).to_bytes(4, "little"),
        }
        return Trace(**{**given, **fields})

    return make


@pytest.fixture
def crowd(make_trace: MakeTrace) -> list[Trace]:
    """Two hundred settled customers who have nothing in common."""
    return [make_trace(f"honest-{n}", [(Kind.SETUP, 10_000 + n)], topic=1000 + n) for n in range(200)]


@pytest.fixture
def columns() -> Callable[[Sequence[Trace]], Columns]:
    """Columns of a fleet of traces at NOW_US."""

    def make(held: Sequence[Trace]) -> Columns:
        fleet = Fleet()
        fleet.take(held)
        return fleet.columns(NOW_US)

    return make


class _ByHarvest:
    """Stands for the learned scorer: as suspicious as the share of exchanges that harvesters send."""

    name = Policy().ranks_by

    def columns(self, matrix: FeatureMatrix) -> ScoreColumn:
        """The feature itself."""
        value = matrix.values[:, INDEX["harvest_high_share"]] * 0.999
        return ScoreColumn(np.zeros(len(matrix), np.int8), value)


class _Model:
    policy = Policy()
    peers: object | None = object()
    scorers = (_ByHarvest(),)


@pytest.fixture
def model() -> Model:
    """A model that was fitted on peers."""
    return cast(Model, _Model())


@pytest.fixture
def strangers() -> Model:
    """A model that knows no peers."""
    found = _Model()
    found.peers = None
    return cast(Model, found)
