"""What a worker shows of itself besides counts: how far its verdicts are behind, which model judges, who stands where."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from app.state.calls import Client
from app.state.levels import LevelCounts
from app.telemetry import metrics
from detectors.model import Model
from detectors.model_files import MANIFEST


class Gauges:
    """Kept by the worker's loops."""

    def __init__(self, client: Client, model: Model, model_dir: Path | None) -> None:
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
