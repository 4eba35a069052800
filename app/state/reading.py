"""What people may look at: keys by level, one key's state and timeline, and how far the workers are.

Read-only. A key lives in the partition of its account root, which may have changed since it was last seen, so a key is
looked for in every partition in one pipelined round trip instead of trusting the present account.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.state.calls import Client, reachable
from app.state.keys import WORKERS, PartitionKeys, partition_of
from app.state.partition import KIND_LETTER
from detectors.contract import Level

MAX_PAGE = 1000
"""Most keys in one page."""

_SCAN_COUNT = 2000
_KEY_ID = re.compile(r"[0-9A-Za-z_.:-]{1,128}")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One line of a key list. `score` is 0.0 for a key that is clear; its score is in its state."""

    key_id: str
    partition: int
    level: Level
    score: float
    last_seen_ms: int | None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """One page, and the cursor of the next; an empty cursor ends the list."""

    rows: tuple[KeyRow, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class StoredKey:
    """Everything stored about one key.

    Attributes:
        state: bytes of `detectors.analysis.EntityState`; None when only the index remembers the key.
        verdict: what `decide` reads ("level|action|…"), or "" when no action is in force.
    """

    key_id: str
    partition: int
    state: bytes | None
    verdict: str
    last_seen_ms: int | None


@dataclass(frozen=True, slots=True)
class PartitionHealth:
    """One partition's queues. `oldest_sec` is the age of the oldest waiting entry, 0.0 when none waits."""

    partition: int
    owner: str  # worker id, "" when nobody owns it
    waiting: int
    oldest_sec: float
    rows: int
    dead: int
    keys: int


@dataclass(frozen=True, slots=True)
class StateHealth:
    """How far the workers are, over all partitions."""

    workers: int
    waiting: int
    oldest_sec: float
    rows: int
    dead: int
    unowned: int
    keys: int
    levels: dict[Level, int]
    partitions: tuple[PartitionHealth, ...]


class StateReader:
    """Reads what workers wrote. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, partitions: int) -> None:
        self._client = client
        self._all = tuple(PartitionKeys(number) for number in range(partitions))

    async def list_keys(self, level: Level | None = None, prefix: str = "", limit: int = 100, cursor: str = "") -> KeyPage:
        """Keys by suspicion (with a level) or by time last seen (without one), highest first.

        Args:
            level: only keys at this level; None lists every key. CLEAR lists those seen that are at no other level.
            prefix: only keys whose id starts so. A search answers with the first `limit` by id and has no next page.
            limit: at most this many, 1 to MAX_PAGE.
            cursor: as the previous page gave it; one that is not ours starts over.
        """
        limit = max(1, min(limit, MAX_PAGE))
        if prefix:
            return KeyPage(await self._search(prefix, level, limit), "")
        if level is None or level is Level.CLEAR:
            found, after = await self._ranked("seen", "+inf", "-inf", limit, cursor, skip_flagged=level is Level.CLEAR)
        else:
            # A rank is level*2 + score, so a level's ranks end at level*2 + 1.
            found, after = await self._ranked("flagged", str(level * 2 + 1), str(level * 2), limit, cursor)
        return KeyPage(await self._rows(found), after)

    async def find(self, key_id: str) -> int | None:
        """Partition that knows the key; the one that saw it last when an account moved; None when none does."""
        if not _KEY_ID.fullmatch(key_id):
            return None
        with reachable("key index"):
            pipe = self._client.pipeline(transaction=False)
            for names in self._all:
                pipe.zscore(names.seen, key_id)
            seen = await pipe.execute()
        known = [(score, number) for number, score in enumerate(seen) if score is not None]
        return max(known)[1] if known else None

    async def key_state(self, key_id: str) -> StoredKey | None:
        """What is stored about the key, or None when it was never seen or is forgotten."""
        partition = await self.find(key_id)
        if partition is None:
            return None
        names = self._all[partition]
        with reachable("key state"):
            pipe = self._client.pipeline(transaction=False)
            pipe.get(names.profile(KIND_LETTER["key"], key_id))
            pipe.get(names.verdict(key_id))
            pipe.zscore(names.seen, key_id)
            state, verdict, seen = await pipe.execute()
        return StoredKey(key_id, partition, state, (verdict or b"").decode(), None if seen is None else int(seen))

    async def org_state(self, org_id: str) -> bytes | None:
        """Bytes of the organisation's `EntityState`, or None. Its partition follows from its id."""
        names = self._all[partition_of(org_id, len(self._all))]
        with reachable("organisation state"):
            found: Any = await self._client.get(names.profile(KIND_LETTER["org"], org_id))
        return None if found is None else bytes(found)

    async def timeline(self, key_id: str) -> list[dict[str, Any]]:
        """The key's changes of level, newest first, at most 100; fields as `app.worker.effects` writes them."""
        partition = await self.find(key_id)
        if partition is None:
            return []
        with reachable("timeline"):
            found = await self._client.lrange(self._all[partition].timeline(key_id), 0, -1)
        return [msgspec.json.decode(item) for item in found]

    async def counts(self) -> dict[Level, int]:
        """Keys at each level; CLEAR counts those seen that are at no other."""
        return _levels(await self._measure())

    async def health(self) -> StateHealth:
        """Queues, owners and counts of every partition, in one round trip."""
        with reachable("health"):
            seconds, micros = await self._client.time()
        now_ms = seconds * 1000 + micros // 1000
        measured = await self._measure()
        with reachable("health"):
            workers = await self._client.zcount(WORKERS, now_ms, "+inf")
        parts = tuple(_partition_health(number, values, now_ms) for number, values in enumerate(measured))
        return StateHealth(
            workers=int(workers),
            waiting=sum(part.waiting for part in parts),
            oldest_sec=max((part.oldest_sec for part in parts), default=0.0),
            rows=sum(part.rows for part in parts),
            dead=sum(part.dead for part in parts),
            unowned=sum(not part.owner for part in parts),
            keys=sum(part.keys for part in parts),
            levels=_levels(measured),
            partitions=parts,
        )

    async def _measure(self) -> list[list[Any]]:
        with reachable("health"):
            pipe = self._client.pipeline(transaction=False)
            for names in self._all:
                pipe.get(names.owner)
                pipe.xlen(names.stream)
                pipe.xrange(names.stream, count=1)
                pipe.xlen(names.rows)
                pipe.xlen(names.dead)
                pipe.zcard(names.seen)
                for level in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED):
                    pipe.zcount(names.flagged, level * 2, level * 2 + 1)
            flat = await pipe.execute()
        width = len(flat) // len(self._all)
        return [flat[start : start + width] for start in range(0, len(flat), width)]

    async def _ranked(
        self, index: str, high: str, low: str, limit: int, cursor: str, skip_flagged: bool = False
    ) -> tuple[list[tuple[str, int]], str]:
        """A page of a zset that is spread over the partitions, ordered by (score, id) descending."""
        after = _parse_cursor(cursor)
        found: list[tuple[float, str, int]] = []
        more = False
        while len(found) < limit:
            page, more = await self._merged(index, high, low, limit, after)
            if not page:
                break
            after = page[-1][:2]
            clear = await self._without_flagged(page) if skip_flagged else page
            found += clear[: limit - len(found)]
            if len(found) == limit and found[-1][:2] != after:
                more, after = True, found[-1][:2]
            if not more:
                break
        return [(key_id, number) for _, key_id, number in found], f"{after[0]!r} {after[1]}" if more and after else ""

    async def _merged(
        self, index: str, high: str, low: str, limit: int, after: tuple[float, str] | None
    ) -> tuple[list[tuple[float, str, int]], bool]:
        names = [getattr(part, index) for part in self._all]
        top = high if after is None else repr(after[0])
        with reachable("key index"):
            ties = [0] * len(names)
            if after is not None:  # members that share the cursor's score may come before it, so read past them
                pipe = self._client.pipeline(transaction=False)
                for name in names:
                    pipe.zcount(name, after[0], after[0])
                ties = await pipe.execute()
            pipe = self._client.pipeline(transaction=False)
            for name, tied in zip(names, ties, strict=True):
                pipe.zrevrangebyscore(name, top, low, start=0, num=limit + 1 + tied, withscores=True)
            answers = await pipe.execute()
        merged = sorted(
            (
                (score, member.decode(), number)
                for number, answer in enumerate(answers)
                for member, score in answer
                if after is None or (score, member.decode()) < after
            ),
            reverse=True,
        )
        return merged[:limit], len(merged) > limit

    async def _without_flagged(self, page: list[tuple[float, str, int]]) -> list[tuple[float, str, int]]:
        ranks = await self._scores("flagged", [(key_id, number) for _, key_id, number in page])
        return [item for item, rank in zip(page, ranks, strict=True) if rank is None]

    async def _scores(self, index: str, keys: Iterable[tuple[str, int]]) -> list[float | None]:
        with reachable("key index"):
            pipe = self._client.pipeline(transaction=False)
            for key_id, number in keys:
                pipe.zscore(getattr(self._all[number], index), key_id)
            return list(await pipe.execute())

    async def _rows(self, keys: Sequence[tuple[str, int]]) -> tuple[KeyRow, ...]:
        if not keys:
            return ()
        seen = await self._scores("seen", keys)
        ranks = await self._scores("flagged", keys)
        return tuple(
            KeyRow(key_id, number, *_split_rank(rank), None if last is None else int(last))
            for (key_id, number), last, rank in zip(keys, seen, ranks, strict=True)
        )

    async def _search(self, prefix: str, level: Level | None, limit: int) -> tuple[KeyRow, ...]:
        if not _KEY_ID.fullmatch(prefix):  # nothing that MATCH would read as a pattern gets through
            return ()
        found: list[tuple[str, int]] = []
        for names in self._all:
            position = 0
            while True:
                with reachable("key index"):
                    answer: Any = await self._client.zscan(names.seen, position, match=f"{prefix}*", count=_SCAN_COUNT)
                position, page = answer
                found += [(member.decode(), names.partition) for member, _ in page]
                if not position:
                    break
        rows = await self._rows(sorted(set(found))[: limit if level is None else None])
        return tuple(row for row in rows if level is None or row.level is level)[:limit]


