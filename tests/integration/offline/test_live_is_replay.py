"""Replay of what a live deployment recorded gives the verdicts that live gave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
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
from app.state.looks import LookStore, read_looks
from app.state.partition import Batch
from app.worker import worker as worker_module
from app.worker.flags import add_flags
from app.worker.worker import Worker, load_analysis
from detectors import drift
from detectors import model as models
from detectors.analysis import Analysis, EntityState
from detectors.contract import Level
from detectors.event import Event, encode, partition_root
from detectors.features import FeatureRow
from detectors.looks import Looks

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


async def _live(
    url: str, events: list[Event], settings: Settings, looks: int = 0, workers: int = 1
) -> dict[tuple[str, str], bytes]:
    """The states workers leave in the server after these events, by entity; they archive them as well.

    Args:
        looks: event time between two looks; the events that come behind one are sent when it was made. 0: all at once.
        workers: how many share the partitions.
    """
    client = background_client(url, settings)
    entities: dict[tuple[str, str], tuple[PartitionKeys, str]] = {}
    newest_ms = 0
    stop = asyncio.Event()
    analyses = [load_analysis(settings) for _ in range(workers)]
    running = [asyncio.create_task(Worker(client, settings, analysis).run(stop)) for analysis in analyses]
    for part, number in _between_looks(events, looks) if looks else [(events, -1)]:
        pipe = client.pipeline(transaction=False)
        for event in part:
            keys = PartitionKeys(partition_of(partition_root(event), PARTITIONS))
            newest_ms = max(newest_ms + 1, event.at_us // 1000)  # as a server's clock gives them, one after the other
            pipe.xadd(keys.stream, {"e": encode(event)}, id=f"{newest_ms}-0")
            entities["key", event.key_id] = keys, "k"
            entities["org", event.org_id] = keys, "o"
        await pipe.execute()
        async with asyncio.timeout(60):
            while sum([await client.xlen(PartitionKeys(at).stream) for at in range(PARTITIONS)]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            while any(_newest(analysis) < number for analysis in analyses):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert all(analysis.looks.past == analyses[0].looks.past for analysis in analyses)
    stop.set()
    await asyncio.gather(*running)
    found = {}
    for (kind, entity), (keys, letter) in entities.items():
        found[kind, entity] = await client.get(keys.profile(letter, entity))
    await client.aclose()
    return found


def _between_looks(events: list[Event], every_us: int) -> Iterator[tuple[list[Event], int]]:
    """Parts of a stream, each to the first exchange after which a look is due, and at which interval; -1: at none."""
    looks = Looks(every_us)
    newest, part = looks.counted(events[0].at_us), list[Event]()
    for event in events:
        part.append(event)
        if looks.counted(event.at_us) > newest:
            newest = looks.counted(event.at_us)
            yield part, newest
            part = []
    yield part, -1


def _newest(analysis: Analysis) -> int:
    return analysis.looks.newest.number if analysis.looks.newest is not None else -1


def _replayed(feed: Feed, model_dir: Path, **plan: Any) -> StateTable:
    return _outcome(feed, model_dir, **plan).states


def _outcome(feed: Feed, model_dir: Path, **plan: Any) -> replay.Outcome:
    # So few hot states that most go through the file on disk.
    return replay.play(feed, replay.Plan(model=models.load(model_dir), hot_states=30, **plan), "the recording")


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


async def test_two_workers_and_a_replay_judge_under_the_same_looks(
    redis_db: str, world: Any, model_dir: Path, settings: Settings, live_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features freeze and thaw, one look for all workers, and every state and look is that of a replay, byte for byte."""
    monkeypatch.setattr(worker_module, "LOOK_CHECK_SEC", 0.02)
    # A fleet of forty, that is said to have moved on half a nat of evidence: some features freeze by chance.
    monkeypatch.setattr(drift, "LEAST_VOTES", 5)
    monkeypatch.setattr(drift, "_NEEDED", 0.5)
    hours = 6
    worker = live_settings.worker.model_copy(update={"look_hours": hours})
    live_settings = live_settings.model_copy(update={"worker": worker})
    every_us = hours * 3_600_000_000
    live = await _live(redis_db, _events(world, settings), live_settings, every_us, workers=2)
    found = _outcome(ArchiveFeed(live_settings.archive_dir), model_dir, look_us=every_us)
    log = _outcome(LogFeed(world.log, _builder(world, settings), BadLines(0.0)), model_dir, look_us=every_us)
    assert found.run.looks == log.run.looks
    assert len({tuple(look.frozen) for look in found.run.looks}) > 2
    assert all(look.voters >= 5 and look.judged >= 5 for look in found.run.looks)
    client = background_client(redis_db, live_settings)
    stored = read_looks(await LookStore(client, PARTITIONS, found.model.id).read(), every_us, 0.05)
    await client.aclose()
    assert list(stored.past) == found.run.looks
    for name, data in live.items():
        assert found.states[name].to_bytes() == data
        assert log.states[name].to_bytes() == data
    for states in (found.states, log.states):
        states.close()


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
