"""Labelled feature rows: a run of the traffic benchmark through the real pipeline, at every moment a key is scored at.

Two caches in the run's folder, each named by a digest of the sources that decide it: exchanges without text beside their
fingerprints, which take longest, and the rows. Change a feature, and the fingerprints stay.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import SecretStr

from app.gateway.identity import Identifier
from app.gateway.networks import Networks
from app.gateway.observe import TextLimits
from app.offline import accounts
from app.offline.exchange import EventBuilder
from app.offline.feeds import Item, LogFeed
from app.offline.records import BadLines
from app.settings import Settings, load
from benchmarks.labelled import ROOT, LabelledRun
from detectors.analysis import FIRST_SCORING, GROWTH, LEAST_STEP, MOST_US, REFUSED, EntityState
from detectors.contract import FeatureMatrix
from detectors.event import Event, without_text
from detectors.features import FeatureRow, features, stack
from detectors.fingerprint import Fingerprint
from detectors.profile import Profile

_PEPPER = SecretStr("training: these hashes never leave the temporary folder")
_NO_BORDER_US = 1 << 62

_FINGERPRINT_SOURCES = ("event.py", "fingerprint", "artefacts/token_table.toml", "artefacts/harvest.toml")
_ROW_SOURCES = (
    *_FINGERPRINT_SOURCES,
    "profile",
    "tally.py",
    "features",
    "catalogue",
    "peers.py",
    "sketch",
    "pooled/rff.py",
    "leak.py",
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[Event, Fingerprint]])


@dataclass(frozen=True)
class LabelledRows:
    """Feature rows of keys, with what is known about them.

    Attributes:
        matrix: one row per scoring moment, key by key, each key's in the order of time.
        facts: one line per row:
            run, key, org; attack (bool); kind (stratum or family); authorised (bool);
            campaign, mix, paraphrase, keys (of the campaign), rate (requests per key and day): null for honest keys;
            at_us (moment, the `now_us` of the features), scoring (1 for the key's first), last (its last one),
            sampled (its 1st, 2nd, 4th, 8th … or last: what models are fitted on), warm (before the end of the warm-up);
            exchanges (let pass so far), attack_so_far (answered attack requests), attack_share (of the exchanges);
            key_exchanges, key_attack_share: of the key in the whole run.
    """

    matrix: FeatureMatrix
    facts: pl.DataFrame

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows: Sequence[int] | NDArray[np.intp] | NDArray[np.bool_]) -> LabelledRows:
        """These rows: numbers, or a mask."""
        at = np.asarray(rows)
        at = np.flatnonzero(at) if at.dtype == np.bool_ else at.astype(np.intp)
        return LabelledRows(self.matrix.take(at), self.facts[at])


def joined(parts: Sequence[LabelledRows]) -> LabelledRows:
    """Rows of several runs, one after the other; `facts["run"]` tells them apart."""
    matrices = [part.matrix for part in parts]
    return LabelledRows(
        FeatureMatrix(
            np.concatenate([one.values for one in matrices]),
            np.concatenate([one.present for one in matrices]),
            np.concatenate([one.evidence for one in matrices]),
            tuple(groups for one in matrices for groups in one.groups),
            np.concatenate([one.pool for one in matrices]),
        ),
        pl.concat([part.facts for part in parts]),
    )


def labelled_items(run: LabelledRun) -> list[Item]:
    """Every exchange of a run without its texts, and its fingerprint."""
    path = run.folder / f"items-{_digest(_FINGERPRINT_SOURCES)}.msgpack"
    if path.is_file():
        return _decoder.decode(path.read_bytes())
    items = [(without_text(event), fp) for event, fp in feed(run).history(_NO_BORDER_US)]
    _write(path, _encoder.encode(items))
    return items


def feed(run: LabelledRun, settings: Settings | None = None) -> LogFeed:
    """The run's log as a replay reads it, texts and all."""
    known = settings or load(environ={})
    identity = known.identity.model_copy(update={"pepper": _PEPPER})
    identifier = Identifier(identity, None, Networks.load(run.folder / "networks.jsonl"))
    people = accounts.load(run.folder / "accounts.jsonl", identifier.hasher, identity.default_plan)
    limits = TextLimits(known.gateway.text_head_chars, known.gateway.text_tail_chars)
    builder = EventBuilder(people, identifier, limits, identity.default_plan)
    return LogFeed(run.folder / "requests.jsonl.gz", builder, BadLines(0.01))


def labelled_rows(run: LabelledRun) -> LabelledRows:
    """Rows of every key of a run at every scoring moment."""
    stem = run.folder / f"rows-{_digest(_ROW_SOURCES)}"
    held, facts = stem.with_suffix(".npz"), stem.with_suffix(".parquet")
    if not facts.is_file():
        rows = _play(run)
        matrix = rows.matrix
        depth = max((len(groups) for groups in matrix.groups), default=1)
        names = np.array([(*groups, *[""] * (depth - len(groups))) for groups in matrix.groups], np.str_)
        new = held.with_suffix(".new")
        with new.open("wb") as file:
            np.savez(
                file, values=matrix.values, present=matrix.present, evidence=matrix.evidence, groups=names, pool=matrix.pool
            )
        new.replace(held)
        rows.facts.write_parquet(facts)
        return rows
    with np.load(held, allow_pickle=False) as found:
        groups = tuple(tuple(name for name in names if name) for names in found["groups"].tolist())
        matrix = FeatureMatrix(found["values"], found["present"], found["evidence"], groups, found["pool"])
    return LabelledRows(matrix, pl.read_parquet(facts))


def _play(run: LabelledRun) -> LabelledRows:
    truth: dict[str, Any] = json.loads((run.folder / "truth.json").read_text())
    moments: dict[str, list[tuple[FeatureRow, int, int]]] = {}
    for key, row, at_us, exchanges in scorings(labelled_items(run)):
        moments.setdefault(key, []).append((row, at_us, exchanges))
    rows: list[FeatureRow] = []
    lines: list[dict[str, object]] = []
    for key in sorted(moments):
        known = truth["keys"][key]
        campaign = truth["campaigns"].get(known.get("campaign"), {})
        taken_us = sorted(round(answer[0] * 1_000_000) for answer in known.get("answered", ()))
        for number, (row, at_us, exchanges) in enumerate(moments[key], 1):
            attacks = bisect_right(taken_us, at_us)
            last = number == len(moments[key])
            rows.append(row)
            lines.append(
                {
                    "run": run.folder.name,
                    "key": key,
                    "org": known["org"],
                    "attack": known["label"] == "attack",
                    "kind": known.get("family") or known["stratum"],
                    "authorised": bool(known.get("authorised")),
                    "campaign": known.get("campaign"),
                    "mix": campaign.get("mix"),
                    "paraphrase": campaign.get("paraphrase"),
                    "keys": campaign.get("k"),
                    "rate": campaign.get("rate_per_key_day"),
                    "at_us": at_us,
                    "scoring": number,
                    "last": last,
                    "sampled": last or number & (number - 1) == 0,
                    "warm": at_us < truth["warmup_until"] * 1_000_000,
                    "exchanges": exchanges,
                    "attack_so_far": attacks,
                    "attack_share": _share_so_far(known, attacks, at_us, exchanges),
                    "key_exchanges": known["requests"],
                    "key_attack_share": known.get("attack_fraction", 0.0),
                }
            )
    return LabelledRows(stack(rows), pl.DataFrame(lines, schema=_SCHEMA))


def _share_so_far(known: dict[str, Any], attacks: int, at_us: int, exchanges: int) -> float:
    """The answer key counts answered attacks by time; what was refused is spread over them, or over the key's own time."""
    if known["label"] != "attack" or not known["attack_fraction"]:
        return 0.0
    if known["answered"]:
        whole = known["attack_fraction"] * known["requests"] / len(known["answered"])
        return min(1.0, attacks * whole / exchanges)
    return float(known["attack_fraction"]) if at_us >= known["first_attack_ts"] * 1_000_000 else 0.0


def scorings(items: Sequence[Item]) -> Iterator[tuple[str, FeatureRow, int, int]]:
    """Key, row, time and exchanges so far at every moment at which the analysis would score a key."""
    states: dict[str, EntityState] = {}
    for event, fp in items:
        state = states.get(event.key_id)
        if state is None:
            state = states[event.key_id] = EntityState(Profile.new(event.key_id, "key"))
        state.profile.update(event, fp)
        if event.outcome == REFUSED:
            continue
        state.exchanges += 1
        if state.is_due():
            now_us = state.profile.last_at_us
            yield event.key_id, features(state.profile, now_us), now_us, state.exchanges


_SCHEMA: dict[str, Any] = {
    "run": pl.String,
    "key": pl.String,
    "org": pl.String,
    "attack": pl.Boolean,
    "kind": pl.String,
    "authorised": pl.Boolean,
    "campaign": pl.String,
    "mix": pl.Float64,
    "paraphrase": pl.String,
    "keys": pl.Int64,
    "rate": pl.Float64,
    "at_us": pl.Int64,
    "scoring": pl.Int64,
    "last": pl.Boolean,
    "sampled": pl.Boolean,
    "warm": pl.Boolean,
    "exchanges": pl.Int64,
    "attack_so_far": pl.Int64,
    "attack_share": pl.Float64,
    "key_exchanges": pl.Int64,
    "key_attack_share": pl.Float64,
}


@cache
def _digest(sources: tuple[str, ...]) -> str:
    """Of files and folders under `detectors`, and of when a key is scored; what is not there counts as empty."""
    whole = blake2b(f"{FIRST_SCORING} {GROWTH} {LEAST_STEP} {MOST_US}\n".encode(), digest_size=6)
    for name in sources:
        path = ROOT / "detectors" / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []:
            whole.update(f"{file.relative_to(ROOT)}\n".encode())
            whole.update(file.read_bytes())
    return whole.hexdigest()


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)
