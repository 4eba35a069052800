"""Replay of what a live deployment recorded gives the verdicts that live gave."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.gateway.identity import Identifier
from app.gateway.observe import TextLimits
from app.offline import accounts, replay, verdicts
from app.offline.archive_reader import ArchiveFeed
from app.offline.exchange import EventBuilder
from app.offline.feeds import Feed, LogFeed
from app.offline.job import ReplayJob, run_replay
from app.offline.records import BadLines, Record
from app.offline.states import StateTable
from app.settings import Settings, load
from app.state.factory import background_client
from app.state.keys import PartitionKeys, partition_of
from app.state.partition import Batch
from app.worker.flags import add_flags
from app.worker.worker import Worker, load_analysis
from detectors import model as models
from detectors.analysis import Analysis, EntityState
from detectors.contract import Level
from detectors.event import Event, encode, partition_root
from detectors.features import FeatureRow

PARTITIONS = 3


def _builder(world: Any, settings: Settings) -> EventBuilder:
    identifier = Identifier(settings.identity, None)
    known = accounts.load(world.accounts, identifier.hasher, "default")
    return EventBuilder(known, identifier, TextLimits(), "default")


def _events(world: Any, settings: Settings) -> list[Event]:
    """What the gateway would have appended, with ids of its own."""
    builder = _builder(world, settings)
    made = (builder.event(msgspec.convert(record, Record), 0) for record in world.records)
    return [msgspec.structs.replace(event, event_id=f"live-{number}") for number, event in enumerate(made)]


async def _live(url: str, events: list[Event], settings: Settings) -> dict[tuple[str, str], bytes]:
    """The states a worker leaves in the server after these events, by entity; it archives them as well."""
    client = background_client(url, settings)
    entities: dict[tuple[str, str], tuple[PartitionKeys, str]] = {}
    pipe = client.pipeline(transaction=False)
    for event in events:
        keys = PartitionKeys(partition_of(partition_root(event), PARTITIONS))
        pipe.xadd(keys.stream, {"e": encode(event)})
        entities["key", event.key_id] = keys, "k"
        entities["org", event.org_id] = keys, "o"
    await pipe.execute()
    stop = asyncio.Event()
    worker = asyncio.create_task(Worker(client, settings, load_analysis(settings)).run(stop))
    async with asyncio.timeout(60):
        while sum([await client.xlen(PartitionKeys(number).stream) for number in range(PARTITIONS)]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    stop.set()
    await worker
    found = {}
    for (kind, entity), (keys, letter) in entities.items():
        found[kind, entity] = await client.get(keys.profile(letter, entity))
    await client.aclose()
    return found


def _replayed(feed: Feed, model_dir: Path) -> StateTable:
    # So few hot states that most go through the file on disk.
    plan = replay.Plan(model=models.load(model_dir), hot_states=30)
    return replay.play(feed, plan, "the recording").states


@pytest.fixture
def live_settings(tmp_path: Path, redis_db: str, model_dir: Path, settings: Settings) -> Settings:
    """A worker with small batches, the fitted model, and an archive of several files for each partition."""
    return load(
        environ={
            "STILLWATCH_REDIS_URL": redis_db,
            "STILLWATCH_PEPPER": settings.identity.pepper.get_secret_value(),
            "STILLWATCH_STATE__PARTITIONS": str(PARTITIONS),
            "STILLWATCH_WORKER__MODEL_DIR": str(model_dir),
            "STILLWATCH_WORKER__ARCHIVE_DIR": str(tmp_path / "archive"),
            "STILLWATCH_WORKER__ARCHIVE_ROWS": "300",
            "STILLWATCH_WORKER__BATCH_ENTRIES": "37",
            "STILLWATCH_WORKER__POLL_MS": "10",
        }
    )


async def test_archive_and_log_replay_to_the_live_states(
    redis_db: str, world: Any, model_dir: Path, settings: Settings, live_settings: Settings
) -> None:
    """Every key and organisation ends with the same bytes: same profile, level, score, reasons and first alarm."""
    live = await _live(redis_db, _events(world, settings), live_settings)
    archive = _replayed(ArchiveFeed(live_settings.archive_dir), model_dir)
    log = _replayed(LogFeed(world.log, _builder(world, settings), BadLines(0.0)), model_dir)
    assert len(archive) == len(log) == len(live)
    for name, data in live.items():
        assert archive[name].to_bytes() == data
        assert log[name].to_bytes() == data
    found = {key: EntityState.from_bytes(data).verdict for (kind, key), data in live.items() if kind == "key"}
    flagged = {key for key, verdict in found.items() if verdict is not None and verdict.level >= Level.SUSPECT}
    assert flagged >= {"k_logits"}
    archive.close()
    log.close()


async def test_archive_gives_the_flag_records_that_live_stored(
    redis_db: str, world: Any, model_dir: Path, settings: Settings, live_settings: Settings
) -> None:
    """Same bytes and same references, though the batches are others; and no prompt is in them."""
    events = _events(world, settings)
    await _live(redis_db, events, live_settings)
    client = background_client(redis_db, live_settings)
    live: dict[str, list[bytes]] = {}
    for event in events:
        names = PartitionKeys(partition_of(partition_root(event), PARTITIONS))
        if event.key_id not in live:
            live[event.key_id] = (await client.lrange(names.flags(event.key_id), 0, -1))[::-1]
    await client.aclose()
    found: dict[str, list[bytes]] = {}
    states: dict[tuple[str, str], EntityState] = {}
    analysis = Analysis(models.load(model_dir))
    feed = ArchiveFeed(live_settings.archive_dir).rest()
    while items := list(islice(feed, 101)):
        before = {name: state.verdict.level for (_, name), state in states.items() if state.verdict is not None}
        batch, rows = Batch("0-0", "1-0"), list[FeatureRow]()
        verdicts = analysis.observe(states, items, rows)
        add_flags(batch, verdicts, rows, before, analysis.model, live_settings.enforcement)
        for key_id, _, record in batch.flags:
            found.setdefault(key_id, []).append(record)
    assert found.keys() >= {"k_logits"}
    assert found == {key_id: records for key_id, records in live.items() if records}
    prompt = world.records[0]["request"]["messages"][1]["content"]
    assert not [word for word in prompt.split()[2:6] if word.encode() in b"".join(found["k_logits"])]


async def test_an_archive_is_its_own_history_too(
    redis_db: str, world: Any, settings: Settings, live_settings: Settings, tmp_path: Path
) -> None:
    """Fitted on the first day of its own archive or of its own log, the same exchanges get the same model and verdicts."""
    await _live(redis_db, _events(world, settings), live_settings)
    border_us = world.quiet_border_us()
    plan = replay.Plan(warmup_until_us=border_us)
    job = ReplayJob(live_settings.archive_dir, tmp_path / "out", warmup_until=str(border_us / 1e6))
    done = run_replay(job, settings)
    archive = done.outcome
    log = replay.play(LogFeed(world.log, _builder(world, settings), BadLines(0.0)), plan, "the log")
    assert archive.run.fitted
    assert archive.model.id == log.model.id
    assert done.paths[0].read_bytes() == b"".join(msgspec.json.encode(verdicts.line(track)) + b"\n" for track in log.ranked)
    assert archive.run.events == len(world.records)
    early = sum(round(record["ts"] * 1e6) < border_us for record in world.records)
    assert archive.run.warmup_events == early
    assert "k_logits" in {track.key_id for track in archive.flagged}
    log.states.close()
