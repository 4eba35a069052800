"""What is looked for, against the archive of the last days: a retro-hunt. Who did here what others report, and since when.

Partition by partition, each in its order, one file at a time: in memory are the keys of one partition and those that hit. A
row counts as it did live, see `detectors.sharing.lookback`, but a key's exchanges from before the span are not known. Keys
that were erased are passed over, also while the workers are still taking their rows out of the archive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
from msgspec import structs
from polars.exceptions import PolarsError

from app.errors import BadInput
from app.intel.local_view import Known
from app.intel.watch import Watch, merged
from app.offline.progress import Meter, Silent
from app.state.intel_hits import KeyHits, Seen
from app.state.intel_indicators import place
from app.state.partition import parse_id
from app.worker import rows
from app.worker.archive import ArchiveFile, list_files
from detectors.fingerprint import Fingerprint
from detectors.sharing.indicator import DAY_US
from detectors.sharing.lookback import KeyPast, Lookback
from detectors.sharing.trust import Effect

MOST_DAYS = 3650

_READ = frozenset(
    (
        *("entry_ms", "entry_seq", "event_id", "at_us", "key_id", "payment_id", "authorised", "route", "model", "status"),
        *("n", "temperature", "top_p", "max_tokens", "top_logprobs", "response_format", "reasoning_effort", "tool_calls"),
        *("chain_digest", "user_digest", "outcome", "refusal", "output_tokens", "reasoning_tokens", "client_digest"),
        *("ip_prefix_id", "decision"),
        *(rows.FP + name for name in Fingerprint.__struct_fields__[: -len(Fingerprint.__struct_defaults__)]),
    )
)
"""Columns that are read: what `Lookback.take` reads, and what an event and a fingerprint cannot be without."""


@dataclass(frozen=True, slots=True)
class KeyFound:
    """What one key showed in the archive.

    Attributes:
        key_id: whose.
        partition: where it was archived.
        seen: one of each indicator, the strongest first, at most app.intel.voices.MOST_SEEN.
        first_us: event time of the first exchange after which anything was hit: it would have been seen then.
        exchanges: since then, that one included.
        taken: different valuable responses since then.
        authorised: by its newest exchange, its contract allows some use that looks like harvesting.
    """

    key_id: str
    partition: int
    seen: tuple[Seen, ...]
    first_us: int
    exchanges: int
    taken: int
    authorised: bool


@dataclass(slots=True)
class Looked:
    """What was found, and in how much.

    Attributes:
        since_us: begin of the span; older exchanges were not read.
        files: that were read whole, of `of_files`.
        rows: exchanges of the span.
        keys: that they were of.
        found: keys that hit anything.
        whole: False after an interrupt: what was found is of the files that were read until then.
    """

    since_us: int
    of_files: int
    files: int = 0
    rows: int = 0
    keys: int = 0
    found: list[KeyFound] = field(default_factory=list)
    whole: bool = True


def look_back(
    archive: Path, days: int, watch: Watch, erased: Mapping[str, int], now_us: int, meter: Meter | None = None
) -> Looked:
    """Reads an archive. An interrupt (Ctrl-C) ends it early with what was found until then.

    Args:
        archive: folder of a deployment's archive, this one's or a copy.
        days: how far back from the newest archived exchange.
        watch: what is looked for.
        erased: key id → unix µs until which nothing of it may be seen.
        now_us: the moment that indicators must be valid at.
        meter: is told how far it is.

    Raises:
        BadInput: the folder or a file cannot be read; there is no archive of these days.
    """
    meter = meter or Silent()
    if not archive.is_dir():
        raise BadInput(f"archive folder {archive.resolve()}: no such folder")
    files = list_files(archive)
    if not files:
        raise BadInput(f"archive folder {archive}: it holds no archive files")
    since_us = max(parse_id(file.last)[0] for file in files) * 1000 - days * DAY_US
    files = [file for file in files if parse_id(file.last)[0] * 1000 >= since_us]
    looked = Looked(since_us, len(files))
    size = max(1, sum(file.size_bytes for file in files))
    done = 0
    meter.stage(f"Looking back {days} days in {len(files):,} files")
    try:
        for partition, mine in groupby(files, key=lambda file: file.partition):
            lookers = {group: Lookback(index, now_us) for group, index in watch.indexes.items()}
            try:
                for file in mine:
                    _read(file, since_us, list(lookers.values()), erased, looked)
                    looked.files += 1
                    done += file.size_bytes
                    meter.at(done / size, looked.rows)
            finally:
                looked.keys += max((len(one) for one in lookers.values()), default=0)
                looked.found += _merged(partition, {group: one.found() for group, one in lookers.items()}, watch)
    except KeyboardInterrupt:
        looked.whole = False
    looked.found = _joined(looked.found, watch)
    return looked


def weighed(looked: Looked, watch: Watch, known: Mapping[str, Known], now_us: int) -> list[dict[str, Any]]:
    """What an analyst needs of each key, the highest score first; times in ISO 8601.

    Args:
        looked: what was found.
        watch: what it was looked for with.
        known: what is known here of the keys; nothing of one that is not in it.
        now_us: the present moment.
    """
    found = []
    for one in looked.found:
        ours = known.get(one.key_id, Known())
        excuse = ours.excuse or ("contract" if one.authorised else "")
        hits = watch.judged(one.key_id, one.partition, one.seen, ours.local, excuse, now_us)
        if hits is not None:
            found.append((hits, one))
    found.sort(key=lambda pair: (-pair[0].score, -_EFFECTS.index(pair[0].effect), -pair[1].taken, pair[0].key_id))
    return [_row(hits, one, watch) for hits, one in found]


def _row(hits: KeyHits, one: KeyFound, watch: Watch) -> dict[str, Any]:
    return {
        "key_id": hits.key_id,
        "effect": hits.effect,
        "score": hits.score,
        "voices": hits.voices,
        "local": hits.local,
        "excuse": hits.excuse,
        "first": _time(one.first_us),
        "exchanges": one.exchanges,
        "taken": one.taken,
        "at": _time(hits.at_us),
        "seen": [
            {
                "indicator": seen.indicator,
                "group": seen.group,
                "campaign": seen.campaign,
                "kind": seen.kind,
                "carried": seen.carried,
                "nats": seen.nats,
                "first": _time(seen.first_us),
                "last": _time(seen.last_us),
                "reporters": [word.member for word in watch.held[place(seen.group, seen.indicator)].words if word.agrees],
            }
            for seen in hits.seen
        ],
    }


def _time(at_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat(timespec="milliseconds")


_EFFECTS = tuple(effect.name.lower() for effect in Effect)


def _read(file: ArchiveFile, since_us: int, lookers: Sequence[Lookback], erased: Mapping[str, int], looked: Looked) -> None:
    try:
        lazy = pl.scan_parquet(file.path)
        held = [name for name in lazy.collect_schema().names() if name in _READ]
        frame = lazy.select(held).filter(pl.col("at_us") >= since_us).collect()
        for row in rows.from_frame(frame):
            event = row.event
            if event.at_us <= erased.get(event.key_id, -1):
                continue
            looked.rows += 1
            for one in lookers:
                one.take(event, row.fingerprint)
    except (PolarsError, OSError, TypeError, ValueError) as error:
        raise BadInput(f"archive file {file.path}: cannot be read ({type(error).__name__})") from None


def _joined(found: Sequence[KeyFound], watch: Watch) -> list[KeyFound]:
    """A key that moved, because its account got another organisation, was archived in two partitions."""
    by_key: dict[str, KeyFound] = {}
    for one in found:
        other = by_key.get(one.key_id)
        if other is not None:
            seen = merged(other.seen, one.seen)
            newest = {(some.group, some.indicator): some.last_us for some in (*other.seen, *one.seen)}
            for some in other.seen:
                name = some.group, some.indicator
                newest[name] = max(newest[name], some.last_us)
            one = KeyFound(
                one.key_id,
                one.partition,
                watch.voices.kept([structs.replace(some, last_us=newest[some.group, some.indicator]) for some in seen]),
                min(one.first_us, other.first_us),
                one.exchanges + other.exchanges,
                one.taken + other.taken,
                one.authorised or other.authorised,
            )
        by_key[one.key_id] = one
    return list(by_key.values())


def _merged(partition: int, found: Mapping[str, Iterator[KeyPast]], watch: Watch) -> list[KeyFound]:
    """What the groups' indicators showed, by key."""
    by_key: dict[str, list[tuple[str, KeyPast]]] = {}
    for group, pasts in found.items():
        for past in pasts:
            by_key.setdefault(past.key_id, []).append((group, past))
    made = []
    for key_id, parts in by_key.items():
        seen = [
            Seen(
                one.hit.indicator,
                group,
                watch.held[place(group, one.hit.indicator)].indicator.campaign,
                one.hit.kind,
                one.hit.carried,
                one.hit.nats,
                one.first_us,
                one.last_us,
                watch.held[place(group, one.hit.indicator)].content_us,
            )
            for group, past in parts
            for one in past.hits
        ]
        _, first = min(parts, key=lambda part: (part[1].first_us, -part[1].exchanges, part[0]))
        made.append(
            KeyFound(
                key_id,
                partition,
                watch.voices.kept(seen),
                first.first_us,
                first.exchanges,
                first.taken,
                first.authorised,
            )
        )
    return made
