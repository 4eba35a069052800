"""One partition as its worker sees it: read what was appended, read states, commit a batch atomically.

The commit is the acknowledgement. It checks the fence and the cursor, then writes every effect of the batch and trims the
applied entries, in one script: a batch is applied wholly or not at all, and a second attempt changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.errors import LeaseLost
from app.state.calls import Client, reachable, run_script
from app.state.keys import FLAG_TTL_SEC, MARKS_TTL_SEC, PROFILE_TTL_SEC, PartitionKeys
from app.state.ownership import Lease

START = "0-0"
"""Cursor of a partition nothing was ever applied to."""

DEAD_MAX_ENTRIES = 1000
DEAD_TTL_MS = 3_600_000
"""An undecodable entry may hold text, so it stays for an operator's hour and no longer, and never more than these."""

DEAD_MAX_BYTES = 65_536
"""A dead letter keeps at most this much of its entry."""

MAX_FLAGS = 20
"""Flag records kept of one key, at about 5 KB each: every change is in the timeline, these explain the latest."""

MAX_MARKS = 32
"""Profiles with their epochs in the ledger of one key; what is marked under more is added up as one, without a name."""

MAX_TRACES = 20_000
"""Traces of a partition that may wait for the linker, at most a kilobyte each; the oldest are dropped beyond."""

TRACES_OF_BATCH = 1 << 14
"""More than any batch has."""

KIND_LETTER = {"key": "k", "org": "o"}
"""Entity kind of the detectors → letter in the key names."""


class MarkSum(NamedTuple):
    """Marked answers of a batch to one key under one profile: how many, tokens, evidence, first and last in ms."""

    answers: int
    tokens: int
    unats: int
    first_ms: int
    last_ms: int


class AlreadyApplied(LeaseLost):
    """The batch was committed before; the reply to that commit was lost. The partition is still ours."""


class Entry(NamedTuple):
    """One stream entry; `data` is empty when the entry has no event field."""

    id: str
    data: bytes


class DeadEntry(NamedTuple):
    """An entry that could not be applied, and the rule it broke."""

    id: str
    data: bytes
    why: str


@dataclass(slots=True)
class Batch:
    """Everything one commit writes. All maps are keyed by what the key names need.

    Attributes:
        cursor: id the batch was read from.
        last: id of its last entry.
        states: (kind, id) → encoded state.
        verdicts: key id → what policy asks for; empty for nothing. `decide` reads it unless a person's order stands.
        timeline: (key id, JSON) in the order of the changes.
        seen: key id → time of its last event, ms.
        flagged: key id → level*2 + score; None takes the key out.
        rows: (entry id, archive row).
        dead: entries that were not applied.
        flags: (key id, reference, JSON of `app.state.flags.FlagRecord`) in the order of the verdicts.
        ballots: (interval, key id) → ballot for the look at that interval, see `app.state.looks`.
        ballot_model: id of the model that they are of.
        ballot_ttl_sec: how long they are kept.
        traces: (key id, pass that is to know it, trace) for the linker, see `app.state.traces`.
        reached_us: event time that the partition has come to; 0 where nothing is linked.
        marks: (key id, "profile|epoch") → what is added to the key's ledger.
    """

    cursor: str
    last: str
    states: dict[tuple[str, str], bytes] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    timeline: list[tuple[str, bytes]] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    flagged: dict[str, float | None] = field(default_factory=dict)
    rows: list[tuple[str, bytes]] = field(default_factory=list)
    dead: list[DeadEntry] = field(default_factory=list)
    flags: list[tuple[str, str, bytes]] = field(default_factory=list)
    ballots: dict[tuple[int, str], bytes] = field(default_factory=dict)
    ballot_model: str = ""
    ballot_ttl_sec: int = 0
    traces: list[tuple[str, int, bytes]] = field(default_factory=list)
    reached_us: int = 0
    marks: dict[tuple[str, str], MarkSum] = field(default_factory=dict)


def parse_id(entry_id: str) -> tuple[int, int]:
    """Stream id → (ms, sequence), which order as the stream does."""
    ms, _, seq = entry_id.partition("-")
    return int(ms), int(seq or 0)


def next_id(entry_id: str) -> str:
    """The smallest id after this one."""
    ms, seq = parse_id(entry_id)
    return f"{ms}-{seq + 1}"


def mark_of(number: int, model_id: str) -> str:
    """What a hash of ballots says it holds: those of this interval, under this model."""
    return f"{number}|{model_id}"


