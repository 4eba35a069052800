"""What a worker shows besides counts: how far its verdicts are behind, which model judges, who stands where, and how full
the state is, which no server of state tells Prometheus by itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from app.state import memory
from app.state.calls import Client
from app.state.levels import LevelCounts
from app.telemetry import metrics
from detectors.model import Model
from detectors.model_files import MANIFEST

MEMORY_SEC = 5.0
"""How often the state is asked how full it is."""


class Gauges:
    """Kept by the worker's loops."""

    def __init__(self, client: Client, model: Model, model_dir: Path | None) -> None:
        self._client = client
        self._levels = LevelCounts(client)
        self._judged_sec = time.monotonic()
        metrics.VERDICT_AGE_SECONDS.set_function(self._age_sec)
        metrics.MODEL_INFO.labels(model.id).set(1)
        metrics.MODEL_WRITTEN.set((model_dir / MANIFEST).stat().st_mtime if model_dir else 0.0)

    def _age_sec(self) -> float:
        return time.monotonic() - self._judged_sec

    def judged(self) -> None:
        """Everything that had been read by now is judged; that nothing waited counts, too."""
        self._judged_sec = time.monotonic()

    async def count(self, owned: Sequence[int]) -> None:
        """Bring the counts of keys up to date.

        Raises:
            StateUnavailable: the server is away; the last counts stay.
        """
        for level, number in (await self._levels.count(owned)).items():
            metrics.KEYS.labels(level.name.lower()).set(number)

    async def ask_memory(self) -> bool:
        """Bring the memory of the state up to date; where no server tells, both gauges stay. False: a turn is over.

        Raises:
            StateUnavailable: the server is away; the last numbers stay.
        """
        told = await memory.fullest(self._client)
        if told is not None:
            metrics.STATE_MEMORY_BYTES.set(told.used)
            metrics.STATE_MEMORY_LIMIT_BYTES.set(told.limit)
        return False