def _parse_cursor(cursor: str) -> tuple[float, str] | None:
    score, _, key_id = cursor.partition(" ")
    try:
        return (float(score), key_id) if key_id else None
    except ValueError:
        return None


def _split_rank(rank: float | None) -> tuple[Level, float]:
    if rank is None:
        return Level.CLEAR, 0.0
    # A score of exactly 1 makes an odd rank, which still belongs to the level below it.
    level = max(level for level in Level if level * 2 <= rank)
    return level, rank - level * 2


def _levels(measured: Sequence[Sequence[Any]]) -> dict[Level, int]:
    watch, suspect, confirmed = (sum(values[at] for values in measured) for at in (6, 7, 8))
    seen = sum(values[5] for values in measured)
    return {
        Level.CLEAR: max(0, seen - watch - suspect - confirmed),
        Level.WATCH: watch,
        Level.SUSPECT: suspect,
        Level.CONFIRMED: confirmed,
    }


def _partition_health(number: int, values: Sequence[Any], now_ms: int) -> PartitionHealth:
    owner, waiting, oldest, rows, dead, keys = values[:6]
    age = max(0.0, (now_ms - int(oldest[0][0].partition(b"-")[0])) / 1000) if oldest else 0.0
    return PartitionHealth(number, (owner or b"").decode().partition(":")[2], waiting, age, rows, dead, keys)
