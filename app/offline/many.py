"""Campaigns of an archive that is larger than one machine: partitions are read apart, what they leave is linked together.

All exchanges of a key lie in one partition, so what is known of it is a function of that partition alone: the newest trace
of every key, at most a kilobyte. This is done partition by partition, here or on a Dask cluster; then one linker makes one
pass over all of them, at the end of the archive. Where a partition was read changes no byte of the result.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from app.errors import BadInput, ConfigError
from app.offline.feeds import Item
from app.offline.linking import Reported
from app.offline.progress import Meter, Silent
from app.offline.states import StateTable
from app.offline.verdicts import write_campaigns
from app.state.keys import PROFILE_TTL_SEC
from app.worker.archive import ArchiveFile, list_files, read_file
from detectors import model as models
from detectors.analysis import Analysis
from detectors.campaign import trace
from detectors.campaign.linker import Linker
from detectors.campaign.passes import PASS_US
from detectors.campaign.trace import Trace
from detectors.contract import Level

LOCAL = "local"
"""Instead of an address: a cluster of processes of this machine, for the time of the run."""

ANSWER_SEC = 10
"""How long a scheduler may take to answer."""

REPORTED = Level.SUSPECT
"""Level from which a campaign is written."""

BATCH = 512
HOT_STATES = 10_000
"""Entity states that a partition keeps as objects, at 15 to 30 KB each; the others wait on the disk of its machine."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one partition leaves.

    Attributes:
        partition: its number.
        model: id of the model that judged.
        traces: the newest one of every key, encoded, by key id.
        events: exchanges read.
        end_us: event time of the newest exchange; 0 without any.
    """

    partition: int
    model: str
    traces: tuple[bytes, ...]
    events: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Linked:
    """What was found.

    Attributes:
        path: of campaigns.jsonl.
        campaigns: that are reported, the most suspicious first.
        keys: that have a trace and were not idle for as long as profiles are kept.
        events: exchanges read.
        at_us: event time of the pass.
    """

    path: Path
    campaigns: tuple[Reported, ...]
    keys: int
    events: int
    at_us: int


def gather(files: Sequence[ArchiveFile], model_dir: Path) -> Gathered:
    """Reads one partition. Pure: the same files and the same model give the same value, on whatever machine.

    Args:
        files: of one partition, in stream order, not empty.
        model_dir: a saved model.

    Raises:
        BadInput: a file is damaged or missing; the model is none.
    """
    model = _model(model_dir)
    analysis, states = Analysis(model), StateTable(HOT_STATES)
    newest: dict[str, bytes] = {}
    events = end_us = 0
    try:
        for batch in _batches(files):
            traces: list[Trace] = []
            analysis.observe(states, batch, None, traces)
            states.trim()
            newest.update((one.key_id, trace.encode(one)) for one in traces)
            events += len(batch)
            end_us = max(end_us, *(event.at_us for event, _ in batch))
    finally:
        states.close()
    return Gathered(files[0].partition, model.id, tuple(newest[key_id] for key_id in sorted(newest)), events, end_us)


def link(archive: Path, model_dir: Path, out: Path, dask: str | None = None, meter: Meter | None = None) -> Linked:
    """Links the keys of an archive and writes campaigns.jsonl.

    Args:
        archive: folder of a live deployment's archive.
        model_dir: a saved model. On a cluster both folders have the same path on every machine.
        out: folder for the result; it is made.
        dask: address of a scheduler, or LOCAL; None reads one partition after the other in this process.
        meter: is told how far it is.

    Raises:
        BadInput: the archive is missing, empty or damaged, or a machine of the cluster has another model.
        ConfigError: the model is none, Dask is not installed, the address is none or does not answer.
    """
    meter = meter or Silent()
    try:
        model = models.load(model_dir)
    except models.BadModel as error:
        raise ConfigError(f"--model: {error}") from None
    partitions = [list(group) for _, group in groupby(list_files(archive), key=lambda file: file.partition)]
    if not partitions:
        raise BadInput(f"archive folder {archive}: it holds no archive files")
    found = gather_all(partitions, model_dir, dask, meter)
    for one in found:
        if one.model != model.id:
            raise BadInput(f"{model_dir}: where partition {one.partition} was read it holds another model than here")
    events, end_us = sum(one.events for one in found), max(one.end_us for one in found)
    if not events:
        raise BadInput("the archive holds no exchange")
    meter.stage("Linking", 0.0, events)
    at_us = (end_us // PASS_US + 1) * PASS_US  # a pass knows what is of before it: here that is all
    linker = Linker(model)
    oldest_us = at_us - PROFILE_TTL_SEC * 1_000_000
    linker.load(one for one in _decoded(found) if one.at_us >= oldest_us)
    changed = linker.step(at_us).changed
    reported = [Reported(one, one.level, one.score, one.at_us) for one in changed if one.level >= REPORTED]
    reported.sort(key=lambda one: (-one.level, -one.score, -len(one.campaign.members), one.campaign.id))
    out.mkdir(parents=True, exist_ok=True)
    return Linked(write_campaigns(out, reported), tuple(reported), linker.known, events, at_us)


def gather_all(
    partitions: Sequence[Sequence[ArchiveFile]], model_dir: Path, dask: str | None, meter: Meter
) -> list[Gathered]:
    """`gather` of every partition, in their order.

    Raises:
        BadInput, ConfigError: as `link`.
    """
    found: dict[int, Gathered] = {}
    size = max(1, sum(file.size_bytes for files in partitions for file in files))
    done = events = 0

    def came(place: int, one: Gathered) -> None:
        nonlocal done, events
        found[place] = one
        done += sum(file.size_bytes for file in partitions[place])
        events += one.events
        meter.at(done / size, events)

    if dask is None:
        meter.stage(f"Reading {len(partitions)} partitions")
        for place, files in enumerate(partitions):
            came(place, gather(files, model_dir))
    else:
        # Workers of this machine may have been started in another folder.
        files_at = [[_absolute(file) for file in files] for files in partitions]
        with _client(dask, len(partitions)) as client:
            meter.stage(f"Reading {len(partitions)} partitions on {_where(client)}")
            for place, one in _mapped(client, files_at, model_dir.absolute()):
                came(place, one)
    return [found[place] for place in range(len(partitions))]


def _mapped(client: Any, partitions: Sequence[Sequence[ArchiveFile]], model_dir: Path) -> Iterator[tuple[int, Gathered]]:
    distributed, killed = _module("distributed"), _module("distributed.scheduler").KilledWorker
    # The largest first, so that none is begun when all others are done; not pure for Dask, which would keep old answers.
    order = sorted(range(len(partitions)), key=lambda place: -sum(file.size_bytes for file in partitions[place]))
    futures = client.map(gather, [partitions[place] for place in order], model_dir=model_dir, pure=False)
    place_of = {future.key: place for future, place in zip(futures, order, strict=True)}
    try:
        for future, one in distributed.as_completed(futures, loop=client.loop, with_results=True):
            yield place_of[future.key], one
    except killed:
        raise BadInput("a partition ended several workers of the Dask cluster, most likely for want of memory") from None
    except ModuleNotFoundError as error:
        raise BadInput(f"the workers of the Dask cluster lack the module {error.name}: install stillwatch there") from None


@contextmanager
def _client(address: str, most: int) -> Iterator[Any]:
    """A client of the scheduler at the address; LOCAL: of a cluster of at most so many processes that ends with it."""
    distributed = _module("distributed")
    with ExitStack() as stack:
        place: Any = address
        if address == LOCAL:
            place = stack.enter_context(
                distributed.LocalCluster(
                    host="127.0.0.1",
                    n_workers=max(1, min(most, _cores())),
                    threads_per_worker=1,
                    processes=True,
                    # No dashboard; what else the scheduler tells by HTTP is told on a free port of the loopback address.
                    scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                )
            )
        else:
            _try(address)
        client = stack.enter_context(distributed.Client(place, timeout=ANSWER_SEC, set_as_default=False))
        try:
            client.wait_for_workers(1, timeout=ANSWER_SEC)
        except TimeoutError:
            raise ConfigError(f"--dask: the cluster at {address} has no worker") from None
        yield client


def _try(address: str) -> None:
    """Whether a scheduler answers, before a client is made that would go on trying.

    Raises:
        ConfigError: the address is none, or does not answer.
    """
    connect, security = _module("distributed.comm").connect, _module("distributed").Security()

    async def answer() -> None:
        comm = await connect(address, timeout=ANSWER_SEC, **security.get_connection_args("client"))
        await comm.close()

    try:
        asyncio.run(asyncio.wait_for(answer(), ANSWER_SEC))
    except ValueError as error:
        raise ConfigError(f"--dask: {error}") from None
    except OSError:  # a TimeoutError is one
        raise ConfigError(f"--dask: no scheduler answers at {address} within {ANSWER_SEC} s") from None


def _module(name: str) -> Any:
    """A module of the extra."""
    try:
        return import_module(name)
    except ImportError:
        raise ConfigError("--dask needs the extra: pip install stillwatch[dask]") from None


def _decoded(found: Sequence[Gathered]) -> Iterator[Trace]:
    for one in found:
        for data in one.traces:
            made = trace.decode(data)
            if made is None:
                raise BadInput(f"partition {one.partition} was read by a machine with another release than here")
            yield made


def _model(model_dir: Path) -> models.Model:
    try:
        return models.load(model_dir)
    except models.BadModel as error:
        raise BadInput(f"--model: {error}") from None


def _batches(files: Sequence[ArchiveFile]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for file in files:
        for row in read_file(file):
            batch.append((row.event, row.fingerprint))
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _absolute(file: ArchiveFile) -> ArchiveFile:
    return replace(file, path=file.path.absolute())


def _where(client: Any) -> str:
    count = len(client.scheduler_info(n_workers=-1)["workers"])
    return f"{count} Dask worker{'' if count == 1 else 's'}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
