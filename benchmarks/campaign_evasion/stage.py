"""Worlds of the study, generated and played once: traces of every key and when it was flagged on its own.

What the analysis makes of a key depends on its own exchanges, the model and the looks alone. So the honest customers are
played once for a seed, and every operation by itself with the model and the looks that they led to.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from app.offline.booth import Booth
from app.offline.feeds import Item
from app.offline.history import History
from app.offline.states import StateTable
from benchmarks.campaign_evasion import settings
from benchmarks.labelled import ROOT, LabelledRun, find_bench, made
from benchmarks.training.rows import labelled_items
from detectors import model as models
from detectors.analysis import Analysis
from detectors.campaign.trace import Trace
from detectors.contract import Level
from detectors.looks import Looks
from detectors.model import Model

BATCH = 256
HOT = 20_000


class Played(msgspec.Struct, frozen=True):
    """What the analysis made of some keys.

    Attributes:
        past: newest trace of each key at the border.
        traces: of later, in the order in which they were cast.
        flagged: key id → event time at which it first was SUSPECT on its own.
        tokens: key id → tokens of its exchanges after the border.
        sent: key id → its exchanges after the border.
    """

    past: tuple[Trace, ...] = ()
    traces: tuple[Trace, ...] = ()
    flagged: dict[str, int] = {}
    tokens: dict[str, int] = {}
    sent: dict[str, int] = {}

    def of(self, keys: frozenset[str]) -> Played:
        """Of some of the keys."""
        return Played(
            tuple(one for one in self.past if one.key_id in keys),
            tuple(one for one in self.traces if one.key_id in keys),
            {key: at for key, at in self.flagged.items() if key in keys},
            {key: count for key, count in self.tokens.items() if key in keys},
            {key: count for key, count in self.sent.items() if key in keys},
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """The honest customers of a seed.

    Attributes:
        border_us: end of the warm-up; end_us: of the harvest.
        model: fitted on the warm-up.
        looks: at these customers.
        honest: they.
    """

    seed: int
    border_us: int
    end_us: int
    model: Model
    looks: Looks
    honest: Played


def stage(seed: int) -> Stage:
    """The honest customers of a seed; a later call on the same machine with the same sources finds them ready.

    Raises:
        NoBench: the labelled benchmark is missing, or refuses the seed.
    """
    run = _run(None, seed)
    border_us, end_us = _times(run)
    kept = run.folder / f"stage-{digest()}"
    if not (kept / "played").is_file():
        model, looks, honest = _honest(labelled_items(run), border_us)
        kept.mkdir(exist_ok=True)
        models.save(model, kept / "model")
        (kept / "looks").write_bytes(msgspec.msgpack.encode(looks))
        (kept / "played").write_bytes(msgspec.msgpack.encode(honest))
    looks = msgspec.msgpack.decode((kept / "looks").read_bytes(), type=Looks)
    honest = msgspec.msgpack.decode((kept / "played").read_bytes(), type=Played)
    return Stage(seed, border_us, end_us, models.load(kept / "model"), looks, honest)


def operations(here: Stage, base: str) -> tuple[dict[str, Any], Played]:
    """The operations of a base: their answer key (`campaigns`, `keys`), and what the analysis made of all their keys.

    Raises:
        NoBench: as `stage`.
    """
    run = _run(base, here.seed)
    truth: dict[str, Any] = json.loads((run.folder / "truth.json").read_text())
    kept = run.folder / f"played-{digest()}"
    if not kept.is_file():
        states = StateTable(HOT)
        items = labelled_items(run)
        early = [item for item in items if item[0].at_us < here.border_us]
        past: dict[str, Trace] = {}
        _early(Analysis(models.rules_only()), states, early, past)
        History(lambda key: key).forget_verdicts(states)
        found = _late(Analysis(here.model, here.looks), states, items[len(early) :], past)
        states.close()
        kept.write_bytes(msgspec.msgpack.encode(found))
    return truth, msgspec.msgpack.decode(kept.read_bytes(), type=Played)


def _honest(items: Sequence[Item], border_us: int) -> tuple[Model, Looks, Played]:
    """As a replay plays them (`app.offline.replay`), without its linker."""
    owners = {event.key_id: event.org_id or event.key_id for event, _ in items}
    states, past = StateTable(HOT), dict[str, Trace]()
    early = [item for item in items if item[0].at_us < border_us]
    history = History(owners.__getitem__)
    quiet = Analysis(models.rules_only())
    for item in early:  # one at a time: a row must show the profile as it was when the key was scored
        history.take(states, _early(quiet, states, [item], past))
    model = history.fit(states, seed=0)
    history.forget_verdicts(states)
    analysis = Analysis(model, Looks())
    played = _late(analysis, states, items[len(early) :], past, Booth(analysis, owners.__getitem__))
    states.close()
    return model, analysis.looks, played


def _early(analysis: Analysis, states: StateTable, items: Sequence[Item], past: dict[str, Trace]) -> list[Any]:
    verdicts = []
    for batch in _batches(items):
        traces: list[Trace] = []
        verdicts += analysis.observe(states, batch, None, traces)
        past.update({one.key_id: one for one in traces})
        states.trim()
    return verdicts


def _late(
    analysis: Analysis, states: StateTable, items: Sequence[Item], past: Mapping[str, Trace], booth: Booth | None = None
) -> Played:
    cast: list[Trace] = []
    flagged: dict[str, int] = {}
    tokens: dict[str, int] = {}
    sent: dict[str, int] = {}
    for batch in _batches(items):
        if booth is not None:
            booth.count(batch[0][0].at_us)
        rows: list[Any] = []
        verdicts = analysis.observe(states, batch, rows, cast)
        states.trim()
        if booth is not None:
            booth.take(verdicts, rows)
        for verdict in verdicts:
            if verdict.entity_kind == "key" and verdict.level >= Level.SUSPECT:
                flagged.setdefault(verdict.entity_id, verdict.at_us)
        for event, _ in batch:
            tokens[event.key_id] = tokens.get(event.key_id, 0) + event.input_tokens + event.output_tokens
            sent[event.key_id] = sent.get(event.key_id, 0) + 1
    return Played(tuple(past.values()), tuple(cast), flagged, tokens, sent)


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


def outcomes(base: str, seed: int) -> Path:
    """Folder, beside a world, for what this linker finds in it; there, and empty at first."""
    folder = _run(base, seed).folder / f"found-{digest(linker=True)}"
    folder.mkdir(exist_ok=True)
    return folder


def _run(base: str | None, seed: int) -> LabelledRun:
    """A world as generated; one of operations keeps the lines of their keys alone."""
    world = settings.world(find_bench() / "profiles" / "dev-small.toml", base)
    run = made(f"evasion-{base or 'honest'}", seed, world)
    alone = run.folder / "alone"
    if base and not alone.is_file():
        keys = json.loads((run.folder / "truth.json").read_text())["keys"]
        keep(run.folder / "requests.jsonl.gz", {key for key, known in keys.items() if known["label"] == "attack"})
        alone.touch()
    return run


def keep(path: Path, keys: set[str]) -> None:
    """Leaves only the lines of some keys in a log."""
    new = path.with_suffix(".new")
    with gzip.open(path, "rb") as lines, gzip.open(new, "wb", 1) as kept:
        kept.writelines(line for line in lines if json.loads(line)["key"] in keys)
    new.replace(path)


def _times(run: LabelledRun) -> tuple[int, int]:
    """Unix microseconds of the end of the warm-up and of the world."""
    truth: dict[str, Any] = json.loads((run.folder / "truth.json").read_text())
    return round(truth["warmup_until"] * 1_000_000), round(truth["end"] * 1_000_000)


def digest(linker: bool = False) -> str:
    """Of all that makes traces and verdicts: everything under `detectors`, without or with the linker."""
    whole = blake2b(digest_size=6)
    campaign = ROOT / "detectors" / "campaign"
    for path in sorted((ROOT / "detectors").rglob("*")):
        made = campaign not in path.parents or path.name == "trace.py"
        if path.is_file() and "__pycache__" not in path.parts and (made or linker):
            whole.update(path.read_bytes())
    return whole.hexdigest()