class PartitionStore:
    """Reads and commits of one leased partition. Methods raise StateUnavailable when the server is away.

    Attributes:
        traces_dropped: traces that the last commit pushed out because too many wait for the linker.
    """

    def __init__(self, client: Client, lease: Lease, max_rows: int = 200_000) -> None:
        self._client = client
        self.lease = lease
        self._max_rows = max_rows
        self._names = PartitionKeys(lease.partition)
        self.traces_dropped = 0

    async def cursor(self) -> str:
        """Id of the last applied entry."""
        with reachable("cursor"):
            value: Any = await self._client.get(self._names.cursor)
        return value.decode() if value else START

    async def reached_us(self) -> int:
        """Event time that the partition has come to; 0 before anything was linked."""
        with reachable("traces"):
            value: Any = await self._client.hget(self._names.traces, "")
        return int(value or 0)

    async def read(self, cursor: str, count: int) -> list[Entry]:
        """At most `count` entries after the cursor, oldest first."""
        with reachable("event stream"):
            found: Any = await self._client.xrange(self._names.stream, min=next_id(cursor), max="+", count=count)
        return [Entry(entry_id.decode(), (fields or {}).get(b"e", b"")) for entry_id, fields in found]

    async def load_states(self, entities: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Encoded states of those (kind, id) that have one, in one round trip."""
        if not entities:
            return {}
        with reachable("states"):
            found: Any = await self._client.mget([self._names.profile(KIND_LETTER[kind], name) for kind, name in entities])
        return {entity: value for entity, value in zip(entities, found, strict=True) if value is not None}

    async def commit(self, batch: Batch) -> int:
        """Applies the batch, once; returns how many old rows were dropped because too many wait for the archive.

        Raises:
            LeaseLost: another worker has owned the partition since this lease. Nothing was written.
            AlreadyApplied: an earlier attempt succeeded. Nothing was written; what is in memory must be read again.
        """
        keys, args = self._arguments(batch)
        with reachable("commit"):
            answer = await run_script(self._client, "commit", keys, args)
        if answer == b"cursor":
            raise AlreadyApplied(f"partition {self.lease.partition}: the batch was applied already")
        if answer == b"fence":
            raise LeaseLost(f"partition {self.lease.partition}: another worker owns it now, the commit was refused")
        dropped, self.traces_dropped = answer
        return int(dropped)

    def _arguments(self, batch: Batch) -> tuple[list[str], list[str | int | bytes]]:
        names = self._names
        last_ms = parse_id(batch.last)[0]
        # The older of the two clocks: neither old events read late nor a gateway with a fast clock may empty the index.
        newest_ms = min(last_ms, max(batch.seen.values(), default=last_ms))
        keys = [names.fence, names.cursor, names.stream, names.rows, names.dead, names.seen, names.flagged]
        keys += [names.tracelog, names.traces]
        keys += [names.profile(KIND_LETTER[kind], name) for kind, name in batch.states]
        keys += [names.verdict(key_id) for key_id in batch.verdicts]
        keys += [names.order(key_id) for key_id in batch.verdicts]
        keys += [names.asked(key_id) for key_id in batch.verdicts]
        keys += [names.timeline(key_id) for key_id, _ in batch.timeline]
        for key_id, ref, _ in batch.flags:
            keys += (names.flags(key_id), names.reference(ref))
        keys += [names.ballots(number) for number, _ in batch.ballots]
        keys += [names.marks(key_id) for key_id, _ in batch.marks]
        args: list[str | int | bytes] = [self.lease.fence, batch.cursor, batch.last, next_id(batch.last)]
        args += [PROFILE_TTL_SEC, newest_ms - PROFILE_TTL_SEC * 1000]
        args += [DEAD_MAX_ENTRIES, DEAD_TTL_MS, f"{max(0, last_ms - DEAD_TTL_MS)}-0"]
        args += [len(batch.states), len(batch.verdicts), len(batch.timeline), len(batch.seen)]
        args += [len(batch.flagged), len(batch.rows), len(batch.dead), self._max_rows]
        args += [len(batch.flags), MAX_FLAGS, FLAG_TTL_SEC, len(batch.ballots), batch.ballot_ttl_sec]
        args += [len(batch.traces), MAX_TRACES, batch.reached_us]
        args += [len(batch.marks), MAX_MARKS, MARKS_TTL_SEC]
        args += batch.states.values()
        args += batch.verdicts.values()
        args += [item for _, item in batch.timeline]
        for key_id, at_ms in batch.seen.items():
            args += (at_ms, key_id)
        for key_id, rank in batch.flagged.items():
            args += ("" if rank is None else repr(float(rank)), key_id)
        for row in batch.rows:
            args += row
        for entry_id, data, why in batch.dead:
            args += (entry_id, data[:DEAD_MAX_BYTES], why)
        for key_id, _, record in batch.flags:
            args += (record, key_id)
        for (number, key_id), ballot in batch.ballots.items():
            args += (mark_of(number, batch.ballot_model), key_id, ballot)
        for (_, name), total in batch.marks.items():
            args += (name, *total)
        last_seq = parse_id(batch.last)[1]
        for number, (key_id, due_us, data) in enumerate(batch.traces):
            # Ids of their own that ascend from batch to batch, and are the same in a second attempt.
            args += (f"{last_ms}-{last_seq * TRACES_OF_BATCH + number}", due_us, key_id, data)
        return keys, args
