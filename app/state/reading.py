"""What people may look at: keys by level, one key's state and timeline.

Read-only. A key lives in the partition of its account root, which may have changed since it was last seen, so a key is
looked for in every partition in one pipelined round trip instead of trusting the present account. Where two partitions
know it, the one that saw it last counts, and the other's memory of it is neither listed nor shown.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import msgspec

from app.errors import BadInput
from app.state.calls import Client, reachable
from app.state.gateways import LiveGateways, count
from app.state.health import StateHealth, measure
from app.state.keys import GATEWAYS, PartitionKeys, partition_of
from app.state.looks import LookStore
from app.state.mark_ledger import MarkLedger
from app.state.orders import Order, read_order
from app.state.partition import KIND_LETTER
from detectors.analysis import stored_verdict
from detectors.contract import Level, Status
from detectors.profile import BadProfile

MAX_PAGE = 1000
"""Most keys in one page."""

_SCAN_COUNT = 2000
_KEY_ID = re.compile(r"[0-9A-Za-z_.:-]{1,128}")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One line of a key list.

    Attributes:
        level: CLEAR also where there is no opinion yet.
        score: 0.0 where there is no verdict.
        judged: a verdict above CLEAR, or one that says CLEAR with enough evidence.
        cursor: with it the list goes on behind this key.
    """

    key_id: str
    partition: int
    level: Level
    score: float
    last_seen_ms: int | None
    judged: bool
    cursor: str = ""


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
        verdict: what `decide` reads ("level|action|…"), or "" when no action is in force; of the order, where one stands.
        order: what a person ordered about it.
        asked: what policy asks for beside the order; "" for nothing, and where no order stands.
    """

    key_id: str
    partition: int
    state: bytes | None
    verdict: str
    last_seen_ms: int | None
    order: Order | None
    asked: str = ""


class StateReader:
    """Reads what workers wrote. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client, partitions: int) -> None:
        self._client = client
        self._all = tuple(PartitionKeys(number) for number in range(partitions))

    async def list_keys(
        self,
        level: Level | None = None,
        prefix: str = "",
        limit: int = 100,
        cursor: str = "",
        *,
        or_higher: bool = False,
        partitions: Collection[int] | None = None,
    ) -> KeyPage:
        """Keys by suspicion (with a level) or by time last seen (without one), highest first.

        Args:
            level: only keys at this level; None lists every key. CLEAR lists those seen that are at no other level, also
                where there is no opinion yet.
            prefix: only keys whose id starts so, ordered by id.
            limit: at most this many, 1 to MAX_PAGE.
            cursor: as the previous page gave it; "" for the first page.
            or_higher: with a level above CLEAR, the higher ones too.
            partitions: only keys that live there; None: everywhere.

        While nothing changes, the pages hold every key exactly once. A key that is seen or judged again between two pages
        moves to where it then belongs.

        Raises:
            BadInput: the cursor is not one that a page gave.
        """
        limit = max(1, min(limit, MAX_PAGE))
        parts = self._all if partitions is None else tuple(self._all[number] for number in sorted(set(partitions)))
        if prefix:
            found_rows = await self._search(prefix, level, limit + 1, or_higher, cursor, parts)
            return KeyPage(found_rows[:limit], found_rows[limit - 1].cursor if len(found_rows) > limit else "")
        if level is None or level is Level.CLEAR:
            calm = level is Level.CLEAR
            found, after = await self._ranked("seen", "+inf", "-inf", limit, cursor, parts, skip_flagged=calm)
        else:
            # A rank is level*2 + score, so a level's ranks end at level*2 + 1.
            high = "+inf" if or_higher else str(level * 2 + 1)
            found, after = await self._ranked("flagged", high, str(level * 2), limit, cursor, parts)
        rows = await self._rows([(key_id, number) for _, key_id, number in found])
        placed = zip(rows, found, strict=True)
        return KeyPage(tuple(replace(row, cursor=f"{score!r}:{key_id}") for row, (score, key_id, _) in placed), after)

    async def verdicts(self, keys: Sequence[tuple[str, int]]) -> list[str]:
        """What `decide` reads for each (key id, partition); "" where nothing is asked for."""
        if not keys:
            return []
        with reachable("verdicts"):
            pipe = self._client.pipeline(transaction=False)
            for key_id, number in keys:
                pipe.get(self._all[number].verdict(key_id))
            return [(found or b"").decode() for found in await pipe.execute()]

    async def find(self, key_id: str) -> int | None:
        """Partition that knows the key; the one that saw it last when an account moved; None when none does."""
        if not _KEY_ID.fullmatch(key_id):
            return None
        return (await self._newest([key_id])).get(key_id)

    async def places(self, key_id: str) -> set[int]:
        """Every partition that has seen the key, also before an account moved it."""
        with reachable("key index"):
            pipe = self._client.pipeline(transaction=False)
            for names in self._all:
                pipe.zscore(names.seen, key_id)
            answers = await pipe.execute()
        return {number for number, score in enumerate(answers) if score is not None}

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
            pipe.get(names.order(key_id))
            pipe.get(names.asked(key_id))
            state, verdict, seen, order, asked = await pipe.execute()
        last_ms = None if seen is None else int(seen)
        beside = (asked or b"").decode() if order is not None else ""
        return StoredKey(key_id, partition, state, (verdict or b"").decode(), last_ms, read_order(order), beside)

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

    async def gateways(self) -> LiveGateways:
        """The gateways that run now, and whether they act."""
        with reachable("gateway registry"):
            seconds, micros = await self._client.time()
            registered: Any = await self._client.zrange(GATEWAYS, 0, -1, withscores=True)
        return count(registered, seconds * 1000 + micros // 1000)

    def looks(self, model_id: str) -> LookStore:
        """Looks at the whole fleet, under a model."""
        return LookStore(self._client, len(self._all), model_id)

    def marks(self) -> MarkLedger:
        """Evidence that keys have taken away under marks."""
        return MarkLedger(self._client, len(self._all))

    async def health(self) -> StateHealth:
        """Queues, owners and counts of every partition, the workers and the gateways."""
        return await measure(self._client, self._all)

    async def _ranked(
        self,
        index: str,
        high: str,
        low: str,
        limit: int,
        cursor: str,
        parts: Sequence[PartitionKeys],
        skip_flagged: bool = False,
    ) -> tuple[list[tuple[float, str, int]], str]:
        """A page of a zset that is spread over the partitions, ordered by (score, id) descending."""
        after = _parse_cursor(cursor)
        found: list[tuple[float, str, int]] = []
        more = False
        while len(found) < limit:
            page, more = await self._merged(index, high, low, limit, after, parts)
            if not page:
                break
            after = page[-1][:2]
            wanted = await self._current(await self._without_flagged(page) if skip_flagged else page)
            found += wanted[: limit - len(found)]
            if len(found) == limit and found[-1][:2] != after:
                more, after = True, found[-1][:2]
            if not more:
                break
        return found, f"{after[0]!r}:{after[1]}" if more and after else ""

    async def _merged(
        self,
        index: str,
        high: str,
        low: str,
        limit: int,
        after: tuple[float, str] | None,
        parts: Sequence[PartitionKeys],
    ) -> tuple[list[tuple[float, str, int]], bool]:
        """The next `limit` of a zset that is spread over the partitions, and whether there are more."""
        names = [getattr(part, index) for part in parts]
        top = high if after is None else repr(after[0])
        ties = [0] * len(names)
        if after is not None:  # members that share the cursor's score may come before it, so read past them
            with reachable("key index"):
                pipe = self._client.pipeline(transaction=False)
                for name in names:
                    pipe.zcount(name, after[0], after[0])
                ties = await pipe.execute()
        # Keys are spread evenly, so twice a partition's share nearly always does; if not, more is read.
        share = min(limit + 1, 2 * limit // len(names) + 8)
        while True:
            with reachable("key index"):
                pipe = self._client.pipeline(transaction=False)
                for name, tied in zip(names, ties, strict=True):
                    pipe.zrevrangebyscore(name, top, low, start=0, num=share + tied, withscores=True)
                answers = await pipe.execute()
            # A partition that gave as much as was asked for may have more below its last; above the highest of those lasts
            # nothing is missing.
            lasts = [
                (answer[-1][1], answer[-1][0].decode())
                for answer, tied in zip(answers, ties, strict=True)
                if len(answer) == share + tied
            ]
            floor = max(lasts, default=None)
            found = [
                (score, member.decode(), part.partition)
                for part, answer in zip(parts, answers, strict=True)
                for member, score in answer
                if after is None or (score, member.decode()) < after
            ]
            certain = sorted((item for item in found if floor is None or item[:2] >= floor), reverse=True)
            if floor is None or len(certain) > limit:
                return certain[:limit], len(certain) > limit
            share *= 4

    async def _without_flagged(self, page: list[tuple[float, str, int]]) -> list[tuple[float, str, int]]:
        ranks = await self._scores("flagged", [(key_id, number) for _, key_id, number in page])
        return [item for item, rank in zip(page, ranks, strict=True) if rank is None]

    async def _current(self, page: list[tuple[float, str, int]]) -> list[tuple[float, str, int]]:
        """Those that their partition saw last: a key whose account moved is remembered by two."""
        newest = await self._newest([key_id for _, key_id, _ in page])
        return [item for item in page if newest.get(item[1], item[2]) == item[2]]

    async def _newest(self, key_ids: list[str]) -> dict[str, int]:
        """Key id → the partition that saw it last, for those that any has seen."""
        if not key_ids:
            return {}
        with reachable("key index"):
            pipe = self._client.pipeline(transaction=False)
            for names in self._all:
                pipe.zmscore(names.seen, key_ids)
            answers = await pipe.execute()
        newest: dict[str, tuple[float, int]] = {}
        for number, scores in enumerate(answers):
            for key_id, score in zip(key_ids, scores, strict=True):
                if score is not None:
                    newest[key_id] = max(newest.get(key_id, (score, number)), (score, number))
        return {key_id: number for key_id, (_, number) in newest.items()}

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
        calm = [key for key, rank in zip(keys, ranks, strict=True) if rank is None]
        scores = await self._clear_scores(calm)
        rows = []
        for (key_id, number), last, rank in zip(keys, seen, ranks, strict=True):
            level, score = (Level.CLEAR, scores.get(key_id)) if rank is None else split_rank(rank)
            last_ms = None if last is None else int(last)
            rows.append(KeyRow(key_id, number, level, score or 0.0, last_ms, score is not None))
        return tuple(rows)

    async def _clear_scores(self, keys: Sequence[tuple[str, int]]) -> dict[str, float]:
        """Score of those of the keys that a verdict calls clear: no index tells them from those without an opinion."""
        with reachable("key states"):
            pipe = self._client.pipeline(transaction=False)
            for key_id, number in keys:
                pipe.get(self._all[number].profile(KIND_LETTER["key"], key_id))
            states = await pipe.execute()
        return await asyncio.to_thread(_judged_scores, [key_id for key_id, _ in keys], states)

    async def _search(
        self, prefix: str, level: Level | None, limit: int, or_higher: bool, cursor: str, parts: Sequence[PartitionKeys]
    ) -> tuple[KeyRow, ...]:
        if not _KEY_ID.fullmatch(prefix):  # nothing that MATCH would read as a pattern gets through
            return ()
        after = _parse_cursor(cursor)
        behind = "" if after is None else after[1]
        found: set[str] = set()
        for names in parts:
            position = 0
            while True:
                with reachable("key index"):
                    answer: Any = await self._client.zscan(names.seen, position, match=f"{prefix}*", count=_SCAN_COUNT)
                position, page = answer
                found.update(name for member, _ in page if (name := member.decode()) > behind)
                if not position:
                    break
        first = sorted(found)[: limit if level is None else None]
        newest = await self._newest(first)
        rows = await self._rows([(key_id, newest[key_id]) for key_id in first if key_id in newest])
        wanted = (row for row in rows if level is None or row.level is level or (or_higher and row.level > level))
        return tuple(replace(row, cursor=f"0.0:{row.key_id}") for row in islice(wanted, limit))


def _parse_cursor(cursor: str) -> tuple[float, str] | None:
    if not cursor:
        return None
    score, _, key_id = cursor.partition(":")
    try:
        at = float(score)
    except ValueError:
        at = math.nan
    if not (math.isfinite(at) and _KEY_ID.fullmatch(key_id)):
        raise BadInput("cursor: must be the next_cursor of a page of this list")
    return at, key_id


def _judged_scores(key_ids: Sequence[str], states: Sequence[bytes | None]) -> dict[str, float]:
    scores = {}
    for key_id, data in zip(key_ids, states, strict=True):
        try:
            verdict = None if data is None else stored_verdict(data, key_id, "key")
        except BadProfile:  # of a release that wrote them otherwise: the worker starts such a key anew
            continue
        if verdict is not None and verdict.status is Status.JUDGED:
            scores[key_id] = verdict.score
    return scores


def split_rank(rank: float) -> tuple[Level, float]:
    """A rank of the index of flagged keys → level and score."""
    # A score of exactly 1 makes an odd rank, which still belongs to the level below it. Rounded, because the sum that the
    # rank is has fewer digits than the score had.
    level = max(level for level in Level if level * 2 <= rank)
    return level, round(rank - level * 2, 12)
