"""How far the workers are, and who runs: over all partitions, in three round trips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.state.calls import Client, reachable
from app.state.gateways import LiveGateways, count
from app.state.keys import GATEWAYS, WORKERS, PartitionKeys
from detectors.contract import Level


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
    gateways: LiveGateways
    waiting: int
    oldest_sec: float
    rows: int
    dead: int
    unowned: int
    keys: int
    levels: dict[Level, int]
    partitions: tuple[PartitionHealth, ...]
    workers_rejecting: Mapping[str, int] = field(default_factory=dict)  # source of a policy that is not in force → workers


async def measure(client: Client, partitions: Sequence[PartitionKeys]) -> StateHealth:
    """Queues, owners and counts of every partition, the workers and the gateways.

    A key whose account moved to another partition counts in both until the old one has forgotten it.

    Raises:
        StateUnavailable: the server is away.
    """
    with reachable("health"):
        seconds, micros = await client.time()
        now_ms = seconds * 1000 + micros // 1000
        measured = await _measure(client, partitions)
        members: Any = await client.zrangebyscore(WORKERS, now_ms, "+inf")
        registered: Any = await client.zrange(GATEWAYS, 0, -1, withscores=True)
    parts = tuple(_partition_health(number, values, now_ms) for number, values in enumerate(measured))
    return StateHealth(
        workers=len(members),
        gateways=count(registered, now_ms),
        waiting=sum(part.waiting for part in parts),
        oldest_sec=max((part.oldest_sec for part in parts), default=0.0),
        rows=sum(part.rows for part in parts),
        dead=sum(part.dead for part in parts),
        unowned=sum(not part.owner for part in parts),
        keys=sum(part.keys for part in parts),
        levels=_levels(measured),
        partitions=parts,
        workers_rejecting=Counter(
            source for member in members for source in member.decode().partition("|")[2].split(",") if source
        ),
    )


async def _measure(client: Client, partitions: Sequence[PartitionKeys]) -> list[list[Any]]:
    pipe = client.pipeline(transaction=False)
    for names in partitions:
        pipe.get(names.owner)
        pipe.xlen(names.stream)
        pipe.xrange(names.stream, count=1)
        pipe.xlen(names.rows)
        pipe.xlen(names.dead)
        pipe.zcard(names.seen)
        for level in (Level.WATCH, Level.SUSPECT, Level.CONFIRMED):
            pipe.zcount(names.flagged, level * 2, level * 2 + 1)
    flat = await pipe.execute()
    width = len(flat) // len(partitions)
    return [flat[start : start + width] for start in range(0, len(flat), width)]


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
