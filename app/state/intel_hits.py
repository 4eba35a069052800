"""Which keys show which received indicators, and what followed: bounded, for a key's page and for people's lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec

from app.state.calls import Client, reachable
from app.state.intel_keys import INTEL_HIT_RANKS, INTEL_HIT_TIMES, INTEL_HITS

MAX_KEYS = 100_000
"""Keys whose hits are kept; the ones that were decided about longest ago go first."""

KEPT_SEC = 90 * 86_400

_PAGE = 500


class Seen(msgspec.Struct, frozen=True):
    """One key shows one indicator.

    Attributes:
        indicator: STIX id.
        group: trust group that it was shared in.
        campaign: STIX id of the reported campaign; empty where none is told.
        kind: of the indicator.
        carried: share of the indicator's weight that the key carries.
        nats: that weight.
        first_us: when it was first seen, by event time.
        last_us: when it was last seen.
        content_us: of the indicator then, `app.state.intel_indicators.Held`.
    """

    indicator: str
    group: str
    campaign: str
    kind: str
    carried: float
    nats: float
    first_us: int
    last_us: int
    content_us: int = 0


class KeyHits(msgspec.Struct, frozen=True):
    """Everything received that one key shows.

    Attributes:
        key_id: whose.
        partition: where the key lives; whoever works on that partition looks after the key's hits.
        seen: the newest of each indicator, the strongest first.
        effect: what may follow: nothing, priority or automatic.
        score: 0 … 100, of those who reported it.
        voices: independent reporters.
        local: evidence of our own beside it, in words; empty without any.
        excuse: why nothing follows: allow_list, contract; empty.
        acted: "", shadow, real, or lifted: a person took back what was ordered.
        since_us: when the order began, or would have.
        until_us: when it ends, or would.
        at_us: when all this was decided, by the clock.
    """

    key_id: str
    partition: int
    seen: tuple[Seen, ...]
    effect: str = "nothing"
    score: float = 0.0
    voices: int = 0
    local: str = ""
    excuse: str = ""
    acted: str = ""
    since_us: int = 0
    until_us: int = 0
    at_us: int = 0


EFFECTS = ("nothing", "priority", "automatic")


def rank(hits: KeyHits) -> float:
    """How early a person should look at a key: by what may follow, then by the reporters' score."""
    return EFFECTS.index(hits.effect) * 1000.0 + hits.score


_decoder = msgspec.msgpack.Decoder(KeyHits)
_encode = msgspec.msgpack.Encoder().encode


class Hits:
    """Over one deployment's state. Every method raises StateUnavailable when the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of(self, key_ids: Sequence[str]) -> dict[str, KeyHits]:
        """Those of the keys that have any."""
        if not key_ids:
            return {}
        with reachable("hits"):
            rows: Any = await self._client.hmget(INTEL_HITS, list(key_ids))
        return {key_id: found for key_id, data in zip(key_ids, rows, strict=True) if data and (found := _read(data))}

    async def put(self, hits: Iterable[KeyHits]) -> None:
        """Writes them in place of those of the same keys."""
        rows = {one.key_id: one for one in hits}
        if not rows:
            return
        with reachable("hits"):
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(INTEL_HITS, mapping={name: _encode(one) for name, one in rows.items()})
            pipe.zadd(INTEL_HIT_TIMES, {name: one.at_us // 1000 for name, one in rows.items()})
            pipe.zadd(INTEL_HIT_RANKS, {name: rank(one) for name, one in rows.items()})
            for name in (INTEL_HITS, INTEL_HIT_TIMES, INTEL_HIT_RANKS):
                pipe.expire(name, KEPT_SEC)
            pipe.zcard(INTEL_HIT_TIMES)
            over = int((await pipe.execute())[-1]) - MAX_KEYS
        if over > 0:
            with reachable("hits"):
                oldest: Any = await self._client.zrange(INTEL_HIT_TIMES, 0, over - 1)
            await self.drop([name.decode() for name in oldest])

    async def all(self) -> AsyncIterator[list[KeyHits]]:
        """All, in pages and no order; a key may come twice."""
        cursor = 0
        rows: Any
        while True:
            with reachable("hits"):
                cursor, rows = await self._client.hscan(INTEL_HITS, cursor, count=_PAGE)
            yield [found for data in rows.values() if (found := _read(data))]
            if not cursor:
                return

    async def first(self, count: int, skip: int = 0) -> list[KeyHits]:
        """The keys that a person should look at first, by `rank`."""
        with reachable("hits"):
            names: Any = await self._client.zrevrange(INTEL_HIT_RANKS, skip, skip + count - 1)
        found = await self.of([name.decode() for name in names])
        return [found[name.decode()] for name in names if name.decode() in found]

    async def showing(self, group: str, indicator: str) -> int:
        """Keys that show an indicator. It looks at all that have any: for a person's page, not for a list."""
        found: set[bytes] = set()
        needle, cursor = indicator.encode(), 0
        rows: Any
        while True:
            with reachable("hits"):
                cursor, rows = await self._client.hscan(INTEL_HITS, cursor, count=_PAGE)
            for name, data in rows.items():
                # Few have it; only those are decoded.
                if needle in data and (hits := _read(data)):
                    found |= {name for one in hits.seen if (one.group, one.indicator) == (group, indicator)}
            if not cursor:
                return len(found)

    async def count(self) -> int:
        """Keys that have any."""
        with reachable("hits"):
            return int(await self._client.hlen(INTEL_HITS))

    async def drop(self, key_ids: Sequence[str]) -> int:
        """Forgets keys; how many had any."""
        if not key_ids:
            return 0
        with reachable("hits"):
            pipe = self._client.pipeline(transaction=True)
            pipe.hdel(INTEL_HITS, *key_ids)
            pipe.zrem(INTEL_HIT_TIMES, *key_ids)
            pipe.zrem(INTEL_HIT_RANKS, *key_ids)
            return int((await pipe.execute())[0])


def _read(data: bytes) -> KeyHits | None:
    """None for one of another release."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
