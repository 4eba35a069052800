"""What each key did in the last day, from the archive, for the question how much of the traffic an order would touch.

Only where this process can read the archive: on the machine of the workers, or with their folder mounted. What is not yet
archived, the last minute or so, is not counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from app.admin.models_orders import TrafficShare
from app.admin.views import moment
from app.errors import BadInput
from app.state.partition import parse_id
from app.worker.archive import list_files
from app.worker.rows import SCHEMA

DAY_MS = 86_400_000
_SCHEMA = {name: SCHEMA[name] for name in ("entry_ms", "at_us", "key_id", "input_tokens", "output_tokens")}
FRESH_SEC = 60.0
"""The sums are made again when they are older: at 50 million exchanges a day that is some seconds of one core."""


@dataclass(frozen=True)
class Day:
    """Sums of one day.

    Attributes:
        requests: key id → exchanges; tokens: key id → input and output tokens.
        until_us: the newest exchange counted; None when there is none.
    """

    requests: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    until_us: int | None = None


class Traffic:
    """The last day by key."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._day: Day | None = None
        self._made = 0.0
        self._lock = asyncio.Lock()

    async def share(self, key_ids: Iterable[str]) -> TrafficShare:
        """What these keys did in the last day, of all."""
        day = await self.day()
        if day is None or day.until_us is None:
            known = day is not None
            return TrafficShare(known=known, requests=0, tokens=0, requests_share=0.0, tokens_share=0.0, until=None)
        names = list(key_ids)
        requests = sum(day.requests.get(key_id, 0) for key_id in names)
        tokens = sum(day.tokens.get(key_id, 0) for key_id in names)
        return TrafficShare(
            known=True,
            requests=requests,
            tokens=tokens,
            requests_share=round(requests / max(1, sum(day.requests.values())), 6),
            tokens_share=round(tokens / max(1, sum(day.tokens.values())), 6),
            until=moment(day.until_us),
        )

    async def day(self) -> Day | None:
        """The sums, at most FRESH_SEC old; None when there is no archive to read."""
        async with self._lock:
            if not self._made or time.monotonic() - self._made > FRESH_SEC:
                self._day = await asyncio.to_thread(read_day, self._archive, time.time_ns() // 1_000_000)
                self._made = time.monotonic()
            return self._day


def read_day(archive: Path, now_ms: int) -> Day | None:
    """Sums of the day before `now_ms`; None when the archive cannot be read."""
    since_ms = now_ms - DAY_MS
    try:
        files = [file.path for file in list_files(archive) if parse_id(file.last)[0] >= since_ms]
        if not files:
            return Day()
        total = pl.col("input_tokens") + pl.col("output_tokens")
        sums = (
            pl.scan_parquet(files, schema=_SCHEMA, extra_columns="ignore", hive_partitioning=False)
            .filter(pl.col("entry_ms") >= since_ms)
            .group_by("key_id")
            .agg(pl.len().alias("requests"), total.sum().alias("tokens"), pl.col("at_us").max())
            .collect()
        )
    except (BadInput, PolarsError, OSError):
        return None
    keys = sums["key_id"].to_list()
    newest = sums["at_us"].max()
    return Day(
        requests=dict(zip(keys, sums["requests"].to_list(), strict=True)),
        tokens=dict(zip(keys, sums["tokens"].to_list(), strict=True)),
        until_us=int(newest) if isinstance(newest, int) else None,
    )
